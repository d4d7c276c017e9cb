// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions for drivers of virtio devices.
//!
//! A driver implements [`Driver`] and registers it with a [`Registration`]. For each device that
//! the virtio bus offers it, [`Driver::probe`] looks at the negotiated features and the
//! configuration space through [`Probe`], finds the device's virtqueues, and gives each of them a
//! type: [`Queue<B, T>`](Queue) moves buffers of type `B` to the device and back, and protects
//! data `T` by its lock. Nothing here knows what kind of device it is.
//!
//! # How the pieces stay sound
//!
//! A device can go at any moment (unbind, hot-unplug, suspend), while system calls and deferred
//! work still hold its queues. What a driver holds is therefore a handle that the abstraction can
//! close:
//!
//! | handle | closed under | afterwards |
//! |---|---|---|
//! | [`Queue`] | the queue's own lock | nothing can be added (`ENODEV`) or taken |
//! | [`Kick`](queue::Kick) | read-copy-update | notifying does nothing |
//! | [`ConfigSpace`] | a mutex | reading gives `ENODEV` |
//! | callbacks | read-copy-update | are not called |
//!
//! Taking a device down has one order, the same for unbinding, suspending and a probe that fails
//! half-way:
//!
//! 1. The callbacks lose the driver's data, and all handles are closed.
//! 2. `synchronize_rcu()`: no callback is running any more, and no notification is under way.
//! 3. [`Driver::stop`].
//! 4. The device is reset: it has given up every buffer. Interrupts that come all the same call
//!    nothing back.
//! 5. The buffers that it had are dropped.
//! 6. The virtqueues are deleted, and the driver's data is released.
//!
//! # What the device may do
//!
//! The other end of a virtqueue need not be trusted. The virtio core gives back only buffers that
//! were added, and marks a queue broken whose ring makes no sense ([`QueueGuard::is_broken`]). What
//! it passes on unchecked, this module checks: the length that the device says it has written is
//! limited to the buffer's size ([`Used::written`]), the loop that reads a configuration space
//! while it changes is bounded, and no reference is ever made to memory that a device can write.
//! Devices that know only the legacy interface of before virtio 1.0 are refused, so that all
//! multi-byte fields are little-endian.
//!
//! One thing is beyond reach: a PCI device whose capability says that its configuration space is
//! shorter than what the driver reads stops the kernel at an assertion of the PCI transport
//! (`BUG_ON` in `vp_get()`), which tells nobody the length. Nothing is read wrongly.
//!
//! Specification: Virtual I/O Device (VIRTIO) Version 1.3, sections 2 and 3.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h).

mod bound;
mod buffer;
mod config;
mod driver;
mod payload;
mod probe;
mod queue;
mod small_buffer;
pub(crate) mod work;

pub(crate) use self::{
    buffer::{
        Buffer,
        DeviceReadable,
        DeviceWritable, //
    },
    config::ConfigSpace,
    driver::{
        Driver,
        Registration, //
    },
    probe::Probe,
    queue::{
        Queue,
        QueueGuard,
        Used, //
    },
    small_buffer::SmallBuffer,
};

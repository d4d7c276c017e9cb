// SPDX-License-Identifier: GPL-2.0

//! The rules of the socket family and of its wire, without a kernel.
//!
//! Nothing in this module sleeps, locks, allocates or knows where it runs: a caller hands in an
//! event (a packet, a call, a timeout) and performs what comes back. The same files are compiled
//! into the kernel module and into an ordinary Cargo package, where property tests drive them.
//!
//! Numbers that came over the wire are newtypes whose arithmetic wraps or saturates by name: in
//! the kernel a plain `+` that overflows is a panic, and a host must not be able to cause one.
//!
//! Source for the wire: the virtio specification, section "Socket Device" (5.10).

#![forbid(unsafe_code)]
#![deny(clippy::arithmetic_side_effects)]
#![deny(clippy::indexing_slicing)]

pub(crate) mod address;
pub(crate) mod buffer_size;
pub(crate) mod connection;
pub(crate) mod credit;
pub(crate) mod deferred;
pub(crate) mod event;
pub(crate) mod feature;
pub(crate) mod message;
pub(crate) mod owed;
pub(crate) mod packet;
pub(crate) mod reason;
pub(crate) mod wake;

// SPDX-License-Identifier: GPL-2.0

//! A device that a driver is bound to: how it is brought up, found by callbacks, and taken down.

use super::{
    Driver,
    Probe, //
};
use crate::bindings;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    device::Device,
    prelude::*,
    sync::{
        atomic::{
            atomic_load,
            atomic_store,
            Acquire,
            Release, //
        },
        rcu,
        Arc,
        ArcBorrow, //
    },
};

/// Something of a device that a driver holds a handle to, and that outlives the device as a closed
/// handle.
pub(super) trait Part: Send + Sync {
    /// Makes the part usable: the device is live.
    ///
    /// Context: process.
    fn open(&self);

    /// Makes the part unusable. When this has returned, and an RCU grace period has gone by, the
    /// part does not touch the device any more.
    ///
    /// Context: process; may sleep.
    fn close(&self);

    /// Drops what the device had been given.
    ///
    /// Context: process; may sleep.
    ///
    /// # Safety
    ///
    /// The device must have been reset after the part was [closed](Part::close) and an RCU grace
    /// period went by, its interrupts must not look at its virtqueues any more, and these must not
    /// have been deleted.
    unsafe fn discard(&self);
}

/// The parts of a device.
///
/// # Invariants
///
/// `vdev` is a valid device that is bound to this driver, and `parts` has all the parts that were
/// made for it. `queues_found` says whether it has virtqueues.
struct Hardware {
    vdev: NonNull<bindings::virtio_device>,
    parts: KVec<Arc<dyn Part>>,
    queues_found: bool,
}

impl Hardware {
    /// Opens all parts.
    ///
    /// Context: process.
    fn open(&self) {
        for part in self.parts.iter() {
            part.open();
        }
    }

    /// Closes all parts, and waits for an RCU grace period: for notifications and callbacks that
    /// began before.
    ///
    /// Context: process; may sleep.
    fn close(&self) {
        for part in self.parts.iter() {
            part.close();
        }

        // SAFETY: Callers are in process context, outside of RCU read-side critical sections.
        unsafe { bindings::synchronize_rcu() };
    }

    /// Resets the device, takes back what it had, and deletes its virtqueues.
    ///
    /// Context: process; may sleep.
    ///
    /// # Safety
    ///
    /// The parts must have been [closed](Hardware::close).
    unsafe fn release(self) {
        let vdev = self.vdev.as_ptr();

        // Resetting waits for interrupt handlers with some transports only, and a device may
        // interrupt after it all the same. So the virtqueues are marked broken, which makes a
        // handler pass them by, and then handlers that began before are waited for.
        //
        // SAFETY: `vdev` is valid by the type invariants, and this is process context. No
        // notification is under way: the parts were closed, and a grace period has gone by.
        unsafe {
            bindings::virtio_break_device(vdev);
            bindings::virtio_reset_device(vdev);
            bindings::rvsock_virtio_synchronize_cbs(vdev);
        }

        for part in self.parts.iter() {
            // SAFETY: The device was reset right now, after the parts were closed and a grace
            // period, and interrupt handlers pass its virtqueues by. These are deleted only below.
            unsafe { part.discard() };
        }

        if self.queues_found {
            // SAFETY: `vdev` is valid by the type invariants, and every transport that can find
            // virtqueues can delete them. No part uses a virtqueue any more, and virtqueues that are
            // broken call nothing back.
            unsafe {
                if let Some(del_vqs) = (*(*vdev).config).del_vqs {
                    del_vqs(vdev);
                }
            }
        }
    }
}

/// What `virtio_device.priv` points to while a driver is bound.
struct Bound<D: Driver> {
    hardware: Hardware,
    data: Arc<D>,
}

/// Sets or clears the pointer by which callbacks find the bound device.
///
/// # Safety
///
/// `vdev` must be a valid device that is bound to the driver `D`.
unsafe fn publish<D: Driver>(vdev: *mut bindings::virtio_device, bound: *mut Bound<D>) {
    // The release order makes what `bound` points to visible before `bound` itself.
    //
    // SAFETY: `vdev` is valid; while this driver is bound, the field is only accessed atomically,
    // by this function and `published`.
    unsafe { atomic_store(&raw mut (*vdev).priv_, bound.cast(), Release) };
}

/// Returns the pointer that was set by [`publish`], or null.
///
/// # Safety
///
/// `vdev` must be a valid device that is bound to the driver `D`.
unsafe fn published<D: Driver>(vdev: *mut bindings::virtio_device) -> *mut Bound<D> {
    // SAFETY: As in `publish`.
    let bound = unsafe { atomic_load(&raw mut (*vdev).priv_, Acquire) };

    bound.cast()
}

/// Brings a device up: probes it, makes it live, opens its queues, and tells the driver.
///
/// Context: process; may sleep.
///
/// # Errors
///
/// `ENODEV` when the device is not one of virtio 1.0 or later; what [`Driver::probe`] and
/// [`Driver::ready`] return; `ENOMEM`.
///
/// # Safety
///
/// - `vdev` must be a valid device that is bound to the driver `D`, and whose features have been
///   negotiated, but that has no virtqueues.
/// - The caller must hold the device's lock.
/// - `callback` must be safe to call with each virtqueue of the device.
pub(super) unsafe fn bind<D: Driver>(
    vdev: *mut bindings::virtio_device,
    callback: unsafe extern "C" fn(*mut bindings::virtqueue),
) -> Result {
    // An earlier driver may have left its own pointer, and interrupts may come as soon as
    // virtqueues have been found.
    //
    // SAFETY: `vdev` is valid and bound to this driver.
    unsafe { publish::<D>(vdev, ptr::null_mut()) };

    // SAFETY: `vdev` is valid, so it is not null.
    let vdev_nonnull = unsafe { NonNull::new_unchecked(vdev) };

    // SAFETY: The requirements of `Probe::new` are those of this function. `probe` is gone when
    // this function returns.
    let probe = unsafe { Probe::new(vdev_nonnull, callback) };
    if !probe.has_feature(bindings::VIRTIO_F_VERSION_1) {
        dev_err!(
            probe.device(),
            "the device has only the legacy interface: use one of virtio 1.0 or later\n"
        );
        return Err(ENODEV);
    }

    // Memory first: once the driver has agreed to the device, it is told when the device goes.
    let bound = KBox::<Bound<D>>::new_uninit(GFP_KERNEL)?;

    let probed = D::probe(&probe);
    let (parts, queues_found) = probe.into_parts();
    // INVARIANT: `vdev` is bound to this driver until `unbind` has used this up; `parts` is all
    // that `probe` made.
    let hardware = Hardware {
        vdev: vdev_nonnull,
        parts,
        queues_found,
    };
    let data = match probed {
        Ok(data) => data,
        Err(error) => {
            hardware.close();
            // SAFETY: The parts were just closed.
            unsafe { hardware.release() };
            return Err(error);
        }
    };
    let bound = KBox::into_raw(KBox::write(
        bound,
        Bound {
            hardware,
            data: data.clone(),
        },
    ));

    // SAFETY: `vdev` is valid and bound to this driver.
    unsafe { publish::<D>(vdev, bound) };

    // SAFETY: `vdev` is valid, and this is the only place that makes it ready.
    unsafe { bindings::rvsock_virtio_device_ready(vdev) };

    // SAFETY: Only `unbind` frees `bound`, and it cannot run meanwhile: the caller holds the
    // device's lock.
    unsafe { (*bound).hardware.open() };

    if let Err(error) = D::ready(data.as_arc_borrow()) {
        // SAFETY: `vdev` is valid, bound to this driver, and the caller holds its lock.
        unsafe { unbind::<D>(vdev) };
        return Err(error);
    }
    Ok(())
}

/// Takes a device down, in the order that the [module's documentation](super) gives. When the last
/// [`bind`] has failed, as it may on resuming, only resets it.
///
/// Context: process; may sleep.
///
/// # Safety
///
/// - `vdev` must be a valid device that is bound to the driver `D`.
/// - The caller must hold the device's lock.
pub(super) unsafe fn unbind<D: Driver>(vdev: *mut bindings::virtio_device) {
    // SAFETY: `vdev` is valid and bound to this driver.
    let bound = unsafe { published::<D>(vdev) };
    if bound.is_null() {
        // The virtio core expects that a driver leaves a device that was reset.
        //
        // SAFETY: `vdev` is valid, and this is process context. Without a driver's data, no part
        // of the device is open.
        unsafe { bindings::virtio_reset_device(vdev) };
        return;
    }

    // SAFETY: `vdev` is valid and bound to this driver.
    unsafe { publish::<D>(vdev, ptr::null_mut()) };

    // SAFETY: `bound` is valid: it is freed below only. Callbacks, which may be using it, share it
    // as well.
    unsafe { (*bound).hardware.close() };

    // SAFETY: `bound` is from `KBox::into_raw` in `bind`. It is not published any more, and the
    // callbacks that knew it have returned, since a grace period has gone by in `close`. So nobody
    // else has it.
    let Bound { hardware, data } = KBox::into_inner(unsafe { KBox::from_raw(bound) });

    D::stop(data.as_arc_borrow());

    // SAFETY: The parts were closed above.
    unsafe { hardware.release() };
}

/// Returns the driver's data of a device, or `None` when it is not up or is being taken down.
///
/// # Safety
///
/// `vdev` must be a valid device that is bound to the driver `D`.
pub(super) unsafe fn data<'rcu, D: Driver>(
    vdev: *mut bindings::virtio_device,
    _rcu: &'rcu rcu::Guard,
) -> Option<ArcBorrow<'rcu, D>> {
    // SAFETY: `vdev` is valid and bound to this driver.
    let bound = unsafe { published::<D>(vdev) };

    // SAFETY: A pointer that is published and not null is valid until a grace period after it is
    // cleared, which the RCU read-side critical section that `_rcu` stands for holds off. Only
    // `data` is accessed, which may be shared between threads.
    let bound = unsafe { bound.as_ref() }?;

    Some(bound.data.as_arc_borrow())
}

/// Returns the generic device of a virtio device, for messages.
///
/// # Safety
///
/// `vdev` must be valid for `'a`.
pub(super) unsafe fn device<'a>(vdev: NonNull<bindings::virtio_device>) -> &'a Device {
    // SAFETY: `vdev` is valid for `'a`, and so is the `struct device` in it.
    unsafe { Device::from_raw(&raw mut (*vdev.as_ptr()).dev) }
}

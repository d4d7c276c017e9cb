// SPDX-License-Identifier: GPL-2.0

//! A character device with a name of its own (`/dev/NAME`).
//!
//! What an open file does is said with the kernel crate's [`MiscDevice`]. Its
//! [`MiscDeviceRegistration`] leaves out who owns the file operations, though, so that a module
//! could be unloaded under an open file. This one says so.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};
use kernel::{
    bindings,
    error::to_result,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    str::CStr,
    types::Opaque,
    ThisModule, //
};

/// A character device that is known to the kernel. Dropping it takes that back.
///
/// Each open file holds the module, so at a module's exit there is none. A module that registers
/// other things too registers this one last: files that were opened hold a module whose
/// initialisation fails as well, but that does not keep its memory.
///
/// # Invariants
///
/// - `device` was registered by `misc_register()`, and was filled in by
///   [`MiscDeviceOptions::into_raw`] for this `T`, but for its operations.
/// - Its operations are `operations`: those of `T`, and the module that they belong to.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: MiscDevice> {
    operations: UnsafeCell<bindings::file_operations>,
    #[pin]
    device: Opaque<bindings::miscdevice>,
    _files: PhantomData<T>,
}

// SAFETY: The device may be taken back by any thread.
unsafe impl<T: MiscDevice> Send for Registration<T> {}

// SAFETY: Shared references give nothing.
unsafe impl<T: MiscDevice> Sync for Registration<T> {}

impl<T: MiscDevice> Registration<T> {
    /// Registers a device under `name`, with a minor number that the kernel chooses and the access
    /// mode that it gives to such devices. Process context.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is such a device, `EBUSY` without a free minor number, `ENOMEM`.
    pub(crate) fn new(
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> impl PinInit<Self, Error> {
        // What `open` of the operations relies on, see below.
        const {
            assert!(size_of::<MiscDeviceRegistration<T>>() == size_of::<bindings::miscdevice>());
        }
        let raw = MiscDeviceOptions { name }.into_raw::<T>();
        // SAFETY: `into_raw` names static operations.
        let mut operations = unsafe { *raw.fops };
        operations.owner = module.as_ptr();

        try_pin_init!(&this in Self {
            operations: UnsafeCell::new(operations),
            // INVARIANT: `operations` was made above.
            device <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                // SAFETY: `this` points to the memory that is being initialised; its `operations`
                // are, and stay where they are until the device is taken back.
                let operations = unsafe { (&raw const (*this.as_ptr()).operations).cast() };
                let raw = bindings::miscdevice { fops: operations, ..raw };
                // SAFETY: `slot` is valid for writes. It is not moved, and not freed before the
                // device is taken back. `open` of the operations takes it for a
                // `MiscDeviceRegistration<T>`, of which it is the only field, in a transparent
                // wrapper, and which promises what the type invariants do.
                unsafe {
                    slot.write(raw);
                    to_result(bindings::misc_register(slot))
                }
            }),
            _files: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: MiscDevice> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants, the device is registered.
        unsafe { bindings::misc_deregister(self.device.get()) };
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The device's configuration space.

use super::bound::Part;
use crate::bindings;
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use zerocopy::FromBytes;

/// How often a value is read again because the configuration space has changed meanwhile. A device
/// changes it once in a while; one that does so all the time does not want to be read.
const ATTEMPTS: usize = 16;

/// How many bytes of a configuration space can be reached: what every transport has room for. Those
/// of the devices that there are end far below it.
const REACH: u32 = 256;

/// Reads a value from the configuration space, `offset` bytes from its start.
///
/// The transport reads up to 4 bytes in one access, and 8 in two. The device counts the changes of
/// its configuration space, so that what was read while it changed is read again (specification,
/// section 2.5).
///
/// # Errors
///
/// `EINVAL` when the value does not lie within the first 256 bytes; `ENODEV` when the device has no
/// configuration space; `EIO` when it does not stop changing.
///
/// Context: process; may sleep.
///
/// # Safety
///
/// `vdev` must be a valid device.
pub(super) unsafe fn read<T: FromBytes>(
    vdev: NonNull<bindings::virtio_device>,
    offset: u32,
) -> Result<T> {
    // Transports know no other sizes.
    const { assert!(matches!(size_of::<T>(), 1 | 2 | 4 | 8)) };

    // CAST: The size was checked above.
    let size = size_of::<T>() as u32;

    // A transport either adds the two without a look at what comes out, or not even knows where the
    // configuration space ends.
    if offset.checked_add(size).is_none_or(|end| end > REACH) {
        return Err(EINVAL);
    }

    let vdev = vdev.as_ptr();

    // SAFETY: `vdev` is valid, and so are the operations that its transport has given it.
    let config = unsafe { &*(*vdev).config };
    let get = config.get.ok_or(ENODEV)?;
    let generation = || match config.generation {
        // SAFETY: `vdev` is valid.
        Some(generation) => unsafe { generation(vdev) },
        None => 0,
    };

    let mut before = generation();
    for _ in 0..ATTEMPTS {
        let mut value = MaybeUninit::<T>::zeroed();

        // SAFETY: `vdev` is valid, and `value` has room for as many bytes. The range was checked:
        // it is within what a transport maps, or that transport finds out that it is not.
        unsafe { get(vdev, offset, value.as_mut_ptr().cast(), size) };

        let after = generation();
        if before == after {
            // SAFETY: The bytes were zeroed, then written by `get`, and any bytes are a valid `T`.
            return Ok(unsafe { value.assume_init() });
        }
        before = after;
    }
    Err(EIO)
}

/// A handle to a device's configuration space, which stays when the device goes.
pub(crate) struct ConfigSpace {
    inner: Arc<Inner>,
}

#[pin_data]
struct Inner {
    #[pin]
    vdev: Mutex<Option<Device>>,
}

/// # Invariants
///
/// The device is valid.
struct Device(NonNull<bindings::virtio_device>);

// SAFETY: The operations of a device's configuration space may be called from any thread.
unsafe impl Send for Device {}

impl ConfigSpace {
    /// Returns the handle, and the part of the device by which it is closed.
    ///
    /// # Safety
    ///
    /// `vdev` must be valid until the part is closed.
    pub(super) unsafe fn new(
        vdev: NonNull<bindings::virtio_device>,
    ) -> Result<(Self, Arc<dyn Part>)> {
        let inner = Arc::pin_init(
            pin_init!(Inner {
                // INVARIANT: The device is valid until `close`, which removes it from here.
                vdev <- new_mutex!(Some(Device(vdev)), "virtio_config_space"),
            }),
            GFP_KERNEL,
        )?;

        Ok((
            Self {
                inner: inner.clone(),
            },
            inner,
        ))
    }

    /// Reads a value, as [`Probe::read_config`](super::Probe::read_config) does.
    ///
    /// # Errors
    ///
    /// As there, and `ENODEV` when the device is gone.
    ///
    /// Context: process; may sleep.
    pub(crate) fn read<T: FromBytes>(&self, offset: u32) -> Result<T> {
        let vdev = self.inner.vdev.lock();
        let vdev = vdev.as_ref().ok_or(ENODEV)?;

        // SAFETY: The device is valid by the invariants of `Device`, and stays so while the mutex
        // is held.
        unsafe { read(vdev.0, offset) }
    }
}

impl Part for Inner {
    fn open(&self) {}

    fn close(&self) {
        *self.vdev.lock() = None;
    }

    unsafe fn discard(&self) {}
}

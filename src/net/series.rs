// SPDX-License-Identifier: GPL-2.0

//! What differs between the series of the kernel that this is built against.
//!
//! `Kbuild` says which that is.

use core::borrow::Borrow;
use kernel::{
    prelude::*,
    sync::barrier, //
};

/// Initialises what `slot` points to.
///
/// # Safety
///
/// - `slot` is valid for writes, and uninitialised. If this fails, it is so again.
/// - It does not move until it is dropped.
pub(super) unsafe fn initialise<T, E>(slot: *mut T, init: impl PinInit<T, E>) -> Result<(), E> {
    #[cfg(rvsock_series = "7.2")]
    // SAFETY: The requirements are the same.
    unsafe {
        init.__pinned_init(slot)
    }
    #[cfg(not(rvsock_series = "7.2"))]
    // SAFETY: The requirements are the same.
    unsafe {
        pin_init::raw_try_init(slot, init)
    }
}

/// A full memory barrier between processors (`smp_mb()`). Any context.
pub(crate) fn full_barrier() {
    #[cfg(rvsock_series = "7.2")]
    barrier::smp_mb();
    #[cfg(not(rvsock_series = "7.2"))]
    barrier::smp_mb(barrier::Full);
}

/// The value of one of the module's parameters, of which series 7.2 gives a reference.
pub(crate) fn parameter<T: Copy>(value: impl Borrow<T>) -> T {
    *value.borrow()
}

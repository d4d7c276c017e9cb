// SPDX-License-Identifier: GPL-2.0

//! Physically contiguous pages.
//!
//! C header: [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

use super::gfp;
use crate::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// Owned pages that lie one after the other in physical memory, mapped in the kernel.
///
/// They are for a device to write to, and a device may go on writing when it should not. So no
/// reference to their bytes is ever given; [`Pages::read`] copies them out once.
///
/// # Invariants
///
/// `page` is the head of a compound page of order `order`, not in high memory, and this value owns
/// a reference to it.
pub(crate) struct Pages {
    page: NonNull<bindings::page>,
    order: u32,
}

// SAFETY: Pages are allocated and freed from any context.
unsafe impl Send for Pages {}

// SAFETY: Through a shared reference the bytes can be copied out, which needs no exclusion.
unsafe impl Sync for Pages {}

impl Pages {
    /// The largest order: 64 KiB where a page has 4.
    pub(crate) const MAX_ORDER: u32 = 4;

    /// Allocates 2 to the power of `order` pages; silently fails if there are none. The contents
    /// are whatever was there before.
    pub(crate) fn new(order: u32, flags: Flags) -> Result<Self, AllocError> {
        Self::with_raw_flags(order, gfp::into_raw(flags))
    }

    /// As [`Pages::new`], but does not wait for memory to be reclaimed.
    pub(super) fn without_direct_reclaim(order: u32, flags: Flags) -> Result<Self, AllocError> {
        Self::with_raw_flags(order, gfp::without_direct_reclaim(flags))
    }

    fn with_raw_flags(order: u32, flags: bindings::gfp_t) -> Result<Self, AllocError> {
        if order > Self::MAX_ORDER {
            return Err(AllocError);
        }
        let flags = flags | bindings::__GFP_COMP | bindings::__GFP_NOWARN;
        // SAFETY: Just an FFI call.
        let page = unsafe { bindings::alloc_pages(flags & !bindings::__GFP_HIGHMEM, order) };
        // INVARIANT: `__GFP_COMP` makes a compound page, the reference to which is new.
        Ok(Self {
            page: NonNull::new(page).ok_or(AllocError)?,
            order,
        })
    }

    /// How many bytes there are.
    pub(crate) fn size(&self) -> usize {
        PAGE_SIZE << self.order
    }

    /// Copies bytes out, from `offset` on. `EINVAL` if there are not as many.
    ///
    /// What a device changes meanwhile is copied in its old or its new form; later changes do not
    /// show in `to`.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) -> Result {
        let end = offset.checked_add(to.len()).ok_or(EINVAL)?;
        if end > self.size() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariants, the page is mapped, and the range was checked. `to` is
        // valid for writes of its length.
        unsafe {
            bindings::rvsock_copy_from_page(
                self.page.as_ptr(),
                offset,
                to.as_mut_ptr().cast(),
                to.len(),
            )
        };
        Ok(())
    }

    /// Gives the reference away as the head page; [`Pages::from_raw`] takes it back, with the same
    /// order.
    ///
    /// # Safety
    ///
    /// The caller is responsible for the reference.
    pub(super) unsafe fn into_raw(self) -> (NonNull<bindings::page>, u32) {
        let this = ManuallyDrop::new(self);
        (this.page, this.order)
    }

    /// Takes a reference over.
    ///
    /// # Safety
    ///
    /// The arguments must come from one call of [`Pages::into_raw`], and the reference must not be
    /// used otherwise.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>, order: u32) -> Self {
        // INVARIANT: By the requirements.
        Self { page, order }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours, and the order is right.
        unsafe { bindings::__free_pages(self.page.as_ptr(), self.order) };
    }
}

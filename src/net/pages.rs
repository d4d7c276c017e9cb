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
/// reference to their bytes is ever given.
///
/// # Invariants
///
/// `page` is the head of a compound page of order `order`, not in high memory, and this value owns
/// a reference to it.
pub(super) struct Pages {
    page: NonNull<bindings::page>,
    order: u32,
}

// SAFETY: Pages are allocated and freed from any context.
unsafe impl Send for Pages {}

// SAFETY: A shared reference gives nothing but the size.
unsafe impl Sync for Pages {}

impl Pages {
    /// The largest order: 64 KiB where a page has 4.
    pub(super) const MAX_ORDER: u32 = 4;

    /// Allocates 2 to the power of `order` pages; silently fails if there are none. The contents
    /// are whatever was there before.
    pub(super) fn new(order: u32, flags: Flags) -> Result<Self, AllocError> {
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
    pub(super) fn size(&self) -> usize {
        PAGE_SIZE << self.order
    }

    /// Gives the reference away as the head page.
    ///
    /// # Safety
    ///
    /// The caller is responsible for the reference.
    pub(super) unsafe fn into_raw(self) -> NonNull<bindings::page> {
        ManuallyDrop::new(self).page
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours, and the order is right.
        unsafe { bindings::__free_pages(self.page.as_ptr(), self.order) };
    }
}

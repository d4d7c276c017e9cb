// SPDX-License-Identifier: GPL-2.0

//! Allocation flags as C takes them.

use crate::bindings;
use kernel::{
    alloc::Flags,
    prelude::*, //
};

/// `gfp_t` of `flags`. The kernel crate has that function, but not for modules.
pub(super) fn into_raw(flags: Flags) -> bindings::gfp_t {
    static_assert!(size_of::<Flags>() == size_of::<bindings::gfp_t>());
    // SAFETY: `Flags` wraps a `gfp_t`, and by its size nothing else, so the two have the same
    // representation.
    unsafe { core::mem::transmute::<Flags, bindings::gfp_t>(flags) }
}

/// The same flags, less those that let an allocation wait for memory to be reclaimed.
pub(super) fn without_direct_reclaim(flags: Flags) -> bindings::gfp_t {
    into_raw(flags) & !bindings::__GFP_DIRECT_RECLAIM
}

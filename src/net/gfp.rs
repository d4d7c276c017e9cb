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

/// The same flags, for memory that counts for the memory cgroup of the calling task, if there is
/// one: in a softirq nobody is charged.
pub(crate) fn accounted(flags: Flags) -> Flags {
    flags | (GFP_KERNEL_ACCOUNT & !GFP_KERNEL)
}

/// The same flags, less those that let an allocation wait for memory to be reclaimed.
pub(super) fn without_direct_reclaim(flags: Flags) -> bindings::gfp_t {
    into_raw(flags) & !bindings::__GFP_DIRECT_RECLAIM
}

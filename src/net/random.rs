// SPDX-License-Identifier: GPL-2.0

//! A random number.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use crate::bindings;

/// A number that nobody can guess (`get_random_u32()`). Any context.
pub(crate) fn number() -> u32 {
    // SAFETY: There are no requirements.
    unsafe { bindings::get_random_u32() }
}

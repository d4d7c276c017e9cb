// SPDX-License-Identifier: GPL-2.0

//! What the calling task may do.
//!
//! C header: [`include/linux/capability.h`](srctree/include/linux/capability.h)

use crate::bindings;
use kernel::prelude::*;

/// Whether it may take what is reserved on this machine (`CAP_NET_BIND_SERVICE`). To have that in a
/// user namespace of its own is not enough. Process context.
pub(crate) fn net_bind_service() -> bool {
    // SAFETY: There are no requirements.
    unsafe { bindings::capable(bindings::CAP_NET_BIND_SERVICE as c_int) }
}

// SPDX-License-Identifier: GPL-2.0

//! What the kernel knows of the calling task.

use crate::bindings;
use kernel::prelude::*;

/// Whether a signal is there for the calling task. A sleep also ends, with
/// [`Woken::Signal`](super::wait::Woken::Signal), when the task has work of its own to do on the way back
/// to user space, for io_uring say: nobody has sent a signal then, and a call that fails with
/// `ERESTARTSYS` is made again behind the program's back.
pub(crate) fn has_signal() -> bool {
    // SAFETY: Just an FFI call.
    unsafe { bindings::rvsock_has_signal() }
}

/// How often the calling task gave up the processor to sleep, as the kernel counts.
pub(super) fn voluntary_switches() -> c_ulong {
    // SAFETY: Just an FFI call.
    unsafe { bindings::rvsock_voluntary_switches() }
}

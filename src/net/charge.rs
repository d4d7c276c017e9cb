// SPDX-License-Identifier: GPL-2.0

//! The memory that a socket has under way (`sk_wmem_alloc`).
//!
//! A buffer that is charged to a socket counts as its until it is freed, wherever that happens: in
//! a driver's queue, or when a device is done with it. Its memory keeps the socket's from going
//! away, as a reference does.
//!
//! C source: [`net/core/sock.c`](srctree/net/core/sock.c)

use super::{
    skb::SkBuff,
    sock::{
        Protocol,
        Sock, //
    },
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::sync::aref::ARef;

impl<P: Protocol> Sock<P> {
    /// Charges a buffer to the socket until it is freed (`skb_set_owner_w()`): once for a buffer.
    /// [`Protocol::write_space`] is called when it is.
    ///
    /// Any context but a hard interrupt.
    pub(crate) fn charge(&self, buffer: &mut SkBuff) {
        // SAFETY: By the type invariants, both are valid, and the buffer is nobody else's. A charge
        // that there was before is taken back first.
        unsafe { bindings::rvsock_skb_charge(buffer.as_raw().as_ptr(), self.as_raw()) };
    }

    /// How much memory is charged to the socket, in bytes with all overhead. Any context.
    pub(crate) fn charged(&self) -> usize {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_charged(self.as_raw()) }
    }
}

/// The callback `sk_write_space`.
///
/// # Safety
///
/// To be called for a `struct sock` of a [`Sock`] of this `P` that is charged for a buffer.
pub(super) unsafe extern "C" fn write_space<P: Protocol>(sk: *mut bindings::sock) {
    // SAFETY: The charge keeps the memory of `sk` valid, also when there is no reference any more.
    if unsafe { bindings::rvsock_sock_hold_unless_zero(sk) } {
        // SAFETY: `sk` is valid, so not null, and is the first field of a `Sock`, of which a
        // reference was just taken.
        let sock: ARef<Sock<P>> = unsafe { ARef::from_raw(NonNull::new_unchecked(sk).cast()) };
        P::write_space(&sock);
    }
}

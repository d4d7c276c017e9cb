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
use core::{
    mem::ManuallyDrop,
    ptr::{
        addr_of,
        NonNull, //
    },
};
use kernel::sync::{
    aref::ARef,
    atomic::Relaxed, //
};

impl<P: Protocol> Sock<P> {
    /// Charges a filled buffer to the socket until it is freed (`skb_set_owner_w()`): once for a
    /// buffer. [`Protocol::write_space`] is called when it is.
    ///
    /// Any context but a hard interrupt.
    pub(crate) fn charge(&self, buffer: &mut SkBuff) {
        self.unsent.fetch_add(buffer.len(), Relaxed);
        let skb = buffer.as_raw().as_ptr();
        // SAFETY: By the type invariants, both are valid, and the buffer is nobody else's. A charge
        // that there was before is taken back first. From here on the buffer keeps the memory of
        // the socket valid, and its payload stays as it is until it is freed.
        unsafe { bindings::rvsock_skb_charge(skb, self.as_raw(), Some(freed::<P>)) };
    }

    /// How many bytes of payload are charged to the socket. Any context.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.load(Relaxed)
    }

    /// How much memory is charged to the socket, in bytes with all overhead. Any context.
    pub(crate) fn charged(&self) -> usize {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_charged(self.as_raw()) }
    }
}

/// The destructor of a buffer that is charged.
///
/// # Safety
///
/// To be called for the `skb` of a [`SkBuff`] that is charged to a [`Sock`] of this `P`, before it
/// is freed.
unsafe extern "C" fn freed<P: Protocol>(skb: *mut bindings::sk_buff) {
    // SAFETY: By the requirements, the buffer is valid, and so not null; `ManuallyDrop` leaves it to
    // the caller.
    let buffer = ManuallyDrop::new(unsafe { SkBuff::from_raw(NonNull::new_unchecked(skb)) });
    // SAFETY: By the requirements, `sk` is the first field of a `Sock<P>`, whose memory the charge
    // keeps valid; the field needs no dropping and is valid as long as that memory is.
    let unsent = unsafe { &(*addr_of!((*(*skb).sk.cast::<Sock<P>>()).unsent)) };
    unsent.fetch_sub(buffer.len(), Relaxed);
    // SAFETY: The buffer is charged as `skb_set_owner_w()` does it. This is the last access to the
    // socket.
    unsafe { bindings::sock_wfree(skb) };
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

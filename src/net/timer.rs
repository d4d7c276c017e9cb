// SPDX-License-Identifier: GPL-2.0

//! The timer of a socket (`sk_timer`).
//!
//! An armed timer holds a reference to its socket, so a socket does not go away before its timer
//! has expired or was stopped.
//!
//! C source: [`net/core/sock.c`](srctree/net/core/sock.c)

use super::sock::{
    Protocol,
    Sock, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    sync::aref::ARef,
    time::Jiffies, //
};

impl<P: Protocol> Sock<P> {
    /// Lets [`Protocol::timer`] be called `after` jiffies from now. An armed timer is set anew.
    ///
    /// Any context but a hard interrupt.
    pub(crate) fn arm_timer(&self, after: Jiffies) {
        // SAFETY: By the type invariants, `sk` is valid and its timer is set up. The function
        // takes a reference for the timer before it can expire.
        unsafe { bindings::rvsock_sock_arm_timer(self.as_raw(), after) };
    }

    /// Stops the timer if it is armed, and gives its reference up.
    ///
    /// Does not wait for a [`Protocol::timer`] that is being called at this moment. Any context
    /// but a hard interrupt.
    pub(crate) fn stop_timer(&self) {
        // SAFETY: By the type invariants, `sk` is valid and its timer is set up.
        unsafe { bindings::rvsock_sock_stop_timer(self.as_raw()) };
    }
}

/// The callback of `sk_timer`.
///
/// # Safety
///
/// To be called by the timer of a [`Sock`] of this `P` that was armed by [`Sock::arm_timer`].
pub(super) unsafe extern "C" fn expired<P: Protocol>(timer: *mut bindings::timer_list) {
    // SAFETY: By the requirements, `timer` is the `sk_timer` of a `struct sock`.
    let sk = unsafe { bindings::rvsock_sock_of_timer(timer) };
    // SAFETY: `sk` is a pointer to the object that contains `timer`, so it is not null.
    let sock = unsafe { NonNull::new_unchecked(sk) }.cast::<Sock<P>>();
    // SAFETY: The armed timer held a reference, which is taken over here.
    let sock = unsafe { ARef::from_raw(sock) };

    P::timer(&sock);
}

// SPDX-License-Identifier: GPL-2.0

//! `struct proto`: how the sockets of a family are allocated, counted and named.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

use super::sock::{
    Holder,
    Protocol,
    Sock, //
};
use crate::bindings;
use core::mem::MaybeUninit;
use kernel::{
    prelude::*,
    str::CStr,
    sync::atomic::Relaxed,
    time::Jiffies,
    ThisModule, //
};

/// A `struct proto` that says nothing yet.
pub(super) const fn empty() -> bindings::proto {
    // SAFETY: All fields are integers, pointers or optional functions, for which zero is valid.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Makes the `struct proto` of the sockets of `P`, to be registered with a slab of its own.
///
/// The slab accounts to the memory cgroup of whoever creates a socket, as all those do that
/// `proto_register()` makes. Fails with `EINVAL` if `name` is longer than 31 bytes.
pub(super) fn of<P: Protocol>(name: &CStr, owner: &'static ThisModule) -> Result<bindings::proto> {
    let mut proto = empty();

    let name = name.to_bytes_with_nul();
    let room = proto.name.get_mut(..name.len()).ok_or(EINVAL)?;
    for (to, from) in room.iter_mut().zip(name) {
        *to = *from;
    }
    proto.owner = owner.as_ptr();
    proto.obj_size = u32::try_from(Sock::<P>::SIZE)?;
    proto.release_cb = Some(release_cb::<P>);
    Ok(proto)
}

/// `release_cb` of `struct proto`: the owner of a socket is about to let go of it.
///
/// # Safety
///
/// `sk` must be a [`Sock`] of this `P`. The caller must own it, must hold its spinlock with bottom
/// halves off, and must not have borrowed its state.
pub(super) unsafe extern "C" fn release_cb<P: Protocol>(sk: *mut bindings::sock) {
    // SAFETY: By the requirements, `sk` is a `Sock<P>`; its owner has a reference.
    let sock = unsafe { Sock::<P>::from_raw(sk) };

    if sock.deferred.load(Relaxed) {
        sock.deferred.store(false, Relaxed);
        // SAFETY: The caller owns the socket, and with it the state, which is not borrowed elsewhere.
        let state = unsafe { &mut *sock.state.get() };
        // SAFETY: The caller holds the spinlock, and with it the backlog.
        let backlog = unsafe { &mut *sock.backlog.get() };
        P::drain(sock, state, backlog);
    }
    // SAFETY: The caller owns the socket, and with it the mark.
    let holder = unsafe { core::mem::take(&mut *sock.holder.get()) };
    if holder != Holder::Flushing {
        P::released(sock);
    }
    if holder == Holder::Generic && P::has_pending(sock) {
        // Nobody comes after generic code: the timer has to.
        sock.arm_timer(Jiffies::default());
    }
}

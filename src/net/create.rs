// SPDX-License-Identifier: GPL-2.0

//! How a socket comes to be, for `socket(2)` and for a connection that waits to be accepted, and how
//! it ends.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h); C sources:
//! [`net/core/sock.c`](srctree/net/core/sock.c), [`net/socket.c`](srctree/net/socket.c)

use super::{
    errno::EAFNOSUPPORT,
    family::Family,
    gfp,
    namespace::PerNamespace,
    proto_ops,
    registration::Slot,
    sock::Sock,
    sock_fields::SocketKind, //
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    alloc::{
        flags::GFP_KERNEL,
        Flags, //
    },
    error::from_result,
    prelude::*,
    sync::aref::ARef, //
};

/// A fresh `struct sock` that is given back to its allocator unless it became a [`Sock`].
///
/// # Invariants
///
/// The pointer owns the only reference to a `struct sock` that `sock_init_data_uid()` initialised.
struct Bare(NonNull<bindings::sock>);

impl Bare {
    /// # Safety
    ///
    /// - `net` must be valid, `proto` registered.
    /// - `socket` must be null, or a `struct socket` that has no `struct sock` yet and that nobody
    ///   else can reach.
    unsafe fn new(
        net: *mut bindings::net,
        family: c_int,
        flags: Flags,
        proto: *mut bindings::proto,
        kernel: c_int,
        socket: *mut bindings::socket,
        uid: bindings::kuid_t,
    ) -> Result<Self> {
        // SAFETY: By the requirements.
        let sk = unsafe { bindings::sk_alloc(net, family, gfp::into_raw(flags), proto, kernel) };
        let sk = NonNull::new(sk).ok_or(ENOMEM)?;
        // SAFETY: `sk` is fresh, and `socket` is null or without a `struct sock`.
        unsafe { bindings::sock_init_data_uid(socket, sk.as_ptr(), uid) };
        // INVARIANT: The count was just set to one.
        Ok(Self(sk))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this is the only reference; `sk_socket`, if set, is the
        // one that was given to `new`.
        unsafe { bindings::rvsock_sock_discard(self.0.as_ptr()) };
    }
}

impl<F: Family> Sock<F> {
    /// Makes a socket that belongs to no file yet, like `parent` in family, type, protocol,
    /// namespace and security label: a connection that waits to be accepted.
    ///
    /// Process context or BH, according to `flags`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what `shared` fails with.
    pub(crate) fn new_child(
        parent: &Self,
        shared: impl PinInit<F::Shared, Error>,
        state: F::State,
        flags: Flags,
    ) -> Result<ARef<Self>> {
        let tables_use = Slot::of_sock(parent);

        let from = parent.as_raw();
        // SAFETY: `parent` is valid, and holds its namespace; its family is registered as long as
        // it lives. There is no `struct socket`.
        let bare = unsafe {
            Bare::new(
                bindings::rvsock_sock_net(from),
                c_int::from(parent.family()),
                flags,
                tables_use.proto(),
                bindings::rvsock_sock_is_kernel(from),
                core::ptr::null_mut(),
                bindings::rvsock_sock_uid(from),
            )?
        };
        // SAFETY: Both are valid, and nobody else can reach the new one.
        unsafe { bindings::rvsock_sock_inherit(bare.0.as_ptr(), from) };

        let list = parent.place.list().clone();
        // SAFETY: `bare` is as `construct` requires by its type invariants and because `proto` is
        // that of a slot of `F`; `destruct` calls `Sock::destruct`.
        let sock = unsafe { Self::construct(bare.0, list, shared, state, destruct::<F>)? };
        // The reference is one to a `Sock` now.
        core::mem::forget(bare);
        tables_use.leave_to_socket();
        // SAFETY: The reference that `bare` owned becomes that of the `ARef`.
        Ok(unsafe { ARef::from_raw(sock) })
    }
}

/// `create` of `struct net_proto_family`.
///
/// # Safety
///
/// To be called by the socket layer, for a new `struct socket` of the family `F`.
pub(super) unsafe extern "C" fn create<F: Family>(
    net: *mut bindings::net,
    socket: *mut bindings::socket,
    protocol: c_int,
    kernel: c_int,
) -> c_int {
    from_result(|| {
        let tables_use = F::slot().enter_open().ok_or(EAFNOSUPPORT)?;
        let context = tables_use.context().ok_or(EAFNOSUPPORT)?;
        // SAFETY: The socket layer gives a valid namespace; the slot is open, so its operations
        // are registered.
        let namespace = unsafe { PerNamespace::<F>::of(net) }.ok_or(EAFNOSUPPORT)?;
        // SAFETY: The socket layer gives a valid `struct socket`.
        let kind = SocketKind::from_raw(u16::try_from(unsafe { (*socket).type_ })?);
        let (shared, state) = F::create(context, &namespace.family, kind, protocol)?;

        // SAFETY: The socket layer gives a valid namespace and a new `struct socket`; the tables
        // are complete and registered.
        let bare = unsafe {
            Bare::new(
                net,
                tables_use.family(),
                GFP_KERNEL,
                tables_use.proto(),
                kernel,
                socket,
                bindings::rvsock_socket_uid(socket),
            )?
        };
        // SAFETY: Nobody else can reach `sk` yet.
        unsafe { (*bare.0.as_ptr()).sk_protocol = protocol as u16 };

        let list = namespace.sockets.clone();
        // SAFETY: `bare` is as `construct` requires by its type invariants and because `proto` is
        // that of a slot of `F`; `destruct` calls `Sock::destruct`.
        let sock = unsafe { Sock::<F>::construct(bare.0, list, shared, state, destruct::<F>)? };
        // The reference is one to a `Sock` now, and belongs to `socket`.
        core::mem::forget(bare);
        let ops = tables_use.ops();
        tables_use.leave_to_socket();
        // SAFETY: The reference was just made, and `socket` keeps it.
        unsafe { sock.as_ref() }.claim_attachment();
        // SAFETY: The socket layer gives a valid `struct socket`; `ops` is static and complete.
        unsafe {
            (*socket).ops = ops;
            proto_ops::set_flags::<F>(socket);
        }
        Ok(0)
    })
}

/// `sk_destruct` of `struct sock`: the last reference is gone, and a grace period has passed.
///
/// # Safety
///
/// To be called once, as `sk_destruct` of a socket of the family `F`.
unsafe extern "C" fn destruct<F: Family>(sk: *mut bindings::sock) {
    // Given up last.
    //
    // SAFETY: `construct` made `sk` a socket of the family, for which the use was left; C calls this
    // once.
    let _tables_use = unsafe { Slot::<F>::left_to(sk) };

    // SAFETY: `construct` was given this function for `sk`, and C calls it once.
    unsafe { Sock::<F>::destruct(sk) };
}

// SPDX-License-Identifier: GPL-2.0

//! The error codes of the socket layer, which the kernel crate lacks.
//!
//! C header: [`include/uapi/asm-generic/errno.h`](srctree/include/uapi/asm-generic/errno.h)

use crate::bindings;
use kernel::prelude::*;

/// The error of a positive number.
const fn error(errno: u32) -> Error {
    static_assert!(size_of::<Error>() == size_of::<i32>());
    assert!(0 < errno && errno <= bindings::MAX_ERRNO);
    // SAFETY: `Error` wraps a negative `i32` of at least `-MAX_ERRNO`, and by its size nothing
    // else, so the two have the same representation. The number was checked.
    unsafe { core::mem::transmute::<i32, Error>(-(errno as i32)) }
}

macro_rules! errors {
    ($($(#[$meta:meta])* $name:ident)*) => {
        $($(#[$meta])* pub(crate) const $name: Error = error(bindings::$name);)*
    };
}

errors! {
    /// Address already in use.
    EADDRINUSE
    /// Cannot assign requested address.
    EADDRNOTAVAIL
    /// Address family not supported.
    EAFNOSUPPORT
    /// Operation already in progress.
    EALREADY
    /// Nobody takes messages there.
    ECONNREFUSED
    /// Connection reset by peer.
    ECONNRESET
    /// Destination address required.
    EDESTADDRREQ
    /// Operation now in progress.
    EINPROGRESS
    /// Transport endpoint is already connected.
    EISCONN
    /// Message too long.
    EMSGSIZE
    /// Network is unreachable.
    ENETUNREACH
    /// Protocol option not available.
    ENOPROTOOPT
    /// Transport endpoint is not connected.
    ENOTCONN
    /// Operation not supported on this endpoint.
    EOPNOTSUPP
    /// Protocol error.
    EPROTO
    /// Protocol not supported.
    EPROTONOSUPPORT
    /// Socket type not supported.
    ESOCKTNOSUPPORT
}

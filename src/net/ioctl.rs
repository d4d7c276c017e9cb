// SPDX-License-Identifier: GPL-2.0

//! `ioctl(2)` on a socket: how much is queued.
//!
//! C header: [`include/uapi/linux/sockios.h`](srctree/include/uapi/linux/sockios.h); source: tcp(7),
//! unix(7)

use super::ops::Operations;
use crate::bindings;
use kernel::{
    error::from_result,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// A direction whose bytes are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// Received, and not read yet (`SIOCINQ`).
    Incoming,
    /// Taken from senders, and not handed on yet (`SIOCOUTQ`).
    Outgoing,
}

/// `ioctl` and `compat_ioctl` of `struct proto_ops`: what is asked for is a C `int`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
pub(super) unsafe extern "C" fn ioctl<T: Operations>(
    socket: *mut bindings::socket,
    command: c_uint,
    argument: c_ulong,
) -> c_int {
    from_result(|| {
        let queued = match command {
            bindings::FIONREAD => Queued::Incoming,
            bindings::TIOCOUTQ => Queued::Outgoing,
            // The socket layer goes on to look for a network device's.
            _ => return Err(ENOIOCTLCMD),
        };
        // SAFETY: The socket layer gives a valid `struct socket`.
        let sock = unsafe { super::proto_ops::sock_of::<T>(socket) };
        let count = c_int::try_from(T::queued(sock, queued)?).unwrap_or(c_int::MAX);
        UserSlice::new(UserPtr::from_addr(argument), size_of::<c_int>())
            .writer()
            .write(&count)
            .map(|()| 0)
    })
}

// SPDX-License-Identifier: GPL-2.0

//! `struct proto_ops` from [`Operations`]: what the socket layer calls.
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h); C source:
//! [`net/socket.c`](srctree/net/socket.c)

use super::{
    ioctl::ioctl,
    message::{
        MsgFlags,
        ReceiveMessage,
        SendMessage, //
    },
    ops::{
        How,
        Operations, //
    },
    option::{
        AddressBuffer,
        OptionOut,
        OptionValue, //
    },
    sock::{
        Protocol,
        Sock, //
    },
};
use crate::bindings;
use core::slice;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::aref::ARef,
    ThisModule, //
};

/// Makes the `struct proto_ops` of `T`, for the sockets that its family creates and no others.
pub(super) fn table<T: Operations>(
    family: c_int,
    owner: &'static ThisModule,
) -> bindings::proto_ops {
    /// The family's function if it has one, else the socket layer's.
    macro_rules! either {
        ($has:ident, $own:expr, $none:ident) => {
            Some(if T::$has { $own } else { bindings::$none })
        };
    }

    bindings::proto_ops {
        family,
        owner: owner.as_ptr(),
        release: Some(release::<T>),
        bind: either!(HAS_BIND, bind::<T>, sock_no_bind),
        connect: either!(HAS_CONNECT, connect::<T>, sock_no_connect),
        socketpair: Some(bindings::sock_no_socketpair),
        accept: either!(HAS_ACCEPT, accept::<T>, sock_no_accept),
        getname: either!(HAS_NAME, getname::<T>, sock_no_getname),
        poll: T::HAS_POLL.then_some(poll::<T>),
        ioctl: either!(HAS_QUEUED, ioctl::<T>, sock_no_ioctl),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: T::HAS_QUEUED.then_some(ioctl::<T>),
        gettstamp: Some(bindings::sock_gettstamp),
        listen: either!(HAS_LISTEN, listen::<T>, sock_no_listen),
        shutdown: either!(HAS_SHUTDOWN, shutdown::<T>, sock_no_shutdown),
        setsockopt: T::HAS_SET_OPTION.then_some(setsockopt::<T>),
        getsockopt_iter: T::HAS_OPTION.then_some(getsockopt::<T>),
        sendmsg: either!(HAS_SEND, sendmsg::<T>, sock_no_sendmsg),
        recvmsg: either!(HAS_RECEIVE, recvmsg::<T>, sock_no_recvmsg),
        mmap: Some(bindings::sock_no_mmap),
        set_peek_off: T::HAS_PEEK_OFFSET_SET.then_some(set_peek_off::<T>),
        set_rcvlowat: T::HAS_SET_RECEIVE_LOW_WATER.then_some(set_rcvlowat::<T>),
        set_rcvbuf: T::HAS_RECEIVE_BUFFER_SET.then_some(set_rcvbuf::<T>),
        ..Default::default()
    }
}

/// The socket behind a `struct socket`.
///
/// # Safety
///
/// `socket` must be a valid `struct socket` whose `ops` are those of `T` and which has a
/// `struct sock`; it must keep it for `'a`.
#[inline]
pub(super) unsafe fn sock_of<'a, T: Protocol>(socket: *mut bindings::socket) -> &'a Sock<T> {
    // SAFETY: By the requirements, `sk` was made for the family of `T`, and `socket` holds a
    // reference to it.
    unsafe { Sock::from_raw((*socket).sk) }
}

/// Tells the socket layer what a new `struct socket` of the family is asked that others are not.
///
/// # Safety
///
/// `socket` must be valid.
pub(super) unsafe fn set_flags<T: Operations>(socket: *mut bindings::socket) {
    // SAFETY: By the requirements.
    unsafe {
        bindings::rvsock_socket_set_flags(socket, T::HAS_SET_SOCKET_OPTION, T::ZEROCOPY);
    }
}

/// The bytes of an address.
///
/// # Safety
///
/// If `len` is above zero, `address` must point to as many bytes that do not change for `'a`.
unsafe fn bytes_of<'a>(address: *mut bindings::sockaddr_unsized, len: c_int) -> &'a [u8] {
    match usize::try_from(len) {
        // SAFETY: By the requirements.
        Ok(len) if len > 0 => unsafe { slice::from_raw_parts(address.cast(), len) },
        _ => &[],
    }
}

/// Whether the flags of an open file ask for calls that do not sleep.
fn is_nonblocking(flags: c_int) -> bool {
    flags & bindings::O_NONBLOCK as c_int != 0
}

// The functions of `table`. The socket layer calls them in process context. It keeps the
// `struct socket` for the length of a call, and calls none after `release`.

/// `release` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn release<T: Operations>(socket: *mut bindings::socket) -> c_int {
    // SAFETY: The socket layer gives a valid `struct socket`.
    let sk = unsafe { (*socket).sk };
    // A `struct socket` that was made for `accept` has none if that failed.
    if !sk.is_null() {
        // SAFETY: `sk` was made for this family, and `socket` holds a reference until the end of
        // this function.
        T::release(unsafe { Sock::from_raw(sk) });
        // SAFETY: As above; the reference is given up last, and nobody calls for this `socket`
        // again.
        unsafe { bindings::rvsock_sock_detach(sk, socket) };
    }
    0
}

/// `bind` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn bind<T: Operations>(
    socket: *mut bindings::socket,
    address: *mut bindings::sockaddr_unsized,
    len: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives a valid `struct socket` and a copy of the address.
        let (sock, address) = unsafe { (sock_of::<T>(socket), bytes_of(address, len)) };
        T::bind(sock, address).map(|()| 0)
    })
}

/// `connect` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn connect<T: Operations>(
    socket: *mut bindings::socket,
    address: *mut bindings::sockaddr_unsized,
    len: c_int,
    flags: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives a valid `struct socket` and a copy of the address.
        let (sock, address) = unsafe { (sock_of::<T>(socket), bytes_of(address, len)) };
        T::connect(sock, address, is_nonblocking(flags)).map(|()| 0)
    })
}

/// `accept` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn accept<T: Operations>(
    socket: *mut bindings::socket,
    new: *mut bindings::socket,
    argument: *mut bindings::proto_accept_arg,
) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives a valid `struct socket` and valid arguments.
        let (sock, flags) = unsafe { (sock_of::<T>(socket), (*argument).flags) };

        let child = T::accept(sock, is_nonblocking(flags))?;
        // A socket that is attached elsewhere would be released twice.
        if !child.claim_attachment() {
            return Err(EINVAL);
        }
        // SAFETY: `new` is a valid `struct socket` without a `struct sock`, to which nobody else
        // has access. It takes the reference over.
        unsafe {
            bindings::rvsock_sock_attach(ARef::into_raw(child).cast().as_ptr(), new);
            set_flags::<T>(new);
        }
        Ok(0)
    })
}

/// `getname` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn getname<T: Operations>(
    socket: *mut bindings::socket,
    address: *mut bindings::sockaddr,
    peer: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives a valid `struct socket`.
        let sock = unsafe { sock_of::<T>(socket) };

        let mut room = [0; size_of::<bindings::__kernel_sockaddr_storage>()];
        const { assert!(T::ADDRESS_LEN <= size_of::<bindings::__kernel_sockaddr_storage>()) };
        let mut out = AddressBuffer::new(&mut room[..T::ADDRESS_LEN]);
        T::name(sock, peer != 0, &mut out)?;

        let len = out.len();
        // SAFETY: `address` has room for an address of the family, and for more, a `struct
        // sockaddr_storage`, only where the call comes from user space. No more than `ADDRESS_LEN`
        // bytes are copied, of which `room` has as many.
        unsafe { core::ptr::copy_nonoverlapping(room.as_ptr(), address.cast(), len) };
        Ok(len as c_int)
    })
}

/// `poll` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn poll<T: Operations>(
    file: *mut bindings::file,
    socket: *mut bindings::socket,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: The socket layer gives a valid file, its `struct socket`, and a poll table or null.
    unsafe { bindings::rvsock_sock_poll_wait(file, socket, table) };
    // SAFETY: The socket layer gives a valid `struct socket`.
    T::poll(unsafe { sock_of::<T>(socket) }).into_raw()
}

/// `listen` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn listen<T: Operations>(socket: *mut bindings::socket, backlog: c_int) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives a valid `struct socket`.
        let sock = unsafe { sock_of::<T>(socket) };
        T::listen(sock, backlog).map(|()| 0)
    })
}

/// `shutdown` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn shutdown<T: Operations>(socket: *mut bindings::socket, how: c_int) -> c_int {
    from_result(|| {
        let how = match u32::try_from(how)? {
            bindings::sock_shutdown_cmd_SHUT_RD => How::Receive,
            bindings::sock_shutdown_cmd_SHUT_WR => How::Send,
            bindings::sock_shutdown_cmd_SHUT_RDWR => How::Both,
            _ => return Err(EINVAL),
        };
        // SAFETY: The socket layer gives a valid `struct socket`.
        let sock = unsafe { sock_of::<T>(socket) };
        T::shutdown(sock, how).map(|()| 0)
    })
}

/// `setsockopt` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn setsockopt<T: Operations>(
    socket: *mut bindings::socket,
    level: c_int,
    name: c_int,
    value: bindings::sockptr_t,
    len: c_uint,
) -> c_int {
    from_result(|| {
        let raw = value;
        // SAFETY: The socket layer gives a valid `struct socket`, and the value for the length of
        // the call.
        let (sock, value) = unsafe {
            (
                sock_of::<T>(socket),
                OptionValue::from_raw(raw, len as usize),
            )
        };
        // Only if `set_flags` asked for it.
        if level == bindings::SOL_SOCKET as c_int && T::HAS_SET_SOCKET_OPTION {
            if T::set_socket_option(sock, name, &value)? {
                return Ok(0);
            }
            // SAFETY: As above: the caller would have called this itself.
            to_result(unsafe { bindings::sock_setsockopt(socket, level, name, raw, len) })?;
            return Ok(0);
        }
        T::set_option(sock, level, name, &value).map(|()| 0)
    })
}

/// `getsockopt_iter` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn getsockopt<T: Operations>(
    socket: *mut bindings::socket,
    level: c_int,
    name: c_int,
    option: *mut bindings::sockopt_t,
) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives a valid `struct socket`, and the option for the length of
        // the call.
        let (sock, out) = unsafe { (sock_of::<T>(socket), OptionOut::from_raw(option)) };
        T::option(sock, level, name, out).map(|()| 0)
    })
}

/// A count of bytes as C returns it: at most `INT_MAX`, to which the socket layer limits calls.
fn count(bytes: usize) -> c_int {
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

/// `sendmsg` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn sendmsg<T: Operations>(
    socket: *mut bindings::socket,
    message: *mut bindings::msghdr,
    len: usize,
) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives a valid `struct socket`.
        let sock = unsafe { sock_of::<T>(socket) };
        // SAFETY: The socket layer gives the message for the length of the call.
        let mut message = unsafe { SendMessage::from_raw(message)? };
        T::send(sock, &mut message, len).map(count)
    })
}

/// `recvmsg` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct socket` of the family of `T`.
unsafe extern "C" fn recvmsg<T: Operations>(
    socket: *mut bindings::socket,
    message: *mut bindings::msghdr,
    len: usize,
    flags: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives a valid `struct socket`.
        let sock = unsafe { sock_of::<T>(socket) };
        // SAFETY: The socket layer gives the message for the length of the call.
        let mut message = unsafe { ReceiveMessage::from_raw(message)? };
        T::receive(sock, &mut message, len, MsgFlags::from_raw(flags as u32)).map(count)
    })
}

/// `set_rcvlowat` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct sock` of the family of `T`.
unsafe extern "C" fn set_rcvlowat<T: Operations>(sk: *mut bindings::sock, value: c_int) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives the `struct sock` of a `struct socket` of the family.
        let sock = unsafe { Sock::<T>::from_raw(sk) };
        T::set_receive_low_water(sock, value.max(1)).map(|()| 0)
    })
}

/// `set_rcvbuf` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct sock` of the family of `T`.
unsafe extern "C" fn set_rcvbuf<T: Operations>(sk: *mut bindings::sock, value: c_int) {
    // SAFETY: The socket layer gives the `struct sock` of a `struct socket` of the family.
    let sock = unsafe { Sock::<T>::from_raw(sk) };
    // The value was doubled for what buffers need beside what is in them.
    T::receive_buffer_set(sock, u32::try_from(value).unwrap_or(0) / 2);
}

/// `set_peek_off` of `struct proto_ops`.
///
/// # Safety
///
/// To be called by the socket layer, for a `struct sock` of the family of `T`.
unsafe extern "C" fn set_peek_off<T: Operations>(sk: *mut bindings::sock, value: c_int) -> c_int {
    from_result(|| {
        // SAFETY: The socket layer gives the `struct sock` of a `struct socket` of the family.
        let sock = unsafe { Sock::<T>::from_raw(sk) };
        T::peek_offset_set(sock, value).map(|()| 0)
    })
}

// SPDX-License-Identifier: GPL-2.0

//! What the system calls on a socket do: a trait for a family to fill in.
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h); C source:
//! [`net/socket.c`](srctree/net/socket.c)

use super::{
    ioctl::Queued,
    message::{
        MsgFlags,
        ReceiveMessage,
        SendMessage, //
    },
    option::{
        AddressBuffer,
        OptionOut,
        OptionValue, //
    },
    poll::PollEvents,
    sock::{
        Protocol,
        Sock, //
    },
};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
    sync::aref::ARef, //
};

/// What the system calls on a socket do.
///
/// All are called in process context with a reference to the socket, and without its lock unless
/// they say otherwise. What a family leaves out is refused as the socket layer refuses it
/// (`sock_no_*()`): mostly with `EOPNOTSUPP`.
#[vtable]
pub(crate) trait Operations: Protocol {
    /// The size of the family's socket address, in bytes: the room that callers of
    /// [`Operations::name`] have. At most that of a `struct sockaddr_storage`.
    const ADDRESS_LEN: usize;

    /// Whether [`Operations::send`] sends from the caller's memory where it is asked to: io_uring
    /// looks at that before it does.
    const ZEROCOPY: bool = false;

    /// The last file descriptor of the socket was closed.
    ///
    /// The socket is detached from its file afterwards, and the file's reference given up; the
    /// socket lives on as long as others hold references.
    fn release(sock: &Sock<Self>);

    /// `bind(2)`. `address` is a `sockaddr` of the family's as long as the caller gave it.
    fn bind(_sock: &Sock<Self>, _address: &[u8]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `connect(2)`.
    fn connect(_sock: &Sock<Self>, _address: &[u8], _nonblocking: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `accept(2)`: gives a socket that [`Sock::new_child`] made and that was not given before.
    fn accept(_sock: &Sock<Self>, _nonblocking: bool) -> Result<ARef<Sock<Self>>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `getsockname(2)`, and with `peer` `getpeername(2)`. `out` has room for
    /// [`Operations::ADDRESS_LEN`] bytes.
    fn name(_sock: &Sock<Self>, _peer: bool, _out: &mut AddressBuffer<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// What the socket is ready for. The caller has been put on the queue that
    /// [`Sock::wake_poll`] wakes before this is called. Must not sleep.
    fn poll(_sock: &Sock<Self>) -> PollEvents {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `listen(2)`. `backlog` is within `net.core.somaxconn`.
    fn listen(_sock: &Sock<Self>, _backlog: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `shutdown(2)`.
    fn shutdown(_sock: &Sock<Self>, _how: How) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `setsockopt(2)` for levels other than `SOL_SOCKET`.
    fn set_option(_sock: &Sock<Self>, _level: i32, _name: i32, _value: &OptionValue<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `setsockopt(2)` for the level `SOL_SOCKET`, before the socket layer sees it: whether the option
    /// was dealt with here.
    fn set_socket_option(_sock: &Sock<Self>, _name: i32, _value: &OptionValue<'_>) -> Result<bool> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `getsockopt(2)` for levels other than `SOL_SOCKET`.
    fn option(_sock: &Sock<Self>, _level: i32, _name: i32, _out: OptionOut<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `send(2)`, `sendmsg(2)`, `write(2)`: gives the number of bytes that were taken.
    fn send(_sock: &Sock<Self>, _message: &mut SendMessage<'_>, _len: usize) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `recv(2)`, `recvmsg(2)`, `read(2)`: gives the number of bytes that were received.
    fn receive(
        _sock: &Sock<Self>,
        _message: &mut ReceiveMessage<'_>,
        _len: usize,
        _flags: MsgFlags,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How many bytes are queued in a direction, for `ioctl(2)`.
    fn queued(_sock: &Sock<Self>, _direction: Queued) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `SO_RCVLOWAT` was set to `value`, above zero. To store it with
    /// [`Sock::set_receive_low_water`] is up to this function.
    ///
    /// The caller owns the socket: this must not take its lock.
    fn set_receive_low_water(_sock: &Sock<Self>, _value: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `SO_PEEK_OFF` was set to `value`; below zero it is off. To store it with
    /// [`Sock::set_peek_offset`] is up to this function.
    fn peek_offset_set(_sock: &Sock<Self>, _value: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `SO_RCVBUF` was set, to `bytes`. What it reads is twice of that; [`Sock::set_receive_buffer`]
    /// changes it.
    ///
    /// The caller owns the socket: this must not take its lock.
    fn receive_buffer_set(_sock: &Sock<Self>, _bytes: u32) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Which directions `shutdown(2)` ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// `SHUT_RD`
    Receive,
    /// `SHUT_WR`
    Send,
    /// `SHUT_RDWR`
    Both,
}

impl How {
    /// Whether the receiving direction ends.
    pub(crate) fn receive(self) -> bool {
        matches!(self, Self::Receive | Self::Both)
    }

    /// Whether the sending direction ends.
    pub(crate) fn send(self) -> bool {
        matches!(self, Self::Send | Self::Both)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What a socket has in common with those of all families: the fields of its `struct sock` that the
//! socket layer reads and writes as well.
//!
//! C header: [`include/net/sock.h`](srctree/include/net/sock.h)

use super::{
    poll::PollEvents,
    sock::{
        Protocol,
        Sock, //
    },
    timeout::Timeout,
};
use crate::bindings;
use core::ptr::addr_of_mut;
use kernel::{
    prelude::*,
    sync::atomic::{
        atomic_load,
        atomic_store,
        Relaxed, //
    },
};

/// The type of a socket: the second argument of `socket(2)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketKind(u16);

impl SocketKind {
    /// A stream of bytes.
    pub(crate) const STREAM: Self = Self(bindings::sock_type_SOCK_STREAM as u16);
    /// Single messages without a connection.
    pub(crate) const DGRAM: Self = Self(bindings::sock_type_SOCK_DGRAM as u16);
    /// A connection that keeps the boundaries of messages.
    pub(crate) const SEQPACKET: Self = Self(bindings::sock_type_SOCK_SEQPACKET as u16);

    /// Takes C's number.
    pub(super) fn from_raw(kind: u16) -> Self {
        Self(kind)
    }
}

/// `sk_state`: the state of a socket for generic code and for diagnostics.
///
/// The socket layer knows no others than those of TCP.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SkState {
    /// Both directions are open.
    Established = bindings::TCP_ESTABLISHED as u8,
    /// A connection was asked for.
    SynSent = bindings::TCP_SYN_SENT as u8,
    /// No connection.
    Close = bindings::TCP_CLOSE as u8,
    /// Accepts connections.
    Listen = bindings::TCP_LISTEN as u8,
    /// The connection is coming to its end.
    Closing = bindings::TCP_CLOSING as u8,
}

/// Which directions of a socket are shut down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shutdown {
    /// Nothing more is received.
    pub(crate) receive: bool,
    /// Nothing more is sent.
    pub(crate) send: bool,
}

impl<P: Protocol> Sock<P> {
    /// The number of the socket's family (`sk_family`).
    pub(crate) fn family(&self) -> u16 {
        // SAFETY: By the type invariants, `sk` is valid; `sk_family` is constant.
        unsafe { (*self.as_raw()).__sk_common.skc_family }
    }

    /// The type of the socket (`sk_type`).
    pub(crate) fn kind(&self) -> SocketKind {
        // SAFETY: By the type invariants, `sk` is valid; `sk_type` is constant.
        SocketKind::from_raw(unsafe { (*self.as_raw()).sk_type })
    }

    /// How many bytes make the socket readable (`SO_RCVLOWAT`), at least 1.
    pub(crate) fn receive_low_water(&self) -> usize {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        let value = unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_rcvlowat), Relaxed) };
        usize::try_from(value).unwrap_or(1).max(1)
    }

    /// Sets what [`Sock::receive_low_water`] reads. Zero means 1.
    pub(crate) fn set_receive_low_water(&self, value: i32) {
        let value = value.max(1);
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_store(addr_of_mut!((*self.as_raw()).sk_rcvlowat), value, Relaxed) };
    }

    /// Sets what `SO_RCVBUF` reads. The socket layer keeps twice of what a program asks for.
    pub(crate) fn set_receive_buffer(&self, bytes: u32) {
        let value = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_store(addr_of_mut!((*self.as_raw()).sk_rcvbuf), value, Relaxed) };
    }

    /// Where the next `MSG_PEEK` begins, in bytes from the first that was not read: `None` if each
    /// begins there (`SO_PEEK_OFF`).
    pub(crate) fn peek_offset(&self) -> Option<usize> {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        let value = unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_peek_off), Relaxed) };
        usize::try_from(value).ok()
    }

    /// Sets what [`Sock::peek_offset`] reads: `None` if `value` is below zero.
    pub(crate) fn set_peek_offset(&self, value: i32) {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_store(addr_of_mut!((*self.as_raw()).sk_peek_off), value, Relaxed) };
    }

    /// Sets where the next `MSG_PEEK` begins, if `SO_PEEK_OFF` is in use. The caller owns the socket.
    pub(crate) fn move_peek_offset(&self, offset: usize) {
        if self.peek_offset().is_some() {
            self.set_peek_offset(i32::try_from(offset).unwrap_or(i32::MAX));
        }
    }

    /// How long a receive may sleep (`SO_RCVTIMEO`).
    pub(crate) fn receive_timeout(&self, nonblocking: bool) -> Timeout {
        if nonblocking {
            return Timeout::ZERO;
        }
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        let value = unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_rcvtimeo), Relaxed) };
        Timeout::from_raw(value)
    }

    /// How long a send may sleep (`SO_SNDTIMEO`).
    pub(crate) fn send_timeout(&self, nonblocking: bool) -> Timeout {
        if nonblocking {
            return Timeout::ZERO;
        }
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        let value = unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_sndtimeo), Relaxed) };
        Timeout::from_raw(value)
    }

    /// How long the calling task is to wait in `close(2)` for what it sent (`SO_LINGER`): not at all
    /// unless it was asked for, and not when it exits. Process context.
    pub(crate) fn linger(&self) -> Timeout {
        // SAFETY: By the type invariants, `sk` is valid.
        Timeout::from_raw(unsafe { bindings::rvsock_sock_linger(self.as_raw()) })
    }

    /// Leaves an error for the next call or for `SO_ERROR` (`sk_err`). Any context.
    pub(crate) fn set_error(&self, error: Error) {
        let errno = error.to_errno().saturating_neg();
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_store(addr_of_mut!((*self.as_raw()).sk_err), errno, Relaxed) };
    }

    /// Takes the error that was left, if any: it is reported once (`sock_error()`). Any context.
    pub(crate) fn take_error(&self) -> Result {
        // SAFETY: By the type invariants, `sk` is valid.
        kernel::error::to_result(unsafe { bindings::rvsock_sock_error(self.as_raw()) })
    }

    /// Whether an error was left. Any context.
    pub(crate) fn has_error(&self) -> bool {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_err), Relaxed) != 0 }
    }

    /// Publishes to generic code which directions are shut down (`sk_shutdown`).
    pub(crate) fn set_shutdown(&self, shutdown: Shutdown) {
        let mut bits = 0;
        if shutdown.receive {
            bits |= bindings::RCV_SHUTDOWN as u8;
        }
        if shutdown.send {
            bits |= bindings::SEND_SHUTDOWN as u8;
        }
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic, and `u8` and `i8`
        // have one representation.
        unsafe {
            let field = addr_of_mut!((*self.as_raw()).sk_shutdown).cast::<i8>();
            atomic_store(field, bits as i8, Relaxed);
        }
    }

    /// Publishes the state to generic code and diagnostics (`sk_state`).
    pub(crate) fn publish_state(&self, state: SkState) {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic, and `u8` and `i8`
        // have one representation.
        unsafe {
            let field: *const u8 = &raw const (*self.as_raw()).__sk_common.skc_state;
            atomic_store(field.cast_mut().cast::<i8>(), state as i8, Relaxed);
        }
    }

    /// What [`Sock::publish_state`] published last, as C's number. Any context.
    pub(crate) fn published_state(&self) -> u8 {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic, and `u8` and `i8`
        // have one representation.
        unsafe {
            let field: *const u8 = &raw const (*self.as_raw()).__sk_common.skc_state;
            atomic_load(field.cast_mut().cast::<i8>(), Relaxed) as u8
        }
    }

    /// What [`Sock::set_shutdown`] published last, as C's bits. Any context.
    pub(crate) fn published_shutdown(&self) -> u8 {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic, and `u8` and `i8`
        // have one representation.
        unsafe {
            let field = addr_of_mut!((*self.as_raw()).sk_shutdown).cast::<i8>();
            atomic_load(field, Relaxed) as u8
        }
    }

    /// The type of the socket, as C's number (`sk_type`).
    pub(crate) fn type_number(&self) -> u8 {
        // SAFETY: By the type invariants, `sk` is valid; `sk_type` is constant.
        unsafe { (*self.as_raw()).sk_type as u8 }
    }

    /// The number of the inode of the socket's file; zero without a file. Any context.
    pub(crate) fn inode(&self) -> u64 {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_ino(self.as_raw()) }
    }

    /// A number that no other socket has, ever: its lower half first. Process context.
    pub(crate) fn cookie(&self) -> [u32; 2] {
        let mut cookie = [0; 2];
        // SAFETY: By the type invariants, `sk` is valid, and there is room for two words.
        unsafe { bindings::sock_diag_save_cookie(self.as_raw(), cookie.as_mut_ptr()) };
        cookie
    }

    /// Whether a program had the socket and has closed it. Any context.
    pub(crate) fn is_dead(&self) -> bool {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_is_dead(self.as_raw()) }
    }

    /// Tells those who poll the socket that `events` happened, and sends `SIGIO` to who asked for
    /// it (`sk_wq`). If anybody polls, `count` is called before: who is woken may look at once at
    /// what it counts.
    ///
    /// Any context. What the events announce must have been published before: pollers are looked
    /// for behind a full barrier.
    pub(crate) fn wake_poll(&self, events: PollEvents, count: impl FnOnce()) {
        // SAFETY: By the type invariants, `sk` is valid.
        if unsafe { bindings::rvsock_sock_is_polled(self.as_raw()) } {
            count();
            // SAFETY: As above.
            unsafe { bindings::rvsock_sock_wake_poll(self.as_raw(), events.into_raw()) };
        }
        // SAFETY: As above.
        unsafe { bindings::rvsock_sock_signal(self.as_raw(), events.into_raw()) };
    }
}

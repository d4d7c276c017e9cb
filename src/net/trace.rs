// SPDX-License-Identifier: GPL-2.0

//! Tracepoints.
//!
//! They are declared in C (`src/bindings/rvsock_trace.h`), since the kernel crate's macro works for what
//! is built with the kernel only. One that is switched off costs a call and a jump.
//!
//! C header: [`include/linux/tracepoint.h`](srctree/include/linux/tracepoint.h)

use super::sock::{
    Protocol,
    Sock, //
};
use crate::bindings;

/// A call that slept on a socket was woken.
pub(crate) struct Woke {
    /// The socket's own port.
    pub(crate) local_port: u32,
    /// The port of its peer.
    pub(crate) peer_port: u32,
    /// What it slept for: 0 to receive or to accept, 1 to send, 2 to connect.
    pub(crate) call: u32,
    /// What the caller has room for, or has to send, in bytes.
    pub(crate) len: usize,
    /// The least that the call wants, in bytes.
    pub(crate) target: usize,
    /// What it has by now, in bytes.
    pub(crate) done: usize,
    /// What is there, in bytes; for a listener, connections.
    pub(crate) available: usize,
    /// Why it was woken, in the order of `struct rvsock_wakeups`.
    pub(crate) reason: u32,
}

/// The event `rvsock:rvsock_wake`. Process context, in the task that was woken.
pub(crate) fn woke<P: Protocol>(sock: &Sock<P>, woke: &Woke) {
    let raw = bindings::rvsock_woke {
        local_port: woke.local_port,
        peer_port: woke.peer_port,
        call: woke.call,
        reason: woke.reason,
        len: woke.len,
        target: woke.target,
        done: woke.done,
        available: woke.available,
    };
    // SAFETY: By the type invariants, `sk` is valid, and so is `raw` for the call.
    unsafe { bindings::rvsock_trace_wake(sock.as_raw(), &raw) };
}

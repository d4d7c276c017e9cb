// SPDX-License-Identifier: GPL-2.0

//! Control messages of a receive: when bytes arrived, and how many are left.
//!
//! Documentation: [`Documentation/networking/timestamping.rst`]; C source:
//! [`net/socket.c`](srctree/net/socket.c)
//!
//! [`Documentation/networking/timestamping.rst`]: srctree/Documentation/networking/timestamping.rst

use super::{
    message::ReceiveMessage,
    skb::{
        SkBuff,
        SkBuffMut, //
    },
    sock::{
        Protocol,
        Sock, //
    },
};
use crate::bindings;

/// When bytes arrived, by the clock of `CLOCK_REALTIME`; or that nobody wanted to know.
#[derive(Clone, Copy)]
pub(crate) struct Arrival(bindings::ktime_t);

impl Arrival {
    /// Nobody wanted to know.
    pub(crate) const NOT_NOTED: Self = Self(0);
}

impl<P: Protocol> Sock<P> {
    /// Whether a receive is to tell when bytes arrived. Any context.
    pub(crate) fn wants_arrival(&self) -> bool {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_wants_arrival(self.as_raw()) }
    }

    /// Now, if the arrival of bytes is to be noted (`SO_TIMESTAMP` and its like). Any context.
    pub(crate) fn arrival(&self) -> Arrival {
        // SAFETY: By the type invariants, `sk` is valid.
        Arrival(unsafe { bindings::rvsock_sock_arrival(self.as_raw()) })
    }
}

impl SkBuff {
    /// When its last bytes arrived.
    pub(crate) fn arrival(&self) -> Arrival {
        // SAFETY: By the type invariants, `skb` is valid.
        Arrival(unsafe { bindings::rvsock_skb_arrival(self.as_raw().as_ptr()) })
    }

    /// Notes when its bytes arrived.
    pub(crate) fn set_arrival(&mut self, arrival: Arrival) {
        self.as_mut().set_arrival(arrival);
    }
}

impl SkBuffMut<'_> {
    /// Notes when its last bytes arrived.
    pub(crate) fn set_arrival(&mut self, arrival: Arrival) {
        // SAFETY: The buffer is valid, and nobody else has access to it.
        unsafe { bindings::rvsock_skb_set_arrival(self.as_raw().as_ptr(), arrival.0) };
    }
}

impl ReceiveMessage<'_> {
    /// Tells when the last of the bytes that were received had arrived, in as many forms as the
    /// owner of `sock` asked for. Process context, without the socket's lock.
    pub(crate) fn put_arrival<P: Protocol>(&mut self, sock: &Sock<P>, arrival: Arrival) {
        if sock.wants_arrival() {
            // SAFETY: By the type invariants, both are valid.
            unsafe { bindings::rvsock_msg_put_arrival(self.as_raw(), sock.as_raw(), arrival.0) };
        }
    }

    /// Tells how many bytes are left to be received: in a control message if `control` is set
    /// (`SO_INQ`), and to kernel code that asked for it. Process context, without the socket's lock.
    pub(crate) fn put_left(&mut self, bytes: usize, control: bool) {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        let message = self.as_raw();
        // SAFETY: By the type invariants, `message` is valid.
        unsafe {
            if control || bindings::rvsock_msg_wants_inq(message) {
                bindings::rvsock_msg_put_inq(message, bytes, control);
            }
        }
    }
}

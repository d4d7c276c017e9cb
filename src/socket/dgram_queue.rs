// SPDX-License-Identifier: GPL-2.0

//! Datagrams that wait to be received, and what keeps their memory bounded.
//!
//! A sender of datagrams never waits: what does not fit is dropped, and counted. What fits is
//! measured in memory, not in bytes of payload, so that a flood of small datagrams takes no more
//! than one of large ones.

use super::{
    published::Status,
    Vsock, //
};
use crate::net::{
    datagram,
    errno::ECONNREFUSED,
    sock::Sock, //
};
use crate::protocol::address::Address;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// A datagram, with the address of its sender as its receiver is to see it.
pub(super) type Datagram = datagram::Datagram<Address>;

/// Datagrams that were admitted by an [`Inbox`], in the order in which they came.
pub(super) type DatagramQueue = datagram::DatagramQueue<Address>;

/// What of a datagram socket's queue can be read without the lock of the socket.
pub(super) struct Inbox {
    /// Memory of the datagrams that were admitted and are not taken out yet, in bytes with all
    /// overhead.
    memory: Atomic<usize>,
}

impl Inbox {
    /// That of a new socket.
    pub(super) fn new() -> Self {
        Inbox {
            memory: Atomic::new(0),
        }
    }

    /// Whether a datagram may join the queue of `sock`, whose inbox this is; if so, its memory
    /// counts from now on. False if it has to be dropped for want of room, which is counted.
    ///
    /// The caller holds the spinlock of `sock`, so that nobody else adds at the same time.
    ///
    /// # Errors
    ///
    /// What the sender is told: `ECONNREFUSED` if the socket takes datagrams from another address
    /// only, `EPIPE` if it takes none any more.
    pub(super) fn admit(&self, sock: &Sock<Vsock>, datagram: &mut Datagram) -> Result<bool> {
        let shared = sock.shared();
        let snapshot = shared.published.snapshot();
        // What came before there was a peer stays in the queue.
        if snapshot.status == Status::Connected && shared.peer() != datagram.sender() {
            return Err(ECONNREFUSED);
        }
        if snapshot.receive_ended {
            return Err(EPIPE);
        }
        let memory = datagram.memory();
        let queued = self.memory.load(Relaxed);
        // One is always taken: the largest datagram can be received with the smallest buffer.
        if queued > 0 && queued.saturating_add(memory) > shared.options.datagram_memory() {
            sock.count_dropped_datagram();
            shared.context.count_dropped_datagram();
            return Ok(false);
        }
        self.memory.fetch_add(memory, Relaxed);
        datagram.arrived_at(sock);
        Ok(true)
    }

    /// A datagram was taken out. The caller has the lock of the socket.
    pub(super) fn taken(&self, datagram: &Datagram) {
        self.memory.fetch_sub(datagram.memory(), Relaxed);
    }
}

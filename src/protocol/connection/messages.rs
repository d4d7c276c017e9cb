// SPDX-License-Identifier: GPL-2.0

//! What is different where a connection keeps the boundaries of messages.
//!
//! Source: virtio specification, 5.10.6.7 (seqpacket sockets).

use super::super::credit::Counter;
use super::super::packet::{Header, MessageEnd};
use super::super::wake;
use super::{Connection, Permit, Room};

impl Connection {
    /// When a message of `len` bytes can be sent.
    pub(crate) fn room_for_message(&self, len: usize) -> Room {
        let largest = self.send.buf_alloc().min(self.receive.buf_alloc());
        if len > largest as usize {
            Room::Never
        } else if self.send.is_full_of_empty() || (len > 0 && len > self.sendable() as usize) {
            Room::Later
        } else {
            Room::Now
        }
    }

    /// The header of a packet with `len` bytes of a message, for all of which there is
    /// [`Room::Now`]; its last packet has the `end`. `None` when nothing may be sent now.
    pub(crate) fn message(&mut self, len: u32, end: Option<MessageEnd>) -> Option<Header> {
        self.permit(len, end).map(Permit::header)
    }

    /// How many ends of messages without payload were taken out of the receive queue, for a peer on
    /// this machine.
    pub(crate) fn empty_forwarded(&self) -> Counter {
        self.receive.empty_forwarded()
    }

    /// What the peer, which is on this machine, says by [`Connection::empty_forwarded`].
    pub(crate) fn peer_took_empty(&mut self, forwarded: Counter) {
        self.send.update_empty(forwarded);
    }

    /// A message of `len` bytes, with so many ends without payload, was taken out of the receive
    /// queue. See [`Connection::space_for_messages`], which is to be asked next.
    pub(crate) fn read_message(&mut self, len: u32, empty_ends: u32) {
        self.receive.forward(len);
        self.receive.forward_empty(empty_ends);
    }

    /// Messages were read, or parts of one arrived. `drained` tells that no whole message is queued.
    /// Tells whether an update of credit is due.
    #[must_use]
    pub(crate) fn space_for_messages(&self, drained: bool) -> bool {
        self.is_open_for_updates()
            && wake::announce_space_for_messages(
                &self.receive,
                self.window(),
                drained,
                self.peer_waits,
            )
    }
}

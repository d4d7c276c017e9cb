// SPDX-License-Identifier: GPL-2.0

//! The receive queue of a connection, by the type of its socket.
//!
//! A peer's credit counts bytes of payload, so memory has to be bounded by bytes of payload as
//! well, whatever the size of packets.

use super::{
    byte_queue::ByteQueue,
    message_queue::MessageQueue, //
};
use crate::protocol::packet::{
    Header,
    SocketType, //
};
use crate::transport::Incoming;
use kernel::prelude::*;

/// When small payload is gathered: copied to where more of it has room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathering {
    /// If there is something before it. What comes to an empty queue, as each word of a conversation
    /// does, stays in the buffer that it came in; so there is one such buffer at the most.
    UnlessEmpty,
    /// From the first on. Else there could be one such buffer each time that what was put aside is
    /// appended to what there is.
    Always,
}

/// What was received and not read yet.
pub(super) enum ReceiveQueue {
    /// Of a stream.
    Bytes(ByteQueue),
    /// Of a socket that keeps the boundaries of messages.
    Messages(MessageQueue),
}

impl ReceiveQueue {
    /// An empty queue for a socket of type `kind`.
    pub(super) fn new(kind: SocketType) -> Self {
        Self::gathering(kind, Gathering::UnlessEmpty)
    }

    /// An empty queue for what is put aside until it is appended to that of a socket.
    pub(super) fn aside(kind: SocketType) -> Self {
        Self::gathering(kind, Gathering::Always)
    }

    fn gathering(kind: SocketType, gathering: Gathering) -> Self {
        match kind {
            SocketType::Stream => ReceiveQueue::Bytes(ByteQueue::new(gathering)),
            SocketType::Seqpacket => ReceiveQueue::Messages(MessageQueue::new(gathering)),
        }
    }

    /// Bytes that are queued.
    pub(super) fn len(&self) -> usize {
        match self {
            ReceiveQueue::Bytes(queue) => queue.len(),
            ReceiveQueue::Messages(queue) => queue.len(),
        }
    }

    /// Whether nothing is queued, not even a message of no bytes.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.available() == 0
    }

    /// What readers wait for: bytes of a stream, or whole messages.
    pub(super) fn available(&self) -> usize {
        match self {
            ReceiveQueue::Bytes(queue) => queue.len(),
            ReceiveQueue::Messages(queue) => queue.whole(),
        }
    }

    /// Sees to it that payload without a buffer of its own is not lost by [`ReceiveQueue::push`]. Returns
    /// false if it would be, or is not to be gathered. BH.
    pub(super) fn make_room_for(&mut self, payload: &mut Incoming<'_>) -> bool {
        match self {
            ReceiveQueue::Bytes(queue) => queue.make_room_for(payload),
            ReceiveQueue::Messages(queue) => queue.make_room_for(payload),
        }
    }

    /// Adds the payload of a packet. BH.
    pub(super) fn push(&mut self, header: &Header, payload: &mut Incoming<'_>) {
        match self {
            ReceiveQueue::Bytes(queue) => queue.push(payload),
            ReceiveQueue::Messages(queue) => queue.push(payload, header.message_end()),
        }
    }

    /// Moves all of `other`, of the same type, to the end.
    pub(super) fn append(&mut self, other: &mut ReceiveQueue) {
        match (self, other) {
            (ReceiveQueue::Bytes(queue), ReceiveQueue::Bytes(other)) => queue.append(other),
            (ReceiveQueue::Messages(queue), ReceiveQueue::Messages(other)) => queue.append(other),
            _ => {}
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        match self {
            ReceiveQueue::Bytes(queue) => queue.clear(),
            ReceiveQueue::Messages(queue) => queue.clear(),
        }
    }

    /// Drops a message that will never be whole, once all before it were read.
    pub(super) fn drop_unfinished(&mut self) {
        if self.available() == 0 {
            self.clear();
        }
    }

    /// The bytes of a stream: `EINVAL` for another socket.
    pub(super) fn bytes(&mut self) -> Result<&mut ByteQueue> {
        match self {
            ReceiveQueue::Bytes(queue) => Ok(queue),
            ReceiveQueue::Messages(_) => Err(EINVAL),
        }
    }

    /// The messages of a socket that keeps their boundaries: `EINVAL` for another one.
    pub(super) fn messages(&mut self) -> Result<&mut MessageQueue> {
        match self {
            ReceiveQueue::Messages(queue) => Ok(queue),
            ReceiveQueue::Bytes(_) => Err(EINVAL),
        }
    }
}

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
        match kind {
            SocketType::Stream => ReceiveQueue::Bytes(ByteQueue::default()),
            SocketType::Seqpacket => ReceiveQueue::Messages(MessageQueue::default()),
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

    /// Adds the payload of a packet. BH.
    pub(super) fn push(&mut self, header: &Header, payload: &mut Incoming) {
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
            ReceiveQueue::Bytes(queue) => *queue = ByteQueue::default(),
            ReceiveQueue::Messages(queue) => *queue = MessageQueue::default(),
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

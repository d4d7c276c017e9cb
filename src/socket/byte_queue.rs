// SPDX-License-Identifier: GPL-2.0

//! The receive queue of a stream: bytes in the order in which they arrived.
//!
//! A peer's credit counts bytes of payload, so memory has to be bounded by bytes of payload as
//! well, whatever the size of packets. Small ones that come behind others are gathered in the room at
//! the tail.

use super::queue::Gathering;
use crate::net::{
    control::Arrival,
    skb::SkBuff,
    skb_queue::SkBuffQueue, //
};
use crate::transport::Incoming;
use kernel::iov::IovIterDest;

/// A queue of received bytes.
pub(super) struct ByteQueue {
    buffers: SkBuffQueue,
    gathering: Gathering,
    /// Bytes of the first buffer that were read already.
    consumed: usize,
    len: usize,
}

impl ByteQueue {
    /// Payload up to so many bytes is gathered.
    const SMALL: usize = Incoming::SHORT;

    /// An empty queue.
    pub(super) fn new(gathering: Gathering) -> Self {
        ByteQueue {
            buffers: SkBuffQueue::new(),
            gathering,
            consumed: 0,
            len: 0,
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.gathering);
    }

    /// Bytes that are queued.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether small payload stays in the buffer that it came in.
    fn keeps_next(&self) -> bool {
        self.gathering == Gathering::UnlessEmpty && self.buffers.is_empty()
    }

    /// Sees to it that payload without a buffer of its own is not lost by [`ByteQueue::push`]. Returns
    /// false if it would be, or is not to be gathered. BH.
    pub(super) fn make_room_for(&mut self, payload: &mut Incoming<'_>) -> bool {
        if payload.len() > Self::SMALL || self.keeps_next() {
            return false;
        }
        self.buffers
            .back_mut()
            .is_some_and(|tail| tail.tailroom() >= payload.len())
            || payload.reserve_tail()
    }

    /// Adds payload at the end. Nothing within the peer's credit may be lost, so where memory for
    /// a copy is short the buffer itself is queued. BH.
    pub(super) fn push(&mut self, payload: &mut Incoming<'_>) {
        let len = payload.len();
        let is_gathered = len <= Self::SMALL && !self.keeps_next() && self.gather(payload);
        if !is_gathered {
            let Some(buffer) = payload.take() else {
                return;
            };
            self.buffers.push_back(buffer);
        }
        self.len += len;
    }

    /// Copies small payload to the tail, or to a new one. Returns false without memory for that.
    fn gather(&mut self, payload: &mut Incoming<'_>) -> bool {
        let copied = self
            .buffers
            .back_mut()
            .is_some_and(|mut tail| payload.copy_to(&mut tail));
        if copied {
            return true;
        }
        let Some(mut tail) = payload.new_tail() else {
            return false;
        };
        if !payload.copy_to(&mut tail.as_mut()) {
            return false;
        }
        self.buffers.push_back(tail);
        true
    }

    /// Moves all of `other` to the end.
    pub(super) fn append(&mut self, other: &mut ByteQueue) {
        // What arrived while a task owned the socket may be a byte, each time.
        let merged = match (self.buffers.back_mut(), other.buffers.front()) {
            (Some(mut tail), Some(first)) => tail.append_all(first),
            _ => false,
        };
        if merged {
            drop(other.buffers.pop_front());
        }
        // Only a queue that was read from has a first buffer that is partly consumed, and what is
        // gathered in a backlog was not.
        self.len += other.len;
        other.len = 0;
        self.buffers.append(&mut other.buffers);
    }

    /// Copies up to `at_most` bytes to a reader and takes them out. Less is copied when less is
    /// there, or when the reader's memory faults: then the rest stays.
    pub(super) fn read(&mut self, out: &mut IovIterDest<'_>, at_most: usize) -> usize {
        let mut copied = 0;
        while copied < at_most {
            let Some(first) = self.buffers.front() else {
                break;
            };
            let there = first.len() - self.consumed;
            let wanted = there.min(at_most - copied);
            let done = first.copy_to(self.consumed, out, wanted);
            copied += done;
            self.advance(done);
            if done < wanted {
                break;
            }
        }
        copied
    }

    /// Copies as [`ByteQueue::read`] does, from `offset` bytes on, and takes nothing out.
    pub(super) fn peek(&self, offset: usize, out: &mut IovIterDest<'_>, at_most: usize) -> usize {
        let mut skip = self.consumed + offset;
        let mut copied = 0;
        for buffer in self.buffers.iter() {
            if copied == at_most {
                break;
            }
            let there = buffer.len().saturating_sub(skip);
            let wanted = there.min(at_most - copied);
            let done = buffer.copy_to(skip, out, wanted);
            skip = skip.saturating_sub(buffer.len());
            copied += done;
            if done < wanted {
                break;
            }
        }
        copied
    }

    /// When the byte arrived that stands `offset` bytes behind the first, or one that was gathered
    /// behind it.
    pub(super) fn arrival_of(&self, offset: usize) -> Arrival {
        let mut end = 0;
        self.buffers
            .iter()
            .find(|buffer| {
                end += buffer.len();
                self.consumed + offset < end
            })
            .map_or(Arrival::NOT_NOTED, SkBuff::arrival)
    }

    /// Takes up to `at_most` bytes out without looking at them.
    pub(super) fn discard(&mut self, at_most: usize) -> usize {
        let mut left = at_most.min(self.len);
        let discarded = left;
        while left > 0 {
            let Some(first) = self.buffers.front() else {
                break;
            };
            let part = left.min(first.len() - self.consumed);
            left -= part;
            self.advance(part);
        }
        discarded
    }

    /// Marks bytes of the first buffer as read; a buffer that was read whole goes.
    fn advance(&mut self, bytes: usize) {
        self.consumed += bytes;
        self.len -= bytes;
        if self
            .buffers
            .front()
            .is_some_and(|first| first.len() == self.consumed)
        {
            self.consumed = 0;
            drop(self.buffers.pop_front());
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The receive queue of a message socket: messages in the order in which they arrived, the last of
//! which may not be whole yet.
//!
//! A large packet keeps its buffer, whose tag tells whether its message ends there. Small ones are
//! gathered, as [`Frame`]s in buffers whose tag tells that. So a message may be spread over any
//! number of frames and buffers.

use super::queue::Gathering;
use crate::net::{
    control::Arrival,
    skb::{
        SkBuff,
        SkBuffMut, //
    },
    skb_queue::SkBuffQueue, //
};
use crate::protocol::{
    message::Frame,
    packet::MessageEnd, //
};
use crate::transport::Incoming;
use kernel::iov::IovIterDest;

/// What the payload of a buffer is, as its tag says it.
#[derive(Clone, Copy)]
enum Content {
    /// Frames, one behind the other.
    Frames,
    /// That of one packet.
    Packet(Option<MessageEnd>),
}

impl Content {
    const PACKET: u8 = 0;
    const END: u8 = 1;
    const RECORD: u8 = 2;
    const FRAMES: u8 = 3;

    fn of(buffer: &SkBuff) -> Self {
        match buffer.tag() {
            Self::FRAMES => Content::Frames,
            Self::RECORD => Content::Packet(Some(MessageEnd { record: true })),
            Self::END => Content::Packet(Some(MessageEnd { record: false })),
            _ => Content::Packet(None),
        }
    }

    fn mark(self, buffer: &mut SkBuff) {
        buffer.as_mut().set_tag(match self {
            Content::Frames => Self::FRAMES,
            Content::Packet(Some(MessageEnd { record: true })) => Self::RECORD,
            Content::Packet(Some(MessageEnd { record: false })) => Self::END,
            Content::Packet(None) => Self::PACKET,
        });
    }
}

/// A piece of a message: all of a packet, or a frame.
struct Piece {
    /// Where in its buffer the payload begins, in bytes.
    start: usize,
    /// Bytes of payload.
    len: usize,
    /// The end of the message, if it is here.
    end: Option<MessageEnd>,
}

impl Piece {
    /// The piece that begins `offset` bytes into the buffer.
    fn at(buffer: &SkBuff, offset: usize) -> Piece {
        match Content::of(buffer) {
            Content::Packet(end) => Piece {
                start: 0,
                len: buffer.len(),
                end,
            },
            Content::Frames => {
                let mut bytes = Frame::NOTHING.encode();
                buffer.read(offset, &mut bytes);
                let frame = Frame::decode(bytes);
                Piece {
                    start: offset + Frame::SIZE,
                    len: frame.len(),
                    end: frame.end,
                }
            }
        }
    }

    /// Where the next piece of that buffer begins.
    fn next(&self) -> usize {
        self.start + self.len
    }
}

/// What is known of a message once it was looked at or taken out.
pub(super) struct Message {
    /// Its length, in bytes.
    pub(super) len: usize,
    /// How many of these were copied to the reader.
    pub(super) copied: usize,
    /// The reader's memory took less than it was to have room for.
    pub(super) fault: bool,
    /// It ends a record (`MSG_EOR`).
    pub(super) record: bool,
    /// How many of its ends, none or one, came without payload.
    pub(super) empty_ends: u32,
    /// When its end arrived, or one that was gathered behind it.
    pub(super) arrival: Arrival,
}

/// A queue of received messages.
pub(super) struct MessageQueue {
    buffers: SkBuffQueue,
    gathering: Gathering,
    /// Where in the first buffer the first message begins, in bytes.
    consumed: usize,
    /// Bytes of payload that are queued.
    len: usize,
    /// Messages that are queued whole.
    whole: usize,
    /// Where in the last buffer its last frame begins, in bytes, if the next packet of the message can
    /// be added to that.
    open: Option<u32>,
}

// Whatever is gathered has room in a new buffer.
const _: () = assert!(Incoming::ROOM >= Frame::SIZE + MessageQueue::SMALL);

impl MessageQueue {
    /// Payload up to so many bytes is gathered.
    const SMALL: usize = Incoming::SHORT;

    /// An empty queue.
    pub(super) fn new(gathering: Gathering) -> Self {
        MessageQueue {
            buffers: SkBuffQueue::new(),
            gathering,
            consumed: 0,
            len: 0,
            whole: 0,
            open: None,
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.gathering);
    }

    /// Whether a message in one packet stays in the buffer that it came in.
    fn keeps_next(&self) -> bool {
        self.gathering == Gathering::UnlessEmpty && self.buffers.is_empty()
    }

    /// Sees to it that payload without a buffer of its own is not lost by [`MessageQueue::push`]. Returns
    /// false if it would be, or is not to be gathered. BH.
    pub(super) fn make_room_for(&mut self, payload: &mut Incoming<'_>) -> bool {
        if payload.len() > Self::SMALL || self.keeps_next() {
            return false;
        }
        let len = Frame::SIZE + payload.len();
        self.buffers.back_mut().is_some_and(|tail| {
            matches!(Content::of(&tail), Content::Frames) && tail.tailroom() >= len
        }) || payload.reserve_tail()
    }

    /// Bytes that are queued, those of a message that is not whole yet included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Messages that can be read.
    pub(super) fn whole(&self) -> usize {
        self.whole
    }

    /// Adds the payload of a packet, which may be the `end` of its message. Nothing within the peer's
    /// credit may be lost, so where memory for a copy is short the buffer itself is queued. BH.
    pub(super) fn push(&mut self, payload: &mut Incoming<'_>, end: Option<MessageEnd>) {
        let len = payload.len();
        if len == 0 && end.is_none() {
            return;
        }
        let keeps = self.keeps_next() && end.is_some();
        let small = len > 0 && len <= Self::SMALL && !keeps;
        if (len > 0 && !small) || !self.gather(payload, end) {
            let Some(mut buffer) = payload.take() else {
                return;
            };
            Content::Packet(end).mark(&mut buffer);
            self.buffers.push_back(buffer);
            self.open = None;
        }
        self.len += len;
        if end.is_some() {
            self.whole += 1;
        }
    }

    /// Copies small payload behind what was gathered last. Returns false without room for it.
    fn gather(&mut self, payload: &mut Incoming<'_>, end: Option<MessageEnd>) -> bool {
        if let Some(mut tail) = self.buffers.back_mut() {
            if matches!(Content::of(&tail), Content::Frames) {
                // What came without payload is counted, so it is a frame of its own.
                let open = self.open.filter(|_| payload.len() > 0);
                if let Some(offset) = Self::add(&mut tail, open, payload, end) {
                    self.open = end.is_none().then_some(offset);
                    return true;
                }
            }
        }
        let Some(mut fresh) = payload.new_tail() else {
            return false;
        };
        Content::Frames.mark(&mut fresh);
        let Some(offset) = Self::add(&mut fresh.as_mut(), None, payload, end) else {
            return false;
        };
        self.open = end.is_none().then_some(offset);
        self.buffers.push_back(fresh);
        true
    }

    /// Adds payload to the frame at the end of `tail` that begins at `open`, or as a new one. Returns
    /// where that begins; `None` without room.
    fn add(
        tail: &mut SkBuffMut<'_>,
        open: Option<u32>,
        payload: &Incoming<'_>,
        end: Option<MessageEnd>,
    ) -> Option<u32> {
        let (offset, head, len) = match open {
            Some(offset) => (offset, 0, tail.len() - offset as usize - Frame::SIZE),
            None => (u32::try_from(tail.len()).ok()?, Frame::SIZE, 0),
        };
        let frame = Frame::new(len + payload.len(), end)?;
        if tail.tailroom() < head + payload.len() {
            return None;
        }
        if open.is_none() {
            tail.append(&Frame::NOTHING.encode());
        }
        if !payload.copy_to(tail) {
            return None;
        }
        tail.overwrite(offset as usize, &frame.encode());
        Some(offset)
    }

    /// Moves all of `other`, from which nothing was taken, to the end.
    pub(super) fn append(&mut self, other: &mut MessageQueue) {
        self.len += core::mem::take(&mut other.len);
        self.whole += core::mem::take(&mut other.whole);
        if other.buffers.is_empty() {
            return;
        }
        let mut open = other.open.take();
        // What arrived while a task owned the socket may be a byte, each time.
        if let (Some(mut tail), Some(first)) = (self.buffers.back_mut(), other.buffers.front()) {
            let both = [Content::of(&tail), Content::of(first)];
            let offset = tail.len();
            if matches!(both, [Content::Frames, Content::Frames]) && tail.append_all(first) {
                drop(other.buffers.pop_front());
                if other.buffers.is_empty() {
                    open = open.and_then(|first| first.checked_add(offset.try_into().ok()?));
                }
            }
        }
        self.open = open;
        self.buffers.append(&mut other.buffers);
    }

    /// Copies the first message to a reader that has room for `room` bytes: what does not fit, and
    /// what its memory does not take, is left out. `None` if no message is whole.
    pub(super) fn peek(&self, out: &mut IovIterDest<'_>, room: usize) -> Option<Message> {
        if self.whole == 0 {
            return None;
        }
        let mut message = Message {
            len: 0,
            copied: 0,
            fault: false,
            record: false,
            empty_ends: 0,
            arrival: Arrival::NOT_NOTED,
        };
        let mut offset = self.consumed;
        for buffer in self.buffers.iter() {
            loop {
                let piece = Piece::at(buffer, offset);
                let wanted = piece.len.min(room - message.copied);
                if wanted > 0 && !message.fault {
                    let done = buffer.copy_to(piece.start, out, wanted);
                    message.copied += done;
                    message.fault = done < wanted;
                }
                message.len += piece.len;
                if let Some(MessageEnd { record }) = piece.end {
                    message.record = record;
                    message.empty_ends = u32::from(piece.len == 0);
                    message.arrival = buffer.arrival();
                    return Some(message);
                }
                offset = piece.next();
                if offset >= buffer.len() {
                    break;
                }
            }
            offset = 0;
        }
        Some(message)
    }

    /// As [`MessageQueue::peek`], and takes the message out, whatever was copied of it.
    pub(super) fn take(&mut self, out: &mut IovIterDest<'_>, room: usize) -> Option<Message> {
        let message = self.peek(out, room)?;
        self.len -= message.len;
        self.whole -= 1;
        while let Some(first) = self.buffers.front() {
            let piece = Piece::at(first, self.consumed);
            self.consumed = piece.next();
            if self.consumed >= first.len() {
                self.consumed = 0;
                drop(self.buffers.pop_front());
            }
            if piece.end.is_some() {
                break;
            }
        }
        Some(message)
    }
}

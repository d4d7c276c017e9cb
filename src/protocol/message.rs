// SPDX-License-Identifier: GPL-2.0

//! How messages are kept in a receive queue.
//!
//! A peer may send messages of a byte each, and the credit counts only that byte. So small messages
//! are gathered in buffers, one behind the other, each behind two bytes that tell its length and
//! whether it ends there: a [`Frame`].

use super::packet::MessageEnd;

/// A message in a buffer of several, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes of payload; at most [`Frame::MAX_LEN`].
    len: u16,
    /// The end of the message, if it is in this frame.
    pub(crate) end: Option<MessageEnd>,
}

/// What stands before the payload of a frame.
pub(crate) type FrameBytes = [u8; Frame::SIZE];

impl Frame {
    /// Bytes that stand before the payload.
    pub(crate) const SIZE: usize = 2;
    /// The longest payload of a frame, in bytes.
    pub(crate) const MAX_LEN: usize = 0x3fff;

    const END: u16 = 1 << 14;
    const RECORD: u16 = 1 << 15;

    /// No payload and no end of a message: nothing.
    pub(crate) const NOTHING: Frame = Frame { len: 0, end: None };

    /// A frame with `len` bytes of payload; `None` if there are too many for one.
    pub(crate) fn new(len: usize, end: Option<MessageEnd>) -> Option<Frame> {
        let len = u16::try_from(len).ok()?;
        (usize::from(len) <= Self::MAX_LEN).then_some(Frame { len, end })
    }

    /// Bytes of payload.
    pub(crate) fn len(self) -> usize {
        usize::from(self.len)
    }

    /// What is to stand before the payload.
    pub(crate) fn encode(self) -> FrameBytes {
        let end = match self.end {
            None => 0,
            Some(MessageEnd { record: false }) => Self::END,
            Some(MessageEnd { record: true }) => Self::END | Self::RECORD,
        };
        (self.len | end).to_ne_bytes()
    }

    /// Reads what [`Frame::encode`] gave.
    pub(crate) fn decode(bytes: FrameBytes) -> Frame {
        let word = u16::from_ne_bytes(bytes);
        Frame {
            len: word & !(Self::END | Self::RECORD),
            end: (word & Self::END != 0).then_some(MessageEnd {
                record: word & Self::RECORD != 0,
            }),
        }
    }
}

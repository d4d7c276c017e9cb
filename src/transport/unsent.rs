// SPDX-License-Identifier: GPL-2.0

//! Headers that wait for room or for memory.
//!
//! Mostly resets that answer packets for which there is no connection: no credit bounds how many
//! of them are owed, so a small ring that forgets its oldest does.

use crate::protocol::packet::HeaderBytes;

/// A ring of headers to be sent.
pub(super) struct Unsent {
    ring: [Option<HeaderBytes>; Self::CAPACITY],
    first: usize,
    len: usize,
}

impl Unsent {
    const CAPACITY: usize = 64;

    pub(super) const fn new() -> Self {
        Unsent {
            ring: [None; Self::CAPACITY],
            first: 0,
            len: 0,
        }
    }

    /// Adds one; the oldest is forgotten when there is no room.
    pub(super) fn push(&mut self, header: HeaderBytes) {
        if self.len == Self::CAPACITY {
            self.pop();
        }
        let last = (self.first + self.len) % Self::CAPACITY;
        if let Some(slot) = self.ring.get_mut(last) {
            *slot = Some(header);
            self.len += 1;
        }
    }

    /// The oldest.
    pub(super) fn front(&self) -> Option<&HeaderBytes> {
        if self.len == 0 {
            return None;
        }
        self.ring.get(self.first)?.as_ref()
    }

    /// Removes the oldest.
    pub(super) fn pop(&mut self) {
        if self.len > 0 {
            self.first = (self.first + 1) % Self::CAPACITY;
            self.len -= 1;
        }
    }
}

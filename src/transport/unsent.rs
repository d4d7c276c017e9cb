// SPDX-License-Identifier: GPL-2.0

//! Resets that wait for room.
//!
//! They answer packets for which there is no connection, or end one that is no more: no credit and
//! no socket bounds how many of them are owed, so a small ring that forgets its oldest does.

use crate::protocol::{
    address::Flow,
    packet::HeaderBytes, //
};
use kernel::prelude::*;

/// A reset: its ends as its sender sees them, and its bytes.
#[derive(Clone, Copy)]
pub(super) struct Reset {
    pub(super) flow: Flow,
    pub(super) header: HeaderBytes,
}

/// A ring of resets to be sent, of which no two are for the same connection.
pub(super) struct Unsent {
    /// As many places as [`Self::CAPACITY`] says. Not in place: it is too large for a stack.
    ring: KVec<Option<Reset>>,
    first: usize,
    len: usize,
}

impl Unsent {
    const CAPACITY: usize = 64;

    /// An empty ring. Process context.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] without memory for it.
    pub(super) fn new() -> Result<Self> {
        Ok(Unsent {
            ring: KVec::from_elem(None, Self::CAPACITY, GFP_KERNEL)?,
            first: 0,
            len: 0,
        })
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one with these ends waits.
    pub(super) fn has(&self, flow: Flow) -> bool {
        let is_it = |place: &Option<Reset>| place.is_some_and(|reset| reset.flow == flow);
        !self.is_empty() && self.ring.iter().any(is_it)
    }

    /// Adds one, unless one waits for the same connection. Returns whether the oldest was forgotten
    /// to make room for it.
    pub(super) fn push(&mut self, reset: Reset) -> bool {
        if self.has(reset.flow) {
            return false;
        }
        let forgotten = self.len == Self::CAPACITY && self.pop().is_some();
        let last = (self.first + self.len) % Self::CAPACITY;
        if let Some(slot) = self.ring.get_mut(last) {
            *slot = Some(reset);
            self.len += 1;
        }
        forgotten
    }

    /// Puts the oldest back, which was just taken out.
    pub(super) fn put_back(&mut self, reset: Reset) {
        let first = (self.first + Self::CAPACITY - 1) % Self::CAPACITY;
        if let Some(slot) = self.ring.get_mut(first).filter(|slot| slot.is_none()) {
            *slot = Some(reset);
            self.first = first;
            self.len += 1;
        }
    }

    /// Takes out the oldest.
    pub(super) fn pop(&mut self) -> Option<Reset> {
        let reset = self.ring.get_mut(self.first)?.take()?;
        self.first = (self.first + 1) % Self::CAPACITY;
        self.len -= 1;
        Some(reset)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        while self.pop().is_some() {}
    }
}

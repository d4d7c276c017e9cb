// SPDX-License-Identifier: GPL-2.0

//! How large the payload of a socket buffer may be, and the pages for it.

use super::pages::Pages;
use crate::bindings;
use kernel::{
    alloc::Flags,
    page::PAGE_SIZE,
    prelude::*, //
};

/// The largest order of pages that [`fragment_pages`] asks for: beyond it, the page allocator
/// regards a request as costly.
const FRAGMENT_MAX_ORDER: u32 = 3;

/// How large the payload of one buffer may be.
#[derive(Clone, Copy)]
pub(crate) struct PayloadLimits {
    /// In bytes.
    pub(crate) len: usize,
    /// In pieces of memory: 1 to [`PayloadLimits::MAX_PIECES`].
    pieces: u32,
}

impl PayloadLimits {
    /// The most pieces of memory that a buffer can have.
    pub(crate) const MAX_PIECES: usize = bindings::MAX_SKB_FRAGS as usize;

    /// Up to so many `pieces`, of which there is at least one, and up to as many bytes as are to be
    /// had in them, but not more than `len`.
    pub(crate) const fn new(pieces: usize, len: usize) -> Self {
        let pieces = match pieces {
            0 => 1,
            pieces if pieces > Self::MAX_PIECES => Self::MAX_PIECES,
            pieces => pieces,
        };
        let in_pieces = pieces * (PAGE_SIZE << FRAGMENT_MAX_ORDER);
        PayloadLimits {
            len: if len < in_pieces { len } else { in_pieces },
            // CAST: There are few.
            pieces: pieces as u32,
        }
    }

    /// The most pieces of memory: at least 1.
    pub(super) fn pieces(self) -> u32 {
        self.pieces
    }

    /// The same limits, but for `len` bytes at the most.
    pub(crate) fn at_most(self, len: usize) -> Self {
        PayloadLimits {
            len: self.len.min(len),
            ..self
        }
    }
}

/// Pages for up to `len` bytes, in one piece: fewer where memory is short, or where that is above what
/// is asked for at once.
pub(super) fn fragment_pages(len: usize, flags: Flags) -> Result<Pages> {
    let mut order = len
        .div_ceil(PAGE_SIZE)
        .checked_next_power_of_two()
        .map_or(FRAGMENT_MAX_ORDER, usize::trailing_zeros)
        .min(FRAGMENT_MAX_ORDER);
    loop {
        // Do not reclaim for what a smaller piece can do as well.
        let pages = if order > 0 {
            Pages::without_direct_reclaim(order, flags)
        } else {
            Pages::new(order, flags)
        };
        match pages {
            Ok(pages) => return Ok(pages),
            Err(_) if order > 0 => order -= 1,
            Err(error) => return Err(error.into()),
        }
    }
}

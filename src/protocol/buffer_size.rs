// SPDX-License-Identifier: GPL-2.0

//! How large the buffers are to be that a device is given for what it receives.
//!
//! A device splits what does not fit into a buffer, and each packet costs the same; but a buffer
//! that waits to be used is memory that nobody else has. So they grow while what arrives fills them,
//! and shrink when it would fit into far smaller ones.

/// The size of the smallest buffers, in bytes, header included.
pub(crate) const SMALLEST: usize = 4096;

/// What arrived so far, and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct BufferSize {
    /// Buffers have [`SMALLEST`] bytes, doubled so many times.
    order: u32,
    /// Packets in a row that filled theirs.
    full: u32,
    /// Packets in a row for which a quarter of it would do.
    small: u32,
}

impl BufferSize {
    /// The largest order: buffers of 64 KiB.
    pub(crate) const LARGEST: u32 = 4;

    /// Buffers grow after so many packets that filled theirs, with none between them that was small.
    const GROW_AFTER: u32 = 4;
    /// And shrink after so many small ones, with none between them that filled its buffer.
    const SHRINK_AFTER: u32 = 64;

    /// The size of the buffers of an order, in bytes.
    pub(crate) fn bytes(order: u32) -> usize {
        SMALLEST.wrapping_shl(order.min(Self::LARGEST))
    }

    /// How often the size of the smallest buffers is to be doubled.
    pub(crate) fn order(&self) -> u32 {
        self.order
    }

    /// Bytes that all buffers together may have.
    pub(crate) const LIMIT: usize = 1 << 20;

    /// Bytes below which they are too few, in a queue with room for so many: a quarter of what they
    /// are at first.
    pub(crate) fn low(capacity: usize) -> usize {
        capacity.saturating_mul(SMALLEST).min(Self::LIMIT) / 4
    }

    /// A packet arrived: the device wrote so many bytes, header included, to a buffer that has room
    /// for `size`.
    pub(crate) fn arrived(&mut self, written: usize, size: usize) {
        if written >= size {
            self.small = 0;
            // A smaller one is a buffer of earlier days.
            if size >= Self::bytes(self.order) {
                self.full = self.full.saturating_add(1);
            }
            if self.full >= Self::GROW_AFTER && self.order < Self::LARGEST {
                self.full = 0;
                self.order = self.order.saturating_add(1);
            }
        } else if written <= Self::bytes(self.order) / 4 {
            self.small = self.small.saturating_add(1);
            if self.small >= Self::SHRINK_AFTER {
                self.small = 0;
                self.full = 0;
                self.order = self.order.saturating_sub(1);
            }
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! How many descriptors a packet takes, and how large it may be for that.

use crate::net::skb::PayloadLimits;
use crate::virtio::{
    Buffer,
    Queue, //
};

/// How many descriptors a packet may take: one for the header, the others for the payload.
///
/// The specification lets a driver take any number, but several devices refuse more than two, and
/// cannot say so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Descriptors(usize);

impl Descriptors {
    /// What a packet with payload needs.
    pub(super) const LEAST: Self = Descriptors(2);
    /// What can be of use.
    pub(crate) const MOST: Self = Descriptors(1 + PayloadLimits::MAX_PIECES);

    /// So many of them, from 2 to 18.
    pub(crate) fn new(count: u8) -> Option<Self> {
        let count = Descriptors(count.into());
        (Self::LEAST..=Self::MOST).contains(&count).then_some(count)
    }

    /// As many as that where `transmit` takes them, else fewer. `None` if it does not take a packet.
    pub(super) fn within<B: Buffer, T: Send>(self, transmit: &Queue<B, T>) -> Option<Self> {
        let count = self.min(Descriptors(transmit.most_segments()));
        (count >= Self::LEAST).then_some(count)
    }

    /// The number.
    pub(super) fn count(self) -> usize {
        self.0
    }

    /// How large a packet may be.
    pub(super) fn payload_limits(self) -> PayloadLimits {
        PayloadLimits::new(self.0 - 1, LARGEST_PAYLOAD)
    }
}

/// The largest payload of a packet, in bytes: what the kernel's own drivers and hosts take.
const LARGEST_PAYLOAD: usize = 64 * 1024;

// SPDX-License-Identifier: GPL-2.0

//! Feature bits: which types of sockets a device has.
//!
//! Source: virtio specification, 5.10.3 (feature bits).

use super::packet::SocketType;

/// The device has stream sockets.
const STREAM: u32 = 0;
/// The device has message sockets.
const SEQPACKET: u32 = 1;
/// The device has stream sockets only if it offers [`STREAM`]: older ones say nothing of them and
/// have them.
const NO_IMPLIED_STREAM: u32 = 2;

/// The feature bits that a driver accepts when they are offered.
pub(crate) const ACCEPTED: &[u32] = &[STREAM, SEQPACKET, NO_IMPLIED_STREAM];

/// The types of sockets that device and driver have agreed on: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketTypes {
    stream: bool,
    seqpacket: bool,
}

impl SocketTypes {
    /// What follows from the features that were negotiated: `has` tells whether a bit was. `None` if
    /// that is no type at all.
    pub(crate) fn negotiated(has: impl Fn(u32) -> bool) -> Option<SocketTypes> {
        let types = SocketTypes {
            stream: has(STREAM) || !has(NO_IMPLIED_STREAM),
            seqpacket: has(SEQPACKET),
        };
        (types.stream || types.seqpacket).then_some(types)
    }

    /// Whether there are connections of sockets of type `kind`.
    pub(crate) fn has(self, kind: SocketType) -> bool {
        match kind {
            SocketType::Stream => self.stream,
            SocketType::Seqpacket => self.seqpacket,
        }
    }
}

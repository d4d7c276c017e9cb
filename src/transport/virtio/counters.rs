// SPDX-License-Identifier: GPL-2.0

//! What a device has done, in numbers.

use crate::protocol::{
    packet::Operation,
    reason::DropReason, //
};
use kernel::{
    fmt,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Something that is counted beside packets and the reasons for dropping them.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(super) enum Count {
    /// Bytes of payload that the device was given.
    SentBytes,
    /// Bytes of payload that it brought.
    ReceivedBytes,
    /// Resets that answer packets for which there is no connection.
    Refused,
    /// Resets that were forgotten, since too many waited for room.
    ForgottenReset,
    /// Packets from a CID that is not the guest's any more, which were dropped.
    StaleSource,
    /// How often a connection began to wait for room.
    Waited,
    /// How often a connection sent twice in a row while another one waited.
    ServedTwice,
    /// Events by which the device told that it lost its connections.
    TransportReset,
    /// Those of them with a reserved CID in the configuration space.
    ReservedCid,
    /// Events without a meaning.
    UnknownEvent,
    /// What was written to the event queue and is no event.
    MalformedEvent,
}

impl Count {
    /// A name for each, in the order of the variants.
    const NAMES: [&'static str; 11] = [
        "sent_bytes",
        "received_bytes",
        "refused",
        "forgotten_reset",
        "stale_source",
        "waited",
        "served_twice",
        "event_transport_reset",
        "event_reserved_cid",
        "event_unknown",
        "event_malformed",
    ];
}

/// The counters of a device.
pub(super) struct Counters {
    sent: [Atomic<u64>; Operation::NAMES.len()],
    received: [Atomic<u64>; Operation::NAMES.len()],
    dropped: [Atomic<u64>; DropReason::COUNT],
    other: [Atomic<u64>; Count::NAMES.len()],
}

fn add(counters: &[Atomic<u64>], index: usize, count: u64) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(count, Relaxed);
    }
}

impl Counters {
    pub(super) fn new() -> Self {
        Counters {
            sent: [const { Atomic::new(0) }; Operation::NAMES.len()],
            received: [const { Atomic::new(0) }; Operation::NAMES.len()],
            dropped: [const { Atomic::new(0) }; DropReason::COUNT],
            other: [const { Atomic::new(0) }; Count::NAMES.len()],
        }
    }

    /// Counts a packet that the device was given, with so many bytes of payload.
    pub(super) fn sent(&self, operation: Operation, bytes: usize) {
        add(&self.sent, operation.index(), 1);
        add(&self.other, Count::SentBytes as usize, bytes as u64);
    }

    /// Counts a valid packet for this guest that the device brought.
    pub(super) fn received(&self, operation: Operation, bytes: u32) {
        add(&self.received, operation.index(), 1);
        add(&self.other, Count::ReceivedBytes as usize, bytes.into());
    }

    /// Counts a packet that was dropped.
    pub(super) fn dropped(&self, reason: DropReason) {
        add(&self.dropped, reason as usize, 1);
    }

    /// Counts something else.
    pub(super) fn count(&self, what: Count) {
        add(&self.other, what as usize, 1);
    }

    /// Writes all counters down, one on a line: its name and its value.
    pub(super) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, counter) in Operation::NAMES.iter().zip(&self.sent) {
            writeln!(out, "sent_{name} {}", counter.load(Relaxed))?;
        }
        for (name, counter) in Operation::NAMES.iter().zip(&self.received) {
            writeln!(out, "received_{name} {}", counter.load(Relaxed))?;
        }
        for (name, counter) in DropReason::NAMES.iter().zip(&self.dropped) {
            writeln!(out, "dropped_{name} {}", counter.load(Relaxed))?;
        }
        for (name, counter) in Count::NAMES.iter().zip(&self.other) {
            writeln!(out, "{name} {}", counter.load(Relaxed))?;
        }
        Ok(())
    }
}

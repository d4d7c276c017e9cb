// SPDX-License-Identifier: GPL-2.0

//! Why a received packet was dropped.

/// A reason for dropping a packet, each with a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum DropReason {
    /// The device wrote less than a header.
    ShortHeader,
    /// `len` is more than the device wrote.
    ShortPayload,
    /// The device says that it wrote more than the buffer holds.
    Overlong,
    /// The reserved upper half of a context identifier is not zero.
    ReservedCid,
    /// The source or the destination is not one that this transport can carry.
    Address,
    /// The operation is unknown.
    Operation,
    /// The socket type is unknown.
    Type,
    /// A payload on an operation that has none.
    Payload,
    /// No socket has this address.
    NoSocket,
    /// The listener's backlog is full, or memory for a new socket is short.
    Backlog,
    /// The operation does not fit the state of its connection.
    State,
    /// More payload than the connection was granted.
    Credit,
    /// Payload for a direction that was shut down.
    Shutdown,
    /// More ends of messages without payload, which cost no credit, than a connection queues.
    EmptyMessages,
}

impl DropReason {
    /// How many reasons there are.
    pub(crate) const COUNT: usize = Self::NAMES.len();

    /// A name for each reason, in the order of the variants.
    pub(crate) const NAMES: [&'static str; 14] = [
        "short_header",
        "short_payload",
        "overlong",
        "reserved_cid",
        "address",
        "operation",
        "type",
        "payload",
        "no_socket",
        "backlog",
        "state",
        "credit",
        "shutdown",
        "empty_messages",
    ];
}

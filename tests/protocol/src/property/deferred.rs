// SPDX-License-Identifier: GPL-2.0

//! What is put aside while a task owns the socket leads to the same as if it had not been.

use proptest::prelude::*;

use crate::model::world::FLOW;
use crate::protocol::connection::{Connection, Payload, Phase};
use crate::protocol::credit::{empty_limit, Advertisement, Counter};
use crate::protocol::deferred::Deferred;
use crate::protocol::packet::{Control, Header, Operation, SocketType};

/// Size of the receive buffer, in bytes.
const BUFFER: u32 = 1000;

fn header(operation: Operation, flags: u32, len: u32) -> Header {
    let is_end = operation == Operation::ReadWrite && flags & 1 != 0;
    Header {
        flow: FLOW,
        kind: SocketType::Seqpacket,
        operation,
        flags,
        len,
        empty_ends: u32::from(is_end && len == 0),
        credit: Advertisement {
            buf_alloc: 500,
            fwd_cnt: Counter::from_wire(0),
        },
    }
}

fn established() -> Connection {
    Connection::accept(&header(Operation::Request, 0, 0), BUFFER)
}

fn connecting() -> Connection {
    let mut connection = Connection::connect(FLOW, SocketType::Seqpacket, BUFFER);
    let _ = connection.control(Control::Request);
    connection
}

/// Packets that arrive one after the other: as a rule an answer to a request first.
fn packets() -> impl Strategy<Value = Vec<Header>> {
    let any = || (packet(0_u32..300), 400_u32..600);
    let with_credit = |(header, buf_alloc)| Header {
        credit: Advertisement {
            buf_alloc,
            fwd_cnt: Counter::from_wire(0),
        },
        ..header
    };
    let first = prop_oneof![
        Just((header(Operation::Response, 0, 0), 700)),
        Just((header(Operation::Request, 0, 0), 700)),
        any(),
    ];
    (first, prop::collection::vec(any(), 0..12)).prop_map(move |(first, others)| {
        core::iter::once(first)
            .chain(others)
            .map(with_credit)
            .collect()
    })
}

/// A packet of a message socket; payload is that of a stream as long as it ends no message.
fn packet(length: impl Strategy<Value = u32>) -> impl Strategy<Value = Header> {
    prop_oneof![
        12 => (length, 0_u32..4).prop_map(|(len, flags)| header(Operation::ReadWrite, flags, len)),
        8 => Just(header(Operation::ReadWrite, 1, 0)),
        2 => Just(header(Operation::CreditUpdate, 0, 0)),
        2 => Just(header(Operation::CreditRequest, 0, 0)),
        1 => (0_u32..5).prop_map(|flags| header(Operation::Shutdown, flags, 0)),
        1 => Just(header(Operation::Reset, 0, 0)),
        1 => Just(header(Operation::Request, 0, 0)),
        1 => Just(header(Operation::Response, 0, 0)),
    ]
}

/// Where an operation stands among those that are put aside.
fn rank(header: &Header) -> u32 {
    match header.operation {
        Operation::Request | Operation::Response => 0,
        Operation::ReadWrite => 1,
        Operation::CreditRequest => 2,
        Operation::Shutdown => 3,
        Operation::CreditUpdate => 4,
        Operation::Reset => 5,
    }
}

proptest! {
    #![proptest_config(super::config(20_000))]

    #[test]
    fn putting_aside_changes_nothing(packets in packets(), is_open in any::<bool>()) {
        let begin = if is_open { established } else { connecting };
        let mut direct = begin();
        for packet in &packets {
            let _ = direct.packet(packet);
        }

        let mut late = begin();
        let mut deferred = Deferred::default();
        for packet in &packets {
            let _ = deferred.put(packet, BUFFER);
        }
        for packet in deferred.take() {
            let _ = late.packet(&packet);
        }
        prop_assert_eq!(late.phase(), direct.phase());
        prop_assert_eq!(late.receive_ended(), direct.receive_ended());
        prop_assert_eq!(late.send_ended(), direct.send_ended());
        if !matches!(direct.phase(), Phase::Closed(_)) {
            prop_assert_eq!(late.send_credit().buf_alloc(), direct.send_credit().buf_alloc());
        }
        // What goes beyond the credit drops all that was put aside with it.
        let total: u64 = packets.iter().map(|packet| u64::from(packet.len)).sum();
        if total <= u64::from(BUFFER) {
            prop_assert_eq!(late.receive_credit().queued(), direct.receive_credit().queued());
            let empty = |end: &Connection| end.receive_credit().empty_queued();
            prop_assert_eq!(empty(&late), empty(&direct));
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_accounted_for(
        packets in prop::collection::vec(
            packet(prop_oneof![0_u32..300, any::<u32>(), Just(u32::MAX)]),
            1..20,
        ),
        limit in prop_oneof![0_u32..1000, any::<u32>(), Just(u32::MAX)],
    ) {
        let mut deferred = Deferred::default();
        let (mut kept, mut empty) = (0_u64, 0);
        let (mut overrun, mut too_many) = (false, false);
        for packet in &packets {
            match deferred.put(packet, limit) {
                Payload::Deliver => {
                    kept += u64::from(packet.len);
                    empty += packet.empty_ends;
                    prop_assert!(!overrun && kept <= u64::from(limit));
                    prop_assert!(!too_many && empty <= empty_limit(limit));
                }
                Payload::Nothing => prop_assert_eq!((packet.len, packet.empty_ends), (0, 0)),
                Payload::Drop(reason) => {
                    use crate::protocol::reason::DropReason::*;
                    prop_assert!(matches!(reason, State | NoSocket | Shutdown | Credit | EmptyMessages));
                    overrun |= reason == Credit;
                    too_many |= reason == EmptyMessages;
                }
            }
        }
        prop_assert!(!(overrun || too_many) || !deferred.is_empty(), "an overrun leaves a trace");
        let packets: Vec<Header> = deferred.take().collect();
        prop_assert!(deferred.is_empty());
        prop_assert!(deferred.take().next().is_none());
        prop_assert!(packets.windows(2).all(|pair| rank(&pair[0]) < rank(&pair[1])));
        let told: u64 = packets.iter().map(|packet| u64::from(packet.len)).sum();
        if overrun {
            prop_assert_eq!(told, u64::from(u32::MAX), "more than any credit covers");
        } else {
            prop_assert_eq!(told, kept);
        }
        let told: u32 = packets.iter().map(|packet| packet.empty_ends).sum();
        if too_many {
            prop_assert_eq!(told, u32::MAX, "more than anybody takes");
        } else {
            prop_assert_eq!(told, empty);
        }
        if packets.iter().any(|packet| packet.operation == Operation::CreditUpdate) {
            let alone = |packet: &Header| packet.len == 0 && packet.empty_ends == 0;
            prop_assert!(packets.iter().all(alone), "what else there is carries the credit");
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What arrives while a task owns the socket.

use super::{connecting, credit, established, packet};
use crate::protocol::connection::{Cause, Payload, Phase};
use crate::protocol::deferred::Deferred;
use crate::protocol::packet::{Control, Header, Operation};
use crate::protocol::reason::DropReason;

fn arrives(operation: Operation, flags: u32, len: u32) -> Header {
    packet(operation, flags, len, credit(100, 0))
}

fn operations(deferred: &mut Deferred) -> Vec<Operation> {
    deferred.take().map(|header| header.operation).collect()
}

#[test]
fn nothing_is_nothing() {
    let mut deferred = Deferred::default();
    assert!(deferred.is_empty());
    assert_eq!(deferred.take().count(), 0);
}

#[test]
fn payload_adds_up_to_one_packet() {
    let mut deferred = Deferred::default();
    for len in [10, 20, 30] {
        let data = arrives(Operation::ReadWrite, 0, len);
        assert_eq!(deferred.put(&data, 100), Payload::Deliver);
    }
    let update = packet(Operation::CreditUpdate, 0, 0, credit(77, 5));
    assert_eq!(deferred.put(&update, 100), Payload::Nothing);
    assert!(!deferred.is_empty());
    let packets: Vec<_> = deferred.take().collect();
    // The last credit holds.
    assert_eq!(
        packets,
        [packet(Operation::ReadWrite, 0, 60, credit(77, 5))]
    );
    assert!(deferred.is_empty());
}

#[test]
fn a_second_response_is_dropped_and_counted() {
    let mut deferred = Deferred::default();
    let response = arrives(Operation::Response, 0, 0);
    assert_eq!(deferred.put(&response, 100), Payload::Nothing);
    assert_eq!(
        deferred.put(&response, 100),
        Payload::Drop(DropReason::State)
    );
    // The credit of the second holds, as that of any packet does.
    assert_eq!(
        operations(&mut deferred),
        [Operation::Response, Operation::CreditUpdate]
    );
}

#[test]
fn the_end_comes_after_the_payload_and_a_reset_after_all() {
    let mut deferred = Deferred::default();
    let _ = deferred.put(&arrives(Operation::CreditRequest, 0, 0), 100);
    let _ = deferred.put(&arrives(Operation::ReadWrite, 0, 1), 100);
    let _ = deferred.put(&arrives(Operation::Shutdown, 1, 0), 100);
    // The peer may still send.
    let data = arrives(Operation::ReadWrite, 0, 2);
    assert_eq!(deferred.put(&data, 100), Payload::Deliver);
    let _ = deferred.put(&arrives(Operation::Shutdown, 2, 0), 100);
    let late = arrives(Operation::ReadWrite, 0, 3);
    assert_eq!(
        deferred.put(&late, 100),
        Payload::Drop(DropReason::Shutdown)
    );
    let _ = deferred.put(&arrives(Operation::Reset, 0, 0), 100);
    // What comes behind it is for nobody.
    let later = arrives(Operation::Shutdown, 3, 0);
    assert_eq!(
        deferred.put(&later, 100),
        Payload::Drop(DropReason::NoSocket)
    );
    let packets: Vec<_> = deferred.take().collect();
    assert_eq!(
        packets,
        [
            arrives(Operation::ReadWrite, 0, 3),
            arrives(Operation::CreditRequest, 0, 0),
            arrives(Operation::Shutdown, 3, 0),
            arrives(Operation::Reset, 0, 0),
        ]
    );
}

#[test]
fn an_answer_comes_first() {
    let mut deferred = Deferred::default();
    let _ = deferred.put(&arrives(Operation::Response, 0, 0), 100);
    let _ = deferred.put(&arrives(Operation::ReadWrite, 0, 1), 100);
    assert_eq!(
        operations(&mut deferred),
        [Operation::Response, Operation::ReadWrite]
    );
}

#[test]
fn only_the_first_packet_can_be_an_answer() {
    for operation in [Operation::Response, Operation::Request] {
        let mut deferred = Deferred::default();
        let _ = deferred.put(&arrives(Operation::CreditUpdate, 0, 0), 100);
        assert_eq!(
            deferred.put(&arrives(operation, 0, 0), 100),
            Payload::Drop(DropReason::State)
        );
        assert_eq!(operations(&mut deferred), [Operation::CreditUpdate]);
    }
}

#[test]
fn a_request_as_the_answer_ends_the_attempt() {
    let mut deferred = Deferred::default();
    let request = arrives(Operation::Request, 0, 0);
    assert_eq!(deferred.put(&request, 100), Payload::Nothing);
    let mut connection = connecting(100);
    for header in deferred.take() {
        let disposition = connection.packet(&header);
        assert_eq!(disposition.payload, Payload::Drop(DropReason::State));
        assert_eq!(disposition.reply, Some(Control::Reset));
    }
    assert_eq!(connection.phase(), Phase::Closed(Cause::Protocol));
}

#[test]
fn a_lie_behind_an_answer_leaves_its_credit() {
    let mut deferred = Deferred::default();
    let response = packet(Operation::Response, 0, 0, credit(700, 0));
    let _ = deferred.put(&response, 100);
    // Nothing was sent that the peer could have taken out of its buffer.
    let lie = packet(Operation::CreditUpdate, 0, 0, credit(700, 5));
    let _ = deferred.put(&lie, 100);
    let mut connection = connecting(100);
    for header in deferred.take() {
        let _ = connection.packet(&header);
    }
    assert_eq!(connection.phase(), Phase::Established);
    assert_eq!(connection.send_credit().buf_alloc(), 700);
}

#[test]
fn credit_alone_is_passed_on() {
    let mut deferred = Deferred::default();
    let _ = deferred.put(&arrives(Operation::CreditUpdate, 0, 0), 100);
    assert_eq!(operations(&mut deferred), [Operation::CreditUpdate]);
    // So is that of a packet without bytes.
    let empty = arrives(Operation::ReadWrite, 0, 0);
    assert_eq!(deferred.put(&empty, 100), Payload::Nothing);
    assert_eq!(operations(&mut deferred), [Operation::CreditUpdate]);
}

#[test]
fn floods_are_one_packet() {
    let mut deferred = Deferred::default();
    for _ in 0..1000 {
        let _ = deferred.put(&arrives(Operation::CreditRequest, 0, 0), 100);
        let _ = deferred.put(&arrives(Operation::CreditUpdate, 0, 0), 100);
    }
    assert_eq!(operations(&mut deferred), [Operation::CreditRequest]);
}

#[test]
fn more_than_the_credit_ends_the_connection() {
    for lens in [
        &[101][..],
        &[60, 41],
        &[u32::MAX],
        &[1, u32::MAX],
        &[50, u32::MAX, 50],
    ] {
        let mut deferred = Deferred::default();
        let dropped = lens
            .iter()
            .map(|&len| deferred.put(&arrives(Operation::ReadWrite, 0, len), 100))
            .filter(|&payload| payload == Payload::Drop(DropReason::Credit))
            .count();
        assert!(dropped > 0, "{lens:?}");
        let mut connection = established(100, 100);
        for header in deferred.take() {
            let disposition = connection.packet(&header);
            assert_eq!(disposition.payload, Payload::Drop(DropReason::Credit));
        }
        assert_eq!(
            connection.phase(),
            Phase::Closed(Cause::Protocol),
            "{lens:?}"
        );
    }
}

#[test]
fn a_sum_beyond_32_bits_is_an_overrun() {
    let mut deferred = Deferred::default();
    let half = arrives(Operation::ReadWrite, 0, 1 << 31);
    assert_eq!(deferred.put(&half, u32::MAX), Payload::Deliver);
    assert_eq!(
        deferred.put(&half, u32::MAX),
        Payload::Drop(DropReason::Credit)
    );
}

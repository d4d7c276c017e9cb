// SPDX-License-Identifier: GPL-2.0

//! What makes a header valid, and what is answered to one that is not.

use super::credit;
use crate::model::world::FLOW;
use crate::protocol::packet::{
    Control, Halves, Header, HeaderBytes, Invalid, MessageEnd, Operation, SocketType, HEADER_LEN,
};
use crate::protocol::reason::DropReason;

/// A valid packet from the host's port 9998 to port 50000 of guest 3, as the bytes of the wire
/// written down one by one.
const VALID: HeaderBytes = [
    2, 0, 0, 0, 0, 0, 0, 0, // src_cid
    3, 0, 0, 0, 0, 0, 0, 0, // dst_cid
    0x0e, 0x27, 0, 0, // src_port: 9998
    0x50, 0xc3, 0, 0, // dst_port: 50000
    5, 0, 0, 0, // len
    1, 0, // type: stream
    5, 0, // op: RW
    0, 0, 0, 0, // flags
    0, 0, 4, 0, // buf_alloc: 262144
    0x04, 0x03, 0x02, 0x01, // fwd_cnt
];

fn with(offset: usize, bytes: &[u8]) -> HeaderBytes {
    let mut header = VALID;
    header[offset..offset + bytes.len()].copy_from_slice(bytes);
    header
}

fn invalid(bytes: &HeaderBytes, written: usize) -> Invalid {
    Header::parse(bytes, written).expect_err("it is not valid")
}

#[test]
fn spec_10_each_field_is_where_the_specification_has_it() {
    let header = Header {
        flow: FLOW,
        kind: SocketType::Stream,
        operation: Operation::ReadWrite,
        flags: 0,
        len: 5,
        empty_ends: 0,
        credit: credit(262_144, 0x0102_0304),
    };
    assert_eq!(Header::parse(&VALID, HEADER_LEN + 5), Ok(header));
    // What is received from one end is sent by the other.
    let sent = Header {
        flow: FLOW.reversed(),
        ..header
    };
    assert_eq!(sent.encode(), VALID);
    assert_eq!(FLOW.reversed().reversed(), FLOW);
}

#[test]
fn what_is_not_a_whole_header_is_dropped() {
    for written in [0, 1, HEADER_LEN - 1] {
        let invalid = invalid(&VALID, written);
        assert_eq!(invalid.reason, DropReason::ShortHeader);
        assert_eq!(invalid.answer, None);
    }
}

#[test]
fn spec_12_the_payload_is_within_what_was_written() {
    for written in [HEADER_LEN, HEADER_LEN + 4] {
        let invalid = invalid(&VALID, written);
        assert_eq!(invalid.reason, DropReason::ShortPayload);
        assert_eq!(invalid.answer, None);
    }
    // Buffers may be longer: only the first `len` bytes count.
    for written in [HEADER_LEN + 5, HEADER_LEN + 6, 65_536, usize::MAX] {
        assert_eq!(
            Header::parse(&VALID, written).map(|header| header.len),
            Ok(5)
        );
    }
    let huge = with(24, &[0xff; 4]);
    assert_eq!(
        invalid(&huge, HEADER_LEN + 65_536).reason,
        DropReason::ShortPayload
    );
}

#[test]
fn spec_10_the_upper_half_of_a_cid_is_zero() {
    for offset in [4, 7, 12, 15] {
        let invalid = invalid(&with(offset, &[1]), HEADER_LEN + 5);
        assert_eq!(invalid.reason, DropReason::ReservedCid);
        assert_eq!(invalid.answer, None);
    }
}

#[test]
fn spec_17_an_unknown_type_is_answered_with_a_reset() {
    for kind in [[0, 0], [3, 0], [0, 1], [1, 1], [0xff, 0xff]] {
        let invalid = invalid(&with(28, &kind), HEADER_LEN + 5);
        assert_eq!(invalid.reason, DropReason::Type);
        let (flow, answer) = invalid.answer.expect("a reset");
        assert!(flow.is_between(flow.local.cid));
        let mut expected = [0; HEADER_LEN];
        expected[0] = 3;
        expected[8] = 2;
        expected[16..20].copy_from_slice(&50_000_u32.to_le_bytes());
        expected[20..24].copy_from_slice(&9998_u32.to_le_bytes());
        expected[28..30].copy_from_slice(&kind);
        expected[30] = 3;
        assert_eq!(answer, expected);
    }
}

#[test]
fn spec_17_but_a_reset_is_not() {
    let mut reset = with(28, &[9, 0]);
    reset[30] = 3;
    let invalid = invalid(&reset, HEADER_LEN + 5);
    assert_eq!(invalid.reason, DropReason::Type);
    assert_eq!(invalid.answer, None);
}

#[test]
fn both_types_are_known() {
    let stream = Header::parse(&VALID, HEADER_LEN + 5);
    assert_eq!(stream.map(|header| header.kind), Ok(SocketType::Stream));
    let seqpacket = Header::parse(&with(28, &[2]), HEADER_LEN + 5);
    assert_eq!(
        seqpacket.map(|header| header.kind),
        Ok(SocketType::Seqpacket)
    );
}

#[test]
fn spec_11_an_unknown_operation_is_dropped() {
    for operation in [[0, 0], [8, 0], [5, 1], [0xff, 0xff]] {
        let invalid = invalid(&with(30, &operation), HEADER_LEN + 5);
        assert_eq!(invalid.reason, DropReason::Operation);
        assert_eq!(invalid.answer, None);
    }
}

#[test]
fn spec_11_each_operation_has_its_number() {
    let operations = [
        Operation::Request,
        Operation::Response,
        Operation::Reset,
        Operation::Shutdown,
        Operation::ReadWrite,
        Operation::CreditUpdate,
        Operation::CreditRequest,
    ];
    for (number, operation) in (1..).zip(operations) {
        let mut bytes = with(30, &[number]);
        bytes[24] = 0;
        let header = Header::parse(&bytes, HEADER_LEN).expect("it is valid");
        assert_eq!(header.operation, operation);
    }
}

#[test]
fn each_operation_has_its_own_name() {
    let operations = [
        (Operation::Request, "request"),
        (Operation::Response, "response"),
        (Operation::Reset, "reset"),
        (Operation::Shutdown, "shutdown"),
        (Operation::ReadWrite, "rw"),
        (Operation::CreditUpdate, "credit_update"),
        (Operation::CreditRequest, "credit_request"),
    ];
    for (operation, name) in operations {
        assert_eq!(Operation::NAMES[operation.index()], name);
    }
}

#[test]
fn only_one_operation_has_a_payload() {
    for operation in [1, 2, 3, 4, 6, 7] {
        let invalid = invalid(&with(30, &[operation]), HEADER_LEN + 5);
        assert_eq!(invalid.reason, DropReason::Payload);
        assert_eq!(invalid.answer, None);
    }
}

#[test]
fn an_unknown_flow_is_refused_and_a_reset_is_not() {
    let header = Header::parse(&VALID, HEADER_LEN + 5).expect("it is valid");
    let refusal = header.refusal().expect("a reset");
    let refusal = Header::parse(&refusal, HEADER_LEN).expect("it is valid");
    assert_eq!(refusal.operation, Operation::Reset);
    assert_eq!(refusal.flow, FLOW.reversed());
    assert_eq!(refusal.kind, header.kind);
    assert_eq!(refusal.flags, 0);
    assert_eq!(refusal.refusal(), None);
}

#[test]
fn control_packets_say_what_they_are() {
    let halves = |receive, send| Halves { receive, send };
    let cases = [
        (Control::Request, 1, 0),
        (Control::Response, 2, 0),
        (Control::Reset, 3, 0),
        (Control::Shutdown(halves(false, false)), 4, 0),
        (Control::Shutdown(halves(true, false)), 4, 1),
        (Control::Shutdown(halves(false, true)), 4, 2),
        (Control::Shutdown(Halves::BOTH), 4, 3),
        (Control::CreditUpdate, 6, 0),
        (Control::CreditRequest, 7, 0),
    ];
    for (control, operation, flags) in cases {
        let header = Header::control(FLOW, SocketType::Stream, control, credit(7, 9));
        let bytes = header.encode();
        assert_eq!(bytes[24..28], [0; 4], "no payload");
        assert_eq!(bytes[30..32], [operation, 0]);
        assert_eq!(bytes[32..36], [flags, 0, 0, 0]);
        // Row 19: every packet carries the credit.
        assert_eq!(bytes[36..44], [7, 0, 0, 0, 9, 0, 0, 0]);
        let parsed = Header::parse(&bytes, HEADER_LEN).expect("it is valid");
        if let Control::Shutdown(halves) = control {
            assert_eq!(parsed.halves(), halves);
        }
    }
}

#[test]
fn spec_23_flags_that_are_not_defined_end_nothing() {
    let shutdown = Header {
        flags: !3,
        ..Header::control(
            FLOW,
            SocketType::Stream,
            Control::Shutdown(Halves::BOTH),
            credit(0, 0),
        )
    };
    assert_eq!(shutdown.halves(), Halves::default());
}

#[test]
fn spec_26_a_message_ends_by_bit_0_and_a_record_by_bit_1() {
    let end = |record| Some(MessageEnd { record });
    for (flags, expected) in [(0, None), (1, end(false)), (3, end(true))] {
        let header = Header::data(FLOW, SocketType::Seqpacket, 5, expected, credit(7, 9));
        assert_eq!(header.encode()[32..36], [flags, 0, 0, 0]);
        let mut bytes = with(28, &[2]);
        bytes[32] = flags;
        let parsed = Header::parse(&bytes, HEADER_LEN + 5).expect("it is valid");
        assert_eq!(parsed.message_end(), expected);
    }
    // A stream has no messages, and a record ends with one.
    let stream = Header::parse(&with(32, &[3]), HEADER_LEN + 5).expect("it is valid");
    assert_eq!(stream.message_end(), None);
    let mut bytes = with(28, &[2]);
    bytes[32] = 2;
    let record = Header::parse(&bytes, HEADER_LEN + 5).expect("it is valid");
    assert_eq!(record.message_end(), None);
}

#[test]
fn halves_add_up() {
    let receive = Halves {
        receive: true,
        send: false,
    };
    let send = Halves {
        receive: false,
        send: true,
    };
    assert_eq!(receive.union(send), Halves::BOTH);
    assert_eq!(receive.union(receive), receive);
    assert_eq!(Halves::default().union(send), send);
    assert!(Halves::BOTH.is_both());
    assert!(!receive.is_both() && !send.is_both() && !Halves::default().is_both());
}

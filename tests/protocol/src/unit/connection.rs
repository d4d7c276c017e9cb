// SPDX-License-Identifier: GPL-2.0

//! The state machine, packet by packet.

use super::{connecting, credit, established, packet};
use crate::model::world::FLOW;
use crate::protocol::connection::{Cause, Connection, Disposition, Payload, Phase};
use crate::protocol::packet::{Control, Halves, Header, Operation, SocketType};
use crate::protocol::reason::DropReason;

const RECEIVE: Halves = Halves {
    receive: true,
    send: false,
};

const SEND: Halves = Halves {
    receive: false,
    send: true,
};

fn arrives(connection: &mut Connection, operation: Operation, flags: u32, len: u32) -> Disposition {
    connection.packet(&packet(operation, flags, len, credit(100, 0)))
}

fn disposition(payload: Payload, reply: Option<Control>) -> Disposition {
    Disposition { payload, reply }
}

const NOTHING: Disposition = Disposition {
    payload: Payload::Nothing,
    reply: None,
};

#[test]
fn an_open_takes_a_request_and_a_response() {
    let mut active = Connection::connect(FLOW, SocketType::Stream, 100);
    assert_eq!(active.phase(), Phase::Connecting);
    assert_eq!(active.flow(), FLOW);
    assert!(!active.receive_ended() && !active.send_ended());
    assert_eq!(active.sendable(), 0);
    assert_eq!(active.data(10), None);

    let request = active.control(Control::Request);
    assert_eq!(request.operation, Operation::Request);
    assert_eq!(request.credit, credit(100, 0));
    let seen = Header {
        flow: request.flow.reversed(),
        ..request
    };
    let mut passive = Connection::accept(&seen, 70);
    assert_eq!(passive.phase(), Phase::Established);
    assert_eq!(passive.flow(), FLOW.reversed());
    assert_eq!(passive.send_credit().buf_alloc(), 100);
    assert_eq!(passive.sendable(), 70, "within its own buffer");

    let response = passive.control(Control::Response);
    assert_eq!(response.credit, credit(70, 0));
    assert_eq!(active.packet(&response), NOTHING);
    assert_eq!(active.phase(), Phase::Established);
    assert_eq!(active.sendable(), 70);
    assert_eq!(active.window(), 70);
}

#[test]
fn a_request_that_is_refused() {
    let mut connection = connecting(100);
    assert_eq!(
        arrives(&mut connection, Operation::Reset, 0, 0),
        NOTHING,
        "a reset is not answered"
    );
    assert_eq!(connection.phase(), Phase::Closed(Cause::Refused));
    assert!(connection.receive_ended() && connection.send_ended());
}

#[test]
fn what_is_no_answer_to_a_request_ends_it() {
    for operation in [
        Operation::Request,
        Operation::Shutdown,
        Operation::ReadWrite,
        Operation::CreditUpdate,
        Operation::CreditRequest,
    ] {
        let mut connection = connecting(100);
        let len = u32::from(operation == Operation::ReadWrite);
        assert_eq!(
            arrives(&mut connection, operation, 3, len),
            disposition(Payload::Drop(DropReason::State), Some(Control::Reset))
        );
        assert_eq!(connection.phase(), Phase::Closed(Cause::Protocol));
    }
}

#[test]
fn a_request_that_nobody_answers_or_waits_for() {
    for give_up in [Connection::timeout, |connection: &mut Connection| {
        connection.close(false)
    }] {
        let mut connection = connecting(100);
        assert_eq!(give_up(&mut connection), Some(Control::Reset));
        assert_eq!(connection.phase(), Phase::Closed(Cause::Abandoned));
        // The answer comes too late.
        assert_eq!(
            arrives(&mut connection, Operation::Response, 0, 0),
            disposition(Payload::Drop(DropReason::State), None)
        );
        assert_eq!(connection.phase(), Phase::Closed(Cause::Abandoned));
    }
}

#[test]
fn a_timer_that_fires_late_does_no_harm() {
    let mut connection = established(100, 100);
    assert_eq!(connection.timeout(), None);
    assert_eq!(connection.phase(), Phase::Established);
    connection.transport_reset();
    assert_eq!(connection.timeout(), None);
    assert_eq!(connection.phase(), Phase::Closed(Cause::TransportReset));
}

#[test]
fn payload_within_the_grant_is_delivered() {
    let mut connection = established(100, 100);
    for len in [60, 40] {
        assert_eq!(
            arrives(&mut connection, Operation::ReadWrite, 0, len),
            disposition(Payload::Deliver, None)
        );
    }
    assert_eq!(connection.receive_credit().queued(), 100);
    assert_eq!(
        arrives(&mut connection, Operation::ReadWrite, 0, 0),
        NOTHING,
        "no bytes are no overrun"
    );
}

#[test]
fn payload_beyond_the_grant_ends_the_connection() {
    for len in [101, u32::MAX] {
        let mut connection = established(100, 100);
        assert_eq!(
            arrives(&mut connection, Operation::ReadWrite, 0, len),
            disposition(Payload::Drop(DropReason::Credit), Some(Control::Reset))
        );
        assert_eq!(connection.phase(), Phase::Closed(Cause::Protocol));
    }
}

#[test]
fn spec_18_data_keeps_within_the_credit() {
    let mut connection = established(100, 30);
    let header = connection.data(50).expect("there is credit");
    assert_eq!(header.operation, Operation::ReadWrite);
    assert_eq!((header.len, header.flags), (30, 0));
    assert_eq!(header.flow, FLOW);
    assert_eq!(connection.data(1), None);
    let update = packet(Operation::CreditUpdate, 0, 0, credit(30, 12));
    assert_eq!(connection.packet(&update), NOTHING);
    assert_eq!(connection.data(50).map(|header| header.len), Some(12));
    assert_eq!(connection.data(0), None);
}

#[test]
fn spec_19_every_packet_carries_the_credit_of_its_moment() {
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::ReadWrite, 0, 10);
    let _ = connection.read(10, 1);
    assert_eq!(
        connection.data(1).map(|header| header.credit),
        Some(credit(100, 10))
    );
    let _ = connection.resize(50);
    for control in [
        Control::Reset,
        Control::Shutdown(Halves::BOTH),
        Control::CreditUpdate,
        Control::CreditRequest,
    ] {
        assert_eq!(connection.control(control).credit, credit(50, 10));
    }
}

#[test]
fn spec_21_a_credit_request_is_answered() {
    let mut connection = established(100, 100);
    assert_eq!(
        arrives(&mut connection, Operation::CreditRequest, 0, 0),
        disposition(Payload::Nothing, Some(Control::CreditUpdate))
    );
}

#[test]
fn a_lie_about_credit_concerns_the_credit_alone() {
    let mut connection = established(100, 100);
    let lie = packet(Operation::ReadWrite, 0, 10, credit(5, 1));
    assert_eq!(connection.packet(&lie), disposition(Payload::Deliver, None));
    assert_eq!(connection.sendable(), 100);
}

#[test]
fn what_has_no_meaning_on_an_open_connection_is_dropped() {
    for operation in [Operation::Request, Operation::Response] {
        let mut connection = established(100, 100);
        assert_eq!(
            arrives(&mut connection, operation, 0, 0),
            disposition(Payload::Drop(DropReason::State), None)
        );
        assert_eq!(connection.phase(), Phase::Established);
    }
}

#[test]
fn spec_23_the_peers_halves_end_one_by_one_and_stay_so() {
    let mut connection = established(100, 100);
    assert_eq!(arrives(&mut connection, Operation::Shutdown, 2, 0), NOTHING);
    assert!(connection.receive_ended() && !connection.send_ended());
    assert_eq!(
        arrives(&mut connection, Operation::ReadWrite, 0, 1),
        disposition(Payload::Drop(DropReason::Shutdown), None)
    );
    assert_eq!(arrives(&mut connection, Operation::Shutdown, 0, 0), NOTHING);
    assert!(connection.receive_ended() && !connection.send_ended());
    assert!(connection.data(1).is_some(), "the other half is open");
    assert_eq!(
        arrives(&mut connection, Operation::Shutdown, 1, 0),
        disposition(Payload::Nothing, Some(Control::Reset))
    );
    assert_eq!(connection.phase(), Phase::Closed(Cause::Orderly));
}

#[test]
fn a_peer_that_receives_no_more_can_still_send() {
    let mut connection = established(100, 100);
    assert_eq!(arrives(&mut connection, Operation::Shutdown, 1, 0), NOTHING);
    assert!(connection.send_ended() && !connection.receive_ended());
    assert_eq!(connection.sendable(), 0);
    assert_eq!(connection.data(1), None);
    assert_eq!(
        arrives(&mut connection, Operation::ReadWrite, 0, 1),
        disposition(Payload::Deliver, None)
    );
}

#[test]
fn spec_24_a_clean_close_ends_with_the_peers_reset() {
    let mut connection = established(100, 100);
    assert_eq!(
        connection.close(false),
        Some(Control::Shutdown(Halves::BOTH))
    );
    assert_eq!(connection.phase(), Phase::Closing);
    assert_eq!(connection.close(false), None);
    assert_eq!(arrives(&mut connection, Operation::Reset, 0, 0), NOTHING);
    assert_eq!(connection.phase(), Phase::Closed(Cause::Orderly));
}

#[test]
fn spec_24_or_with_an_own_one_after_a_time() {
    let mut connection = established(100, 100);
    let _ = connection.close(false);
    assert_eq!(connection.timeout(), Some(Control::Reset));
    assert_eq!(connection.phase(), Phase::Closed(Cause::Orderly));
    assert_eq!(connection.timeout(), None);
}

#[test]
fn a_close_with_unread_data_is_a_reset() {
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::ReadWrite, 0, 1);
    assert_eq!(connection.close(true), Some(Control::Reset));
    assert!(matches!(connection.phase(), Phase::Closed(_)));
}

#[test]
fn both_ends_close_at_once() {
    let mut connection = established(100, 100);
    let _ = connection.close(false);
    assert_eq!(
        arrives(&mut connection, Operation::Shutdown, 3, 0),
        disposition(Payload::Nothing, Some(Control::Reset))
    );
    assert_eq!(connection.phase(), Phase::Closed(Cause::Orderly));
}

#[test]
fn what_arrives_while_the_close_is_under_way() {
    let mut connection = established(100, 100);
    let _ = connection.close(false);
    let state = disposition(Payload::Drop(DropReason::State), None);
    let shutdown = disposition(Payload::Drop(DropReason::Shutdown), None);
    for (operation, expected) in [
        (Operation::ReadWrite, shutdown),
        (Operation::CreditUpdate, NOTHING),
        (Operation::CreditRequest, NOTHING),
        (Operation::Response, state),
    ] {
        let len = u32::from(operation == Operation::ReadWrite);
        assert_eq!(arrives(&mut connection, operation, 0, len), expected);
        assert_eq!(connection.phase(), Phase::Closing);
    }
    assert_eq!(arrives(&mut connection, Operation::Shutdown, 2, 0), NOTHING);
    assert_eq!(connection.phase(), Phase::Closing);
}

#[test]
fn spec_25_a_peer_that_forgot_the_connection_is_refused_and_can_ask_again() {
    let mut connection = established(100, 100);
    let _ = connection.close(false);
    assert_eq!(
        arrives(&mut connection, Operation::Request, 0, 0),
        disposition(Payload::Drop(DropReason::State), Some(Control::Reset))
    );
    assert_eq!(connection.phase(), Phase::Closed(Cause::Orderly));
}

#[test]
fn a_reset_out_of_the_blue_is_one() {
    let mut connection = established(100, 100);
    assert_eq!(arrives(&mut connection, Operation::Reset, 0, 0), NOTHING);
    assert_eq!(connection.phase(), Phase::Closed(Cause::Reset));
    assert!(connection.receive_ended() && connection.send_ended());
}

#[test]
fn a_reset_after_the_peers_end_takes_nothing_from_a_reader() {
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::Shutdown, 2, 0);
    let _ = arrives(&mut connection, Operation::Reset, 0, 0);
    assert_eq!(connection.phase(), Phase::Closed(Cause::Orderly));

    let mut connection = established(100, 100);
    assert_eq!(
        connection.shutdown(Halves::BOTH),
        Some(Control::Shutdown(Halves::BOTH))
    );
    let _ = arrives(&mut connection, Operation::Reset, 0, 0);
    assert_eq!(connection.phase(), Phase::Closed(Cause::Orderly));
}

#[test]
fn a_closed_connection_is_deaf_and_dumb() {
    let mut connection = established(100, 100);
    connection.transport_reset();
    for operation in [
        Operation::Request,
        Operation::Response,
        Operation::Reset,
        Operation::Shutdown,
        Operation::ReadWrite,
        Operation::CreditUpdate,
        Operation::CreditRequest,
    ] {
        let len = u32::from(operation == Operation::ReadWrite);
        assert_eq!(
            arrives(&mut connection, operation, 3, len),
            disposition(Payload::Drop(DropReason::State), None)
        );
    }
    assert_eq!(connection.shutdown(Halves::BOTH), None);
    assert_eq!(connection.close(true), None);
    assert_eq!(connection.timeout(), None);
    assert!(!connection.resize(500));
    assert!(!connection.read(10, 1));
    assert!(!connection.before_sleep(10));
    assert_eq!(connection.data(1), None);
    connection.transport_reset();
    assert_eq!(connection.phase(), Phase::Closed(Cause::TransportReset));
}

#[test]
fn the_transports_failure_ends_each_phase() {
    let mut closing = established(100, 100);
    let _ = closing.close(false);
    for mut connection in [connecting(100), established(100, 100), closing] {
        connection.transport_reset();
        assert_eq!(connection.phase(), Phase::Closed(Cause::TransportReset));
    }
}

#[test]
fn an_own_half_is_shut_down_once() {
    let mut connection = established(100, 100);
    assert_eq!(connection.shutdown(SEND), Some(Control::Shutdown(SEND)));
    assert!(connection.send_ended() && !connection.receive_ended());
    assert_eq!(connection.data(1), None);
    assert_eq!(connection.shutdown(SEND), None, "no news");
    assert_eq!(
        connection.shutdown(RECEIVE),
        Some(Control::Shutdown(Halves::BOTH)),
        "the first half is told again: it is sticky"
    );
    assert_eq!(connection.phase(), Phase::Established);
    // The close has nothing to add, but waits for the peer's word.
    assert_eq!(connection.close(false), None);
    assert_eq!(connection.phase(), Phase::Closing);
}

#[test]
fn what_arrives_after_the_own_receiving_half_ended_is_dropped_and_counted() {
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::ReadWrite, 0, 40);
    let _ = connection.shutdown(RECEIVE);
    assert!(connection.receive_ended() && !connection.send_ended());
    for _ in 0..10 {
        assert_eq!(
            arrives(&mut connection, Operation::ReadWrite, 0, 60),
            disposition(Payload::Drop(DropReason::Shutdown), None)
        );
    }
    assert_eq!(connection.receive_credit().queued(), 40, "still readable");
    assert_eq!(
        arrives(&mut connection, Operation::ReadWrite, 0, 101),
        disposition(Payload::Drop(DropReason::Credit), Some(Control::Reset))
    );
}

#[test]
fn updates_come_when_half_was_read() {
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::ReadWrite, 0, 100);
    assert!(!connection.read(49, 1));
    assert!(connection.read(1, 1));
    let update = connection.control(Control::CreditUpdate);
    assert_eq!(update.credit, credit(100, 50));
    assert!(!connection.read(49, 1), "counted from the last word");
    assert!(connection.read(1, 1));
}

#[test]
fn updates_come_in_time_for_a_peer_with_a_smaller_buffer() {
    let mut connection = established(100, 60);
    let payload = packet(Operation::ReadWrite, 0, 30, credit(60, 0));
    let _ = connection.packet(&payload);
    assert!(!connection.read(29, 1));
    assert_eq!(connection.untold(), 29);
    assert!(connection.read(1, 1));
    let _ = connection.control(Control::CreditUpdate);
    assert_eq!(connection.untold(), 0);
}

#[test]
fn no_updates_after_the_end_of_the_stream() {
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::ReadWrite, 0, 100);
    let _ = arrives(&mut connection, Operation::Shutdown, 2, 0);
    assert!(!connection.read(100, 1));
    assert!(!connection.before_sleep(100));
}

#[test]
fn a_sleeper_makes_sure_that_its_need_can_come() {
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::ReadWrite, 0, 10);
    assert!(!connection.read(10, 1));
    assert!(!connection.before_sleep(90));
    assert!(connection.before_sleep(91));
}

#[test]
fn a_size_that_changed_during_the_connect_is_told() {
    let mut connection = connecting(1);
    assert!(!connection.resize(1000), "there is nobody to tell yet");
    assert_eq!(
        arrives(&mut connection, Operation::Response, 0, 0),
        disposition(Payload::Nothing, Some(Control::CreditUpdate))
    );
}

#[test]
fn a_new_size_is_told_as_long_as_it_binds_anyone() {
    let mut connection = established(100, 100);
    assert!(connection.resize(50));
    let _ = arrives(&mut connection, Operation::Shutdown, 2, 0);
    assert!(
        connection.resize(10),
        "it also limits what this end has under way"
    );
    let _ = connection.shutdown(SEND);
    assert!(!connection.resize(20));
}

#[test]
fn another_window_makes_small_news_large() {
    // 24 bytes of 100 are not worth an update.
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::ReadWrite, 0, 24);
    assert!(!connection.read(24, 1));
    // The peer now keeps within 24, all of which it believes to be under way.
    let shrunk = packet(Operation::CreditUpdate, 0, 0, credit(24, 0));
    assert_eq!(
        connection.packet(&shrunk),
        disposition(Payload::Nothing, Some(Control::CreditUpdate))
    );
    let _ = connection.control(Control::CreditUpdate);
    // Once it is told, another window brings no update.
    let grown = packet(Operation::CreditUpdate, 0, 0, credit(90, 0));
    assert_eq!(connection.packet(&grown), NOTHING);
}

#[test]
fn refused_payload_ends_the_connection_as_a_reset_does() {
    let mut connection = established(100, 100);
    assert!(connection.data(10).is_some());
    connection.payload_refused();
    assert_eq!(connection.phase(), Phase::Closed(Cause::Reset));
    assert!(connection.send_ended() && connection.receive_ended());
    // Later it changes nothing.
    let mut connection = established(100, 100);
    let _ = connection.close(false);
    connection.payload_refused();
    assert_eq!(connection.phase(), Phase::Closing);
}

#[test]
fn what_is_looked_up_is_what_a_packet_would_say() {
    let mut connection = established(100, 100);
    let _ = arrives(&mut connection, Operation::ReadWrite, 0, 10);
    let _ = connection.read(10, 1);
    assert_eq!(connection.announce(), credit(100, 10));
    assert_eq!(
        connection.control(Control::CreditUpdate).credit,
        credit(100, 10)
    );
}

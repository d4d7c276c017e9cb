// SPDX-License-Identifier: GPL-2.0

//! When a reader wakes, and when the peer hears of free space.

use crate::protocol::credit::ReceiveCredit;
use crate::protocol::wake::{self, Ask, WakeReason};

#[test]
fn the_window_is_what_both_ends_hold() {
    assert_eq!(wake::window(100, 200), 100);
    assert_eq!(wake::window(200, 100), 100);
    assert_eq!(wake::window(0, 200), 1);
    assert_eq!(wake::window(200, 0), 1);
    assert_eq!(wake::window(u32::MAX, u32::MAX), u32::MAX);
}

#[test]
fn the_target_is_that_of_sock_rcvlowat() {
    for (len, wait_all, low_water, target) in [
        (100, false, 1, 1),
        (100, false, 40, 40),
        (100, false, 400, 100),
        (100, true, 40, 100),
        (0, false, 40, 1),
        (0, true, 40, 1),
        (100, false, 0, 1),
        (usize::MAX, true, 1, usize::MAX),
    ] {
        assert_eq!(wake::target(len, wait_all, low_water), target);
    }
}

#[test]
fn within_the_window_all_is_needed_at_once() {
    for (wanted, window, need) in [
        (1, 100, 1),
        (99, 100, 99),
        (100, 100, 100),
        // Beyond it, half of it.
        (101, 100, 50),
        (usize::MAX, 100, 50),
        (2, 1, 1),
        (3, 2, 1),
        (0, 100, 1),
        (1, 0, 1),
    ] {
        assert_eq!(wake::need(wanted, window), need, "{wanted} in {window}");
    }
}

#[test]
fn what_is_asked_for_and_what_there_is_room_for_make_the_need() {
    let ask = Ask {
        done: 150,
        ..Ask::from(200)
    };
    // 50 bytes are left, and then nothing.
    assert_eq!((ask.need(100), ask.reason(100)), (50, WakeReason::Target));
    assert_eq!((ask.need(50), ask.reason(50)), (50, WakeReason::Target));
    assert_eq!((ask.need(40), ask.reason(40)), (20, WakeReason::Window));
    let over = Ask { done: 200, ..ask };
    assert_eq!((over.need(40), over.reason(40)), (1, WakeReason::Target));
    // Who cannot make room waits for all of it.
    let peek = Ask {
        done: 0,
        peek: Some(0),
        ..ask
    };
    assert_eq!(
        (peek.need(100), peek.reason(100)),
        (100, WakeReason::Window)
    );
    assert_eq!(
        (peek.need(300), peek.reason(300)),
        (200, WakeReason::Target)
    );
    assert_eq!(peek.need(0), 1);
    // Nor can who looks behind the first bytes, until another call takes these.
    let mut behind = Ask {
        peek: Some(60),
        ..peek
    };
    assert_eq!(
        (behind.need(300), behind.reason(300)),
        (260, WakeReason::Target)
    );
    assert_eq!(
        (behind.need(100), behind.reason(100)),
        (100, WakeReason::Window)
    );
    behind.taken(50);
    assert_eq!(behind.need(300), 210);
    behind.taken(50);
    assert_eq!(behind.need(300), 200);
}

#[test]
fn a_lower_mark_binds_a_sleeping_call_and_a_higher_one_does_not() {
    let mut ask = Ask {
        target: 100,
        wait_all: false,
        ..Ask::from(200)
    };
    for (low_water, target) in [(150, 100), (60, 60), (90, 60), (0, 1), (5, 1)] {
        ask.lower(low_water);
        assert_eq!(ask.target, target);
    }
    // What wants all of it has no mark.
    let mut all = Ask::from(200);
    all.lower(10);
    assert_eq!(all.target, 200);
}

#[test]
fn each_reason_has_its_name() {
    for (number, reason) in WakeReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, number);
    }
    assert_eq!(WakeReason::NAMES[WakeReason::Timeout as usize], "timeout");
    assert_eq!(WakeReason::NAMES[WakeReason::Target as usize], "target");
}

#[test]
fn poll_reports_no_less_than_the_low_water_mark_within_the_window() {
    for (low_water, window, level) in [
        (1, 100, 1),
        (100, 100, 100),
        (101, 100, 100),
        (usize::MAX, 100, 100),
        (0, 100, 1),
        (5, 0, 1),
    ] {
        assert_eq!(wake::readable_at(low_water, window), level);
    }
}

/// A buffer of 100 bytes, all of which were announced, received, and `read` of them read.
fn full(read: u32) -> ReceiveCredit {
    let mut credit = ReceiveCredit::new(100);
    let _ = credit.announce();
    credit.receive(100).expect("it fits");
    credit.forward(read);
    credit
}

#[test]
fn half_of_the_window_is_worth_an_update() {
    assert!(!wake::announce_after_read(&full(49), 100, 1));
    assert!(wake::announce_after_read(&full(50), 100, 1));
    // Of the window, which may be smaller than the buffer.
    assert!(!wake::announce_after_read(&full(19), 40, 1));
    assert!(wake::announce_after_read(&full(20), 40, 1));
    assert!(
        !wake::announce_after_read(&full(0), 1, 1),
        "nothing to tell"
    );
}

#[test]
fn also_when_nothing_is_left() {
    for (bytes, worth) in [(49, false), (50, true)] {
        let mut credit = ReceiveCredit::new(100);
        let _ = credit.announce();
        credit.receive(bytes).expect("it fits");
        credit.forward(bytes);
        assert_eq!(wake::announce_after_read(&credit, 100, 1), worth);
    }
}

#[test]
fn a_poller_is_not_left_with_less_than_its_low_water_mark() {
    let mut credit = ReceiveCredit::new(100);
    let _ = credit.announce();
    credit.receive(20).expect("it fits");
    credit.forward(20);
    // The peer knows of 80.
    assert!(!wake::announce_after_read(&credit, 100, 80));
    assert!(wake::announce_after_read(&credit, 100, 81));
    assert!(wake::announce_after_read(&credit, 100, usize::MAX));
}

#[test]
fn nobody_sleeps_for_more_than_the_peer_may_send() {
    let mut credit = ReceiveCredit::new(100);
    let _ = credit.announce();
    credit.receive(50).expect("it fits");
    credit.forward(10);
    // 40 are queued and the peer knows of 50.
    assert!(!wake::announce_before_sleep(&credit, 100, 90));
    assert!(wake::announce_before_sleep(&credit, 100, 91));
    let _ = credit.announce();
    assert!(!wake::announce_before_sleep(&credit, 100, 100));
    assert!(
        !wake::announce_before_sleep(&credit, 100, usize::MAX),
        "nothing to tell"
    );
}

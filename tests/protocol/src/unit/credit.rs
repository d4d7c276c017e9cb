// SPDX-License-Identifier: GPL-2.0

//! Flow control at its edges: shrinking buffers, lies about what was read, and the wrap at 2^32.

use super::credit;
use crate::protocol::credit::{Counter, Overrun, ReceiveCredit, SendCredit};

#[test]
fn a_buffer_takes_what_it_was_made_for() {
    let mut receive = ReceiveCredit::new(100);
    assert_eq!(receive.receive(60), Ok(()));
    assert_eq!(receive.receive(41), Err(Overrun));
    assert_eq!(receive.queued(), 60, "an overrun counts for nothing");
    assert_eq!(receive.receive(40), Ok(()));
    assert_eq!(receive.receive(1), Err(Overrun));
    assert_eq!(receive.receive(0), Ok(()));
}

#[test]
fn room_comes_back_with_each_read() {
    let mut receive = ReceiveCredit::new(100);
    receive.receive(100).expect("it fits");
    receive.forward(30);
    assert_eq!(receive.queued(), 70);
    assert_eq!(receive.receive(31), Err(Overrun));
    assert_eq!(receive.receive(30), Ok(()));
}

#[test]
fn no_more_is_taken_than_is_there() {
    let mut receive = ReceiveCredit::new(100);
    receive.receive(10).expect("it fits");
    receive.forward(u32::MAX);
    assert_eq!(receive.queued(), 0);
    assert_eq!(receive.announce(), credit(100, 10));
}

#[test]
fn a_smaller_buffer_takes_back_nothing() {
    let mut receive = ReceiveCredit::new(100);
    receive.receive(20).expect("it fits");
    receive.resize(10);
    assert_eq!(receive.receive(80), Ok(()), "granted before");
    assert_eq!(receive.receive(1), Err(Overrun));
    // Only what is free in the small one is granted anew.
    receive.forward(95);
    assert_eq!(receive.queued(), 5);
    assert_eq!(receive.receive(6), Err(Overrun));
    assert_eq!(receive.receive(5), Ok(()));
}

#[test]
fn a_larger_buffer_takes_more_at_once() {
    let mut receive = ReceiveCredit::new(10);
    receive.receive(10).expect("it fits");
    receive.resize(25);
    assert_eq!(receive.receive(16), Err(Overrun));
    assert_eq!(receive.receive(15), Ok(()));
}

#[test]
fn a_buffer_of_nothing_takes_nothing() {
    let mut receive = ReceiveCredit::new(0);
    assert_eq!(receive.receive(1), Err(Overrun));
    assert_eq!(receive.known_free(100), 0);
}

#[test]
fn the_largest_buffer() {
    let mut receive = ReceiveCredit::new(u32::MAX);
    assert_eq!(receive.receive(u32::MAX), Ok(()));
    assert_eq!(receive.receive(1), Err(Overrun));
    assert_eq!(receive.queued(), u32::MAX);
    receive.forward(u32::MAX);
    assert_eq!(receive.receive(u32::MAX), Ok(()));
}

#[test]
fn the_peer_knows_what_was_announced() {
    let mut receive = ReceiveCredit::new(100);
    assert_eq!(receive.known_free(1000), 0, "it was told nothing yet");
    assert_eq!(receive.announce(), credit(100, 0));
    assert_eq!(receive.known_free(1000), 100);
    assert_eq!(receive.known_free(70), 70);
    receive.receive(60).expect("it fits");
    assert_eq!(receive.known_free(1000), 40);
    assert_eq!(receive.known_free(50), 0, "less than what is outstanding");
    receive.forward(50);
    assert_eq!(receive.unannounced(), 50);
    assert_eq!(receive.known_free(1000), 40);
    assert_eq!(receive.announce(), credit(100, 50));
    assert_eq!(receive.unannounced(), 0);
    assert_eq!(receive.known_free(1000), 90);
}

#[test]
fn the_receiver_goes_through_the_wrap() {
    let mut receive = ReceiveCredit::new(u32::MAX - 50);
    receive.receive(u32::MAX - 50).expect("it fits");
    receive.resize(100);
    receive.forward(u32::MAX - 50);
    assert_eq!(receive.announce(), credit(100, u32::MAX - 50));
    assert_eq!(receive.receive(101), Err(Overrun));
    assert_eq!(receive.receive(100), Ok(()));
    assert_eq!(receive.queued(), 100);
    assert_eq!(receive.known_free(100), 0);
    receive.forward(60);
    assert_eq!(receive.unannounced(), 60);
    assert_eq!(receive.announce(), credit(100, 9));
    assert_eq!(receive.known_free(100), 60);
    assert_eq!(receive.receive(61), Err(Overrun));
    assert_eq!(receive.receive(60), Ok(()));
}

#[test]
fn spec_18_nothing_is_sent_beyond_the_peers_buffer() {
    let mut send = SendCredit::default();
    assert_eq!(send.available(u32::MAX), 0, "nothing is known of the peer");
    assert!(send.update(credit(100, 0)));
    assert_eq!(send.available(u32::MAX), 100);
    assert_eq!(send.send(70, u32::MAX), 70);
    assert_eq!(send.in_flight(), 70);
    assert_eq!(send.send(70, u32::MAX), 30);
    assert_eq!(send.send(1, u32::MAX), 0);
    assert!(send.update(credit(100, 40)));
    assert_eq!(send.available(u32::MAX), 40);
}

#[test]
fn no_more_is_under_way_than_the_own_buffer_holds() {
    let mut send = SendCredit::default();
    assert!(send.update(credit(u32::MAX, 0)));
    assert_eq!(send.available(100), 100);
    assert_eq!(send.send(u32::MAX, 100), 100);
    assert_eq!(send.available(100), 0);
    assert_eq!(
        send.available(90),
        0,
        "the limit shrank below what is under way"
    );
    assert_eq!(send.available(110), 10);
}

#[test]
fn a_peer_that_shrinks_below_what_is_under_way() {
    let mut send = SendCredit::default();
    assert!(send.update(credit(100, 0)));
    assert_eq!(send.send(100, u32::MAX), 100);
    for (buf_alloc, fwd_cnt, available) in [(10, 0, 0), (0, 50, 0), (49, 51, 0), (50, 51, 1)] {
        assert!(send.update(credit(buf_alloc, fwd_cnt)));
        assert_eq!(send.available(u32::MAX), available);
        assert_eq!(send.buf_alloc(), buf_alloc);
    }
}

#[test]
fn a_peer_that_forgets_what_it_read() {
    let mut send = SendCredit::default();
    assert!(send.update(credit(100, 0)));
    send.send(60, u32::MAX);
    assert!(send.update(credit(100, 60)));
    send.send(40, u32::MAX);
    for backwards in [59, 0, u32::MAX, 61_u32.wrapping_sub(1 << 31)] {
        assert!(!send.update(credit(7, backwards)), "{backwards}");
        assert_eq!(send.in_flight(), 40);
        assert_eq!(send.buf_alloc(), 100, "a lie changes nothing");
    }
    assert!(send.update(credit(100, 60)), "the same again is no lie");
}

#[test]
fn a_peer_that_read_what_was_never_sent() {
    let mut send = SendCredit::default();
    assert!(!send.update(credit(100, 1)), "before anything was sent");
    assert_eq!(send.available(u32::MAX), 0);
    assert!(send.update(credit(100, 0)));
    send.send(60, u32::MAX);
    for ahead in [61, 100, 1 << 31, u32::MAX] {
        assert!(!send.update(credit(u32::MAX, ahead)), "{ahead}");
        assert_eq!(send.in_flight(), 60);
        assert_eq!(send.available(u32::MAX), 40);
    }
    assert!(send.update(credit(100, 60)), "all of it");
    assert_eq!(send.available(u32::MAX), 100);
}

#[test]
fn the_sender_goes_through_the_wrap() {
    let mut send = SendCredit::default();
    assert!(send.update(credit(u32::MAX, 0)));
    assert_eq!(send.send(u32::MAX, u32::MAX), u32::MAX);
    assert_eq!(send.available(u32::MAX), 0);
    assert!(send.update(credit(100, u32::MAX - 10)));
    assert_eq!(send.in_flight(), 10);
    assert_eq!(send.available(u32::MAX), 90);
    assert_eq!(send.send(90, u32::MAX), 90);
    // Sent is now 2^32 + 89.
    assert!(!send.update(credit(100, 90)));
    assert!(send.update(credit(100, 0)));
    assert_eq!(send.in_flight(), 89);
    assert!(!send.update(credit(100, u32::MAX)));
    assert!(send.update(credit(100, 89)));
    assert_eq!(send.in_flight(), 0);
    assert_eq!(send.available(u32::MAX), 100);
}

#[test]
fn counters_wrap_and_have_a_difference() {
    let counter = Counter::from_wire(u32::MAX - 1);
    assert_eq!(counter.after(3).to_wire(), 1);
    assert_eq!(counter.after(3).since(counter), 3);
    assert_eq!(counter.since(counter), 0);
    assert_eq!(counter.since(counter.after(1)), u32::MAX);
    assert_eq!(Counter::default().to_wire(), 0);
}

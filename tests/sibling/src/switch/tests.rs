// SPDX-License-Identifier: GPL-2.0

//! What the switch does, with queues that are lists.

use std::cell::{Cell, RefCell};

use rvsock_packet::{END_OF_MESSAGE, SEQPACKET, STREAM};

use super::*;

/// The queues of a guest as lists.
struct Lists {
    driver: Cell<Option<Generation>>,
    transmit: RefCell<VecDeque<Vec<u8>>>,
    /// The sizes of the receive buffers.
    buffers: RefCell<VecDeque<usize>>,
    received: RefCell<Vec<Vec<u8>>>,
}

impl Lists {
    fn sends(&self, packet: Packet) {
        self.transmit.borrow_mut().push_back(packet.encode());
    }

    /// Adds receive buffers.
    fn has(&self, count: usize, size: usize) {
        self.buffers.borrow_mut().extend(vec![size; count]);
    }

    /// What it has received since this was last asked, as `(operation, source port, length)`.
    fn received(&self) -> Vec<(Operation, u32, u32)> {
        self.packets()
            .into_iter()
            .map(|Packet { header, .. }| (header.operation, header.src_port, header.len))
            .collect()
    }

    fn packets(&self) -> Vec<Packet> {
        let received = self.received.take();
        received
            .iter()
            .filter_map(|bytes| Packet::decode(bytes))
            .collect()
    }

    fn unsent(&self) -> usize {
        self.transmit.borrow().len()
    }
}

impl Queues for Lists {
    fn driver(&self) -> Option<Generation> {
        self.driver.get()
    }

    fn take(&self, driver: Generation) -> Taken {
        assert_eq!(self.driver.get(), Some(driver));
        match self.transmit.borrow_mut().pop_front() {
            Some(bytes) if bytes.is_empty() => Taken::Unreadable,
            Some(bytes) => Taken::Bytes(bytes),
            None => Taken::Nothing,
        }
    }

    fn put(&self, driver: Generation, fill: &mut dyn FnMut(usize) -> Vec<u8>) -> bool {
        assert_eq!(self.driver.get(), Some(driver));
        let Some(room) = self.buffers.borrow_mut().pop_front() else {
            return false;
        };
        let bytes = fill(room);
        assert!(bytes.len() <= room);
        self.received.borrow_mut().push(bytes);
        true
    }

    fn watch(&self, _queue: Queue, _driver: Generation) -> bool {
        false
    }
}

fn guest() -> Arc<Lists> {
    Arc::new(Lists {
        driver: Cell::new(Some(Generation(1))),
        transmit: RefCell::default(),
        buffers: RefCell::default(),
        received: RefCell::default(),
    })
}

/// Guests 3 and 4, both there, with eight large buffers each.
fn pair() -> (Switch<Lists>, Arc<Lists>, Arc<Lists>) {
    let mut switch = Switch::new([3, 4].into_iter());
    let (three, four) = (guest(), guest());
    for (cid, guest) in [(3, &three), (4, &four)] {
        guest.has(8, 65536);
        switch.came(cid, Arc::clone(guest));
    }
    (switch, three, four)
}

fn settle(switch: &mut Switch<Lists>) {
    let mut turns = 0;
    while switch.turn() {
        turns += 1;
        assert!(turns < 1000, "it does not come to rest");
    }
}

fn packet(from: u64, to: u64, port: u32, operation: Operation, payload: &[u8]) -> Packet {
    Packet {
        header: Header {
            src_cid: from,
            dst_cid: to,
            src_port: port,
            dst_port: 9998,
            len: payload.len() as u32,
            kind: STREAM,
            operation,
            flags: 0,
            buf_alloc: 262_144,
            fwd_cnt: 77,
        },
        payload: payload.to_vec(),
    }
}

fn counters(switch: &Switch<Lists>, cid: u64) -> &Counters {
    let guest = switch.guests.iter().find(|guest| guest.cid == cid);
    &guest
        .unwrap_or_else(|| unreachable!("guest {cid}"))
        .counters
}

#[test]
fn packets_come_as_they_were_sent_and_in_order() {
    let (mut switch, three, four) = pair();
    let sent = [
        packet(3, 4, 1025, Operation::REQUEST, b""),
        packet(3, 4, 1025, Operation::PAYLOAD, b"abc"),
        packet(3, 4, 1026, Operation(99), b"of no known kind"),
        packet(3, 4, 1025, Operation::CREDIT_UPDATE, b""),
    ];
    for one in &sent {
        three.sends(one.clone());
    }
    four.sends(packet(4, 3, 1027, Operation::REQUEST, b""));
    settle(&mut switch);
    assert_eq!(four.packets(), sent);
    assert_eq!(three.received(), [(Operation::REQUEST, 1027, 0)]);
    let told = counters(&switch, 3);
    assert_eq!((told.delivered, told.bytes, told.refused), (4, 19, 0));
}

#[test]
fn what_stands_behind_the_payload_does_not_come() {
    let (mut switch, three, four) = pair();
    let mut long = packet(3, 4, 1025, Operation::PAYLOAD, b"abcdef");
    long.header.len = 3;
    three.sends(long);
    settle(&mut switch);
    assert_eq!(
        four.packets(),
        [packet(3, 4, 1025, Operation::PAYLOAD, b"abc")]
    );
}

#[test]
fn a_lie_about_the_source_is_dropped() {
    let (mut switch, three, four) = pair();
    for cid in [4, 2, 3 | (1 << 32)] {
        three.sends(packet(cid, 4, 1025, Operation::REQUEST, b""));
    }
    settle(&mut switch);
    assert_eq!((four.received(), three.received()), (vec![], vec![]));
    assert_eq!(counters(&switch, 3).lies, 3);
}

#[test]
fn what_is_no_packet_is_dropped() {
    let (mut switch, three, four) = pair();
    let mut short = packet(3, 4, 1025, Operation::PAYLOAD, b"abc");
    short.header.len = 4;
    three.sends(short);
    three
        .transmit
        .borrow_mut()
        .extend([vec![1; 43], Vec::new()]);
    three.sends(packet(3, 4, 1025, Operation::REQUEST, b""));
    settle(&mut switch);
    assert_eq!(counters(&switch, 3).malformed, 3);
    assert_eq!(four.received(), [(Operation::REQUEST, 1025, 0)]);
}

#[test]
fn a_packet_to_nobody_is_answered_with_a_reset() {
    let (mut switch, three, _four) = pair();
    // The host, a number of nobody's, the guest itself, and one with a reserved half.
    for cid in [2, 77, 3, 4 | (1 << 32)] {
        three.sends(packet(3, cid, 1025, Operation::REQUEST, b""));
        three.sends(packet(3, cid, 1025, Operation::RESET, b""));
    }
    settle(&mut switch);
    let answers: Vec<_> = three
        .packets()
        .into_iter()
        .map(|Packet { header, .. }| (header.operation, header.src_cid, header.dst_port))
        .collect();
    let expected = [2, 77, 3, 4 | (1 << 32)].map(|cid| (Operation::RESET, cid, 1025));
    assert_eq!(answers, expected);
    assert_eq!(counters(&switch, 3).refused, 8);
}

#[test]
fn so_is_one_to_a_guest_that_is_not_there() {
    let mut switch = Switch::new([3, 4].into_iter());
    let (three, four) = (guest(), guest());
    three.has(8, 4096);
    switch.came(3, Arc::clone(&three));
    let mut asks = || {
        three.sends(packet(3, 4, 1025, Operation::REQUEST, b""));
        settle(&mut switch);
        three.received()
    };
    let reset = [(Operation::RESET, 9998, 0)];
    assert_eq!(asks(), reset);
    // It has come, and no driver uses it.
    four.driver.set(None);
    switch.came(4, Arc::clone(&four));
    let mut asks = || {
        three.sends(packet(3, 4, 1025, Operation::REQUEST, b""));
        settle(&mut switch);
        three.received()
    };
    assert_eq!(asks(), reset);
    four.driver.set(Some(Generation(1)));
    four.has(1, 4096);
    assert_eq!(asks(), []);
    assert_eq!(four.received(), [(Operation::REQUEST, 1025, 0)]);
}

#[test]
fn who_sends_to_nobody_and_does_not_receive_is_held_up() {
    let mut switch = Switch::new([3].into_iter());
    let three = guest();
    switch.came(3, Arc::clone(&three));
    for port in 0..1000 {
        three.sends(packet(3, 77, port, Operation::REQUEST, b""));
    }
    settle(&mut switch);
    assert_eq!(three.unsent(), 1000 - REFUSALS);
    three.has(1000, 44);
    while switch.turn() {}
    let ports: Vec<_> = three
        .packets()
        .iter()
        .map(|reset| reset.header.dst_port)
        .collect();
    assert_eq!(ports, (0..1000).collect::<Vec<_>>());
}

#[test]
fn without_a_buffer_nothing_more_is_taken_and_the_other_direction_goes_on() {
    let (mut switch, three, four) = pair();
    four.buffers.borrow_mut().clear();
    for port in 0..5 {
        three.sends(packet(3, 4, port, Operation::REQUEST, b""));
    }
    for port in 0..5 {
        four.sends(packet(4, 3, port, Operation::RESPONSE, b""));
    }
    settle(&mut switch);
    assert_eq!(three.unsent(), 4);
    assert_eq!(three.received().len(), 5);
    four.has(3, 100);
    settle(&mut switch);
    assert_eq!(three.unsent(), 1);
    four.has(3, 100);
    settle(&mut switch);
    let ports: Vec<_> = four.received().iter().map(|(_, port, _)| *port).collect();
    assert_eq!(ports, [0, 1, 2, 3, 4]);
    assert_eq!(counters(&switch, 3).waits, 2);
}

#[test]
fn a_guest_that_does_not_receive_holds_up_no_third_one() {
    let mut switch = Switch::new([3, 4, 5].into_iter());
    let guests = [3, 4, 5].map(|cid| (cid, guest()));
    for (cid, guest) in &guests {
        switch.came(*cid, Arc::clone(guest));
    }
    let [(_, three), (_, four), (_, five)] = &guests;
    three.sends(packet(3, 4, 1, Operation::REQUEST, b""));
    five.sends(packet(5, 3, 2, Operation::REQUEST, b""));
    three.has(1, 100);
    settle(&mut switch);
    assert_eq!(three.received(), [(Operation::REQUEST, 2, 0)]);
    four.has(1, 100);
    settle(&mut switch);
    assert_eq!(four.received(), [(Operation::REQUEST, 1, 0)]);
}

#[test]
fn a_long_packet_comes_in_parts_with_nothing_between_them() {
    let (mut switch, three, four) = pair();
    four.buffers.borrow_mut().clear();
    let mut message = packet(3, 4, 1025, Operation::PAYLOAD, &[7; 250]);
    message.header.kind = SEQPACKET;
    message.header.flags = END_OF_MESSAGE;
    three.sends(message);
    three.sends(packet(3, 4, 1026, Operation::REQUEST, b""));
    four.has(2, 144);
    settle(&mut switch);
    // Buffers without room are given back.
    four.has(1, 20);
    four.has(2, 144);
    settle(&mut switch);
    let told: Vec<_> = four
        .packets()
        .iter()
        .map(|part| (part.header.src_port, part.header.len, part.header.flags))
        .collect();
    assert_eq!(
        told,
        [(1025, 100, 0), (1025, 100, 0), (1025, 50, 1), (1026, 0, 0)]
    );
    assert_eq!(counters(&switch, 3).parts, 2);
    assert_eq!(counters(&switch, 4).small_buffers, 1);
}

#[test]
fn connections_end_with_the_guest_or_its_driver() {
    let (mut switch, three, four) = pair();
    let request = |port| packet(3, 4, port, Operation::REQUEST, b"");
    for port in 1..=3 {
        three.sends(request(port));
    }
    // This one is over before.
    three.sends(packet(3, 4, 2, Operation::RESET, b""));
    settle(&mut switch);
    // Another driver has begun, and nobody has looked in between.
    four.driver.set(Some(Generation(2)));
    settle(&mut switch);
    let resets = |guest: &Lists| -> Vec<_> {
        let told = |Packet { header, .. }: Packet| {
            (
                header.operation,
                header.src_cid,
                header.src_port,
                header.dst_port,
            )
        };
        guest.packets().into_iter().map(told).collect()
    };
    assert_eq!(
        resets(&three),
        [
            (Operation::RESET, 4, 9998, 1),
            (Operation::RESET, 4, 9998, 3)
        ]
    );
    assert_eq!(counters(&switch, 4).ended, 2);
    // What comes later is the new driver's to judge.
    three.sends(packet(3, 4, 1, Operation::PAYLOAD, b"x"));
    four.received();
    settle(&mut switch);
    assert_eq!(four.received(), [(Operation::PAYLOAD, 1, 1)]);
    // And now the whole machine goes.
    three.sends(request(5));
    settle(&mut switch);
    switch.gone(4);
    settle(&mut switch);
    assert_eq!(resets(&three), [(Operation::RESET, 4, 9998, 5)]);
}

#[test]
fn what_waits_for_a_guest_that_goes_is_refused() {
    let (mut switch, three, four) = pair();
    three.sends(packet(3, 4, 1, Operation::REQUEST, b""));
    settle(&mut switch);
    four.buffers.borrow_mut().clear();
    three.sends(packet(3, 4, 1, Operation::PAYLOAD, b"x"));
    three.sends(packet(3, 4, 2, Operation::REQUEST, b""));
    settle(&mut switch);
    assert_eq!(three.unsent(), 1);
    four.driver.set(None);
    settle(&mut switch);
    let ports: Vec<_> = three
        .packets()
        .iter()
        .map(|reset| reset.header.dst_port)
        .collect();
    // Each is told once.
    assert_eq!(ports, [1, 2]);
}

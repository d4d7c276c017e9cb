// SPDX-License-Identifier: GPL-2.0

//! What is sent next.

use std::collections::VecDeque;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rvsock_packet::{Header, Operation, Packet, HEADER_LEN, HOST_CID, SEQPACKET, STREAM};

use crate::live::{BOTH, BUFFER, ECHO_PORT};
use crate::rings::{EVENT, RECEIVE, TRANSMIT};
use crate::scenario::{pattern, Manner};

use super::book::Book;
use super::mutate::{mutate, spoil, Shot, LARGEST, LENGTHS};
use super::places::{
    Place, CONNECTED_PORT, CONNECTORS, CONNECTOR_PORT, HOST_PORT, HOST_PORTS, LIVE, PLACES,
};
use super::verdict::{disturbs_services, verdict, Verdict};
use super::{Kind, Move, Order};

/// So many connections are there at a time.
const CONNECTIONS: usize = 32;

/// So many of the last packets may be sent once more.
const RECENT: usize = 64;

/// How many packets a run that violates a ring has before that, and the most behind it.
const BEFORE_VIOLATION: std::ops::Range<u32> = 50..400;
const AFTER_VIOLATION: u32 = 50;

/// CIDs that the guest may be told of with a transport reset; some that it cannot have, beside.
const CIDS: [u64; 8] = [
    3,
    77,
    0x7fff_ffff,
    0xffff_fffe,
    2,
    0,
    0xffff_ffff,
    0x1_0000_0003,
];

/// What a turn does, and how often out of all of them.
type Turn = fn(&mut Generator);
const TURNS: [(u32, Turn); 14] = [
    (600, Generator::fitting),
    (130, Generator::mutated),
    (30, Generator::overrun),
    (8, Generator::empty_messages),
    (30, Generator::second_answer),
    (40, Generator::to_a_connector),
    (20, Generator::to_a_listener),
    (15, Generator::to_nobody),
    (50, Generator::beside_the_services),
    (20, Generator::noise),
    (20, Generator::once_more),
    (15, Generator::event),
    (3, Generator::hold),
    (5, Generator::interrupt),
];

/// The moves of a run, in their order.
#[derive(Debug)]
pub struct Generator {
    dice: ChaCha8Rng,
    kind: Kind,
    /// Packets that are still to be sent.
    left: u32,
    /// The guest's CID.
    guest: u64,
    book: Book,
    opened: u32,
    /// The rest of a turn.
    coming: VecDeque<Move>,
    recent: VecDeque<Shot>,
    violated: bool,
}

impl Generator {
    /// The moves that an order asks for, against a guest with this CID.
    pub fn new(order: &Order, guest: u64) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(order.seed);
        let kind = order.kind();
        Generator {
            left: match kind {
                Kind::Rings => dice.random_range(BEFORE_VIOLATION),
                Kind::Packets | Kind::Resets => order.packets,
            },
            dice,
            kind,
            guest,
            book: Book::default(),
            opened: 0,
            coming: VecDeque::new(),
            recent: VecDeque::new(),
            violated: false,
        }
    }

    /// The guest's CID by what was sent so far.
    pub fn guest(&self) -> u64 {
        self.guest
    }

    fn turn(&mut self) {
        if self.kind == Kind::Resets && self.dice.random_ratio(1, 600) {
            self.transport_reset();
            return;
        }
        let all = TURNS.iter().map(|(weight, _)| weight).sum();
        let mut at = self.dice.random_range(0..all);
        for (weight, turn) in TURNS {
            if at < weight {
                return turn(self);
            }
            at -= weight;
        }
    }

    /// Sends a packet, unless it would disturb a connection that is to go on.
    fn send(&mut self, mut shot: Shot) {
        if disturbs_services(&shot.packet.header, shot.used(), self.guest) {
            shot.packet.header.src_port = HOST_PORT - 1;
        }
        if verdict(&shot.packet.header, shot.used(), self.guest) == Verdict::Valid {
            let left = self.dice.random_range(4..60);
            self.book.note(&shot.packet.header, left);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(shot.clone());
        self.coming.push_back(Move::Packet {
            packet: shot.packet,
            written: shot.written,
            manner: shot.manner,
        });
    }

    /// A header between a port of the host and one of the guest.
    fn header(&mut self, ports: (u32, u32), kind: u16, operation: Operation) -> Header {
        let buf_alloc = match self.dice.random_range(0..20) {
            0 => 0,
            1 => 1,
            2 => u32::MAX,
            3 => self.dice.random(),
            _ => BUFFER,
        };
        Header {
            src_cid: HOST_CID,
            dst_cid: self.guest,
            src_port: ports.0,
            dst_port: ports.1,
            len: 0,
            kind,
            operation,
            flags: if operation == Operation::PAYLOAD && kind == SEQPACKET {
                self.dice.random_range(0..4)
            } else {
                0
            },
            buf_alloc,
            fwd_cnt: 0,
        }
    }

    /// A packet of a connection that is there, with so much payload.
    fn packet(&mut self, index: usize, operation: Operation, len: u32) -> Option<Shot> {
        let one = self.book.get(index)?;
        let (place, host_port, sent, taken) = (one.place, one.host_port, one.sent, one.taken);
        let mut header = self.header((host_port, place.port), place.kind, operation);
        // What is never sent there cannot be taken.
        let taken = self.dice.random_range(taken.min(place.sends)..=place.sends);
        if let Some(one) = self.book.get_mut(index) {
            one.taken = taken;
        }
        header.fwd_cnt = taken;
        header.len = len;
        let payload = (0..len).map(|at| pattern(sent.wrapping_add(at))).collect();
        Some(Shot::new(Packet { header, payload }, &mut self.dice))
    }

    /// A request to a place, from a port that was not used for long.
    fn request(&mut self, place: &Place) -> Shot {
        let host_port = HOST_PORT + self.opened % HOST_PORTS;
        self.opened += 1;
        let header = self.header((host_port, place.port), place.kind, Operation::REQUEST);
        Shot::new(
            Packet {
                header,
                payload: Vec::new(),
            },
            &mut self.dice,
        )
    }

    fn place(&mut self) -> &'static Place {
        PLACES.choose(&mut self.dice).unwrap_or(&PLACES[0])
    }

    /// One of the connections, if there is any.
    fn connection(&mut self) -> Option<usize> {
        let count = self.book.len();
        (count > 0).then(|| self.dice.random_range(0..count))
    }

    /// How much payload the next packet of a connection has, within its credit.
    fn length(&mut self, index: usize) -> u32 {
        let room = self.book.get(index).map_or(0, |one| one.room());
        let wanted = if self.dice.random() {
            *LENGTHS.choose(&mut self.dice).unwrap_or(&1)
        } else {
            self.dice.random_range(1..2000)
        };
        wanted.min(room)
    }

    /// A packet that fits a connection, from its request to its end.
    fn fit(&mut self) -> Option<Shot> {
        if self.book.len() < CONNECTIONS && (self.book.len() < 4 || self.dice.random_ratio(1, 8)) {
            let place = self.place();
            return Some(self.request(place));
        }
        let index = self.connection()?;
        let one = self.book.get_mut(index)?;
        one.left = one.left.saturating_sub(1);
        let (last, may_send) = (one.left == 0, one.may_send());
        if last {
            let operation = if self.dice.random() {
                Operation::RESET
            } else {
                Operation::SHUTDOWN
            };
            let mut shot = self.packet(index, operation, 0)?;
            shot.packet.header.flags = BOTH;
            return Some(shot);
        }
        match self.dice.random_range(0..100) {
            0..60 if may_send => {
                let len = self.length(index);
                self.packet(index, Operation::PAYLOAD, len)
            }
            0..80 => self.packet(index, Operation::CREDIT_UPDATE, 0),
            80..95 => self.packet(index, Operation::CREDIT_REQUEST, 0),
            _ => {
                let flags = self.dice.random_range(0..3);
                let mut shot = self.packet(index, Operation::SHUTDOWN, 0)?;
                shot.packet.header.flags = flags;
                Some(shot)
            }
        }
    }

    fn fitting(&mut self) {
        if let Some(shot) = self.fit() {
            self.send(shot);
        }
    }

    fn mutated(&mut self) {
        if let Some(mut shot) = self.fit() {
            mutate(&mut shot, &mut self.dice);
            self.send(shot);
        }
    }

    /// Fills the buffer of a connection whose guest does not read, to the last byte or beyond.
    fn overrun(&mut self) {
        let Some(index) = self.sleeping(|place| place.buffer <= LARGEST as u32) else {
            return;
        };
        let room = self.book.get(index).map_or(0, |one| one.room());
        let len = match self.dice.random_range(0..4) {
            0 => room.saturating_sub(1),
            1 => room,
            2 => room + 1,
            _ => self.dice.random_range(room..=LARGEST as u32),
        };
        if let Some(shot) = self.packet(index, Operation::PAYLOAD, len) {
            self.send(shot);
        }
    }

    /// Ends of messages without payload, as many as are taken or more.
    fn empty_messages(&mut self) {
        let Some(index) = self.sleeping(|place| place.kind == SEQPACKET && place.buffer < 1024)
        else {
            return;
        };
        let Some(one) = self.book.get(index) else {
            return;
        };
        let (port, host_port) = (one.place.port, one.host_port);
        let room = one.place.empty_limit().saturating_sub(one.empty);
        let count = match self.dice.random_range(0..3) {
            0 => room,
            1 => room + 1,
            _ => self.dice.random_range(0..=2 * room),
        };
        for _ in 0..count {
            let header = Header {
                flags: 1,
                ..self.header((host_port, port), SEQPACKET, Operation::PAYLOAD)
            };
            let packet = Packet {
                header,
                payload: Vec::new(),
            };
            let shot = Shot::new(packet, &mut self.dice);
            self.send(shot);
        }
    }

    /// A connection at a place where nothing is read.
    fn sleeping(&mut self, fits: impl Fn(&Place) -> bool) -> Option<usize> {
        let at = |index: &usize| {
            let one = self.book.get(*index);
            one.is_some_and(|one| fits(one.place) && one.may_send())
        };
        let all: Vec<usize> = (0..self.book.len()).filter(at).collect();
        all.choose(&mut self.dice).copied()
    }

    /// What only a connection that begins should be sent.
    fn second_answer(&mut self) {
        let operation = if self.dice.random() {
            Operation::REQUEST
        } else {
            Operation::RESPONSE
        };
        if let Some(shot) = self
            .connection()
            .and_then(|index| self.packet(index, operation, 0))
        {
            self.send(shot);
        }
    }

    /// Whatever may come for a port that the guest connects from.
    fn to_a_connector(&mut self) {
        let number = self.dice.random_range(0..CONNECTORS);
        let kind = if number % 2 == 0 { STREAM } else { SEQPACKET };
        // More often than not an answer, so that there is a connection.
        let operations = [2, 2, 2, 5, 5, 6, 7, 4, 3, 3, 1];
        let operation = Operation(*operations.choose(&mut self.dice).unwrap_or(&2));
        let ports = (CONNECTED_PORT + number, CONNECTOR_PORT + number);
        let mut header = self.header(ports, kind, operation);
        let mut payload = Vec::new();
        if operation == Operation::PAYLOAD {
            payload.resize(self.dice.random_range(0..200), 0x11);
            header.len = payload.len() as u32;
        }
        if operation == Operation::SHUTDOWN {
            header.flags = self.dice.random_range(0..4);
        }
        let mut shot = Shot::new(Packet { header, payload }, &mut self.dice);
        if self.dice.random_ratio(1, 8) {
            mutate(&mut shot, &mut self.dice);
        }
        self.send(shot);
    }

    /// What is not a request, or one of another type, for a port that is listened on.
    fn to_a_listener(&mut self) {
        let place = self.place();
        let mut shot = self.request(place);
        if self.dice.random_ratio(1, 4) {
            shot.packet.header.kind = STREAM + SEQPACKET - place.kind;
        } else {
            shot.packet.header.operation = Operation(self.dice.random_range(2..8));
            shot.packet.header.flags = self.dice.random_range(0..4);
        }
        self.send(shot);
    }

    /// Any operation for a port where there is nothing.
    fn to_nobody(&mut self) {
        let place = self.place();
        let mut shot = self.request(place);
        shot.packet.header.dst_port = self.dice.random_range(30000..40000);
        shot.packet.header.operation = Operation(self.dice.random_range(1..8));
        self.send(shot);
    }

    /// What differs from a packet of a connection that must go on so that it must not reach it.
    fn beside_the_services(&mut self) {
        let (port, kind) = *LIVE.choose(&mut self.dice).unwrap_or(&LIVE[0]);
        let operation = Operation(self.dice.random_range(1..8));
        let mut header = self.header((ECHO_PORT, port), kind, operation);
        let mut payload = Vec::new();
        if operation == Operation::PAYLOAD {
            payload.resize(self.dice.random_range(1..600), 0x77);
            header.len = payload.len() as u32;
        }
        let mut shot = Shot::new(Packet { header, payload }, &mut self.dice);
        spoil(&mut shot, &mut self.dice);
        self.send(shot);
    }

    /// Bytes that mean nothing, as many as there may be.
    fn noise(&mut self) {
        let mut bytes = [0; HEADER_LEN];
        self.dice.fill(&mut bytes);
        let Some(mut header) = Header::decode(&bytes) else {
            return;
        };
        if self.dice.random() {
            (header.src_cid, header.dst_cid) = (HOST_CID, self.guest);
            header.kind = self.dice.random_range(0..4);
            header.operation = Operation(self.dice.random_range(0..10));
        }
        let payload = vec![0xee; self.dice.random_range(0..300)];
        let mut shot = Shot::new(Packet { header, payload }, &mut self.dice);
        shot.written = self.dice.random_range(0..=shot.written);
        self.send(shot);
    }

    /// A packet that was sent before.
    fn once_more(&mut self) {
        let count = self.recent.len();
        if count > 0 {
            let index = self.dice.random_range(0..count);
            if let Some(shot) = self.recent.get(index).cloned() {
                self.send(shot);
            }
        }
    }

    /// An event that there is not, or one that is cut short.
    fn event(&mut self) {
        let (number, used) = if self.dice.random() {
            // A transport reset, but for its length.
            let used = [0, 1, 2, 3, 5, 8, 44, u32::MAX];
            (0, Some(*used.choose(&mut self.dice).unwrap_or(&0)))
        } else {
            let number = [1, 2, 0x100, 1 << 31, u32::MAX];
            (*number.choose(&mut self.dice).unwrap_or(&1), None)
        };
        let manner = Manner {
            used,
            ..Manner::default()
        };
        self.coming.push_back(Move::Event { number, manner });
    }

    fn hold(&mut self) {
        let packets = self.dice.random_range(10..300);
        self.coming.push_back(Move::HoldTransmission(packets));
    }

    fn interrupt(&mut self) {
        let queue = [RECEIVE, TRANSMIT, EVENT];
        let queue = *queue.choose(&mut self.dice).unwrap_or(&RECEIVE);
        self.coming.push_back(Move::Interrupt(queue));
    }

    fn transport_reset(&mut self) {
        let mut cid = self.guest;
        if self.dice.random() {
            cid = *CIDS.choose(&mut self.dice).unwrap_or(&self.guest);
        }
        if (3..0xffff_ffff).contains(&cid) {
            self.guest = cid;
        }
        self.book.clear();
        self.coming.push_back(Move::TransportReset { cid });
    }

    fn violation(&mut self) {
        let queue = *[RECEIVE, RECEIVE, TRANSMIT, EVENT]
            .choose(&mut self.dice)
            .unwrap_or(&RECEIVE);
        let mut manner = Manner::default();
        match self.dice.random_range(0..5) {
            0 => {
                let id = [128, 129, 0x7fff, 0xffff, 0x1_0000, u32::MAX];
                manner.id = id.choose(&mut self.dice).copied();
            }
            1 => manner.id = Some(self.dice.random_range(0..128)),
            2 => manner.twice = true,
            3 => {
                let ahead = [1, 2, 63, 127, 128, 129, 0x7fff, 0x8000, 0xffff];
                manner.ahead = *ahead.choose(&mut self.dice).unwrap_or(&1);
            }
            _ => {
                manner.id = Some(self.dice.random());
                manner.ahead = self.dice.random();
                manner.used = Some(self.dice.random());
            }
        }
        self.coming.push_back(Move::Violation { queue, manner });
    }
}

impl Iterator for Generator {
    type Item = Move;

    fn next(&mut self) -> Option<Move> {
        while self.coming.is_empty() && self.left > 0 {
            self.turn();
        }
        if self.left == 0 {
            if self.kind != Kind::Rings || self.violated {
                return None;
            }
            self.violated = true;
            self.coming.clear();
            self.left = AFTER_VIOLATION;
            self.violation();
        }
        let next = self.coming.pop_front()?;
        if matches!(next, Move::Packet { .. }) {
            self.left -= 1;
        }
        Some(next)
    }
}

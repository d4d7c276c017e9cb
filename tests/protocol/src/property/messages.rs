// SPDX-License-Identifier: GPL-2.0

//! Messages between two ends: none is refused, none is mixed up, and a sender that waits for room
//! gets it once the other end has read what there is.

use std::collections::VecDeque;

use proptest::prelude::*;

use crate::model::world::FLOW;
use crate::protocol::connection::{Connection, Payload, Phase, Room};
use crate::protocol::credit::empty_limit;
use crate::protocol::deferred::Deferred;
use crate::protocol::message::Frame;
use crate::protocol::packet::{Control, Header, MessageEnd, SocketType};

/// One step. What makes no sense at the moment does nothing.
#[derive(Clone, Debug)]
enum Event {
    /// A message of that length, in packets of up to so many bytes, if there is room.
    Send(u32, u32, bool),
    /// As much of such a message as the credit lets pass, as some peers do it.
    SendPart(u32, u32),
    /// The oldest packet under way arrives.
    Deliver,
    /// The oldest answer under way arrives.
    Answer,
    /// The reader takes a message.
    Read,
    /// The sender asks for credit.
    Ask,
    /// The reader's socket is owned by a task, so that packets are put aside.
    Own,
    /// And no longer.
    Disown,
    /// The reader's buffer gets another size.
    Resize(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let len = || prop_oneof![3 => Just(0_u32), 6 => 1_u32..40, 3 => 1_u32..400];
    prop_oneof![
        8 => (len(), 1_u32..100, any::<bool>())
            .prop_map(|(len, piece, record)| Event::Send(len, piece, record)),
        3 => (len(), 1_u32..100).prop_map(|(len, piece)| Event::SendPart(len, piece)),
        12 => Just(Event::Deliver),
        8 => Just(Event::Answer),
        6 => Just(Event::Read),
        1 => Just(Event::Ask),
        1 => Just(Event::Own),
        2 => Just(Event::Disown),
        1 => (8_u32..400).prop_map(Event::Resize),
    ]
}

/// A message as it was sent, or as it has arrived so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Message {
    len: u32,
    record: bool,
    /// Ends that came without payload, for the reader's account.
    empty_ends: u32,
}

/// A sender, a reader, and what is under way between them.
struct World {
    /// Whether the sender sees how many empty messages were read, as on one machine.
    local: bool,
    sender: Connection,
    reader: Connection,
    packets: VecDeque<Header>,
    answers: VecDeque<Header>,
    /// Messages that were sent whole and not read yet.
    sent: VecDeque<Message>,
    /// What is left of a message that a peer sends in parts.
    part: Option<(u32, u32)>,
    /// Length of the part that has gone out.
    part_sent: u32,
    /// Messages that can be read.
    queue: VecDeque<Message>,
    /// What has arrived of the next one.
    partial: Message,
    owned: bool,
    deferred: Deferred,
    backlog: Vec<Header>,
    largest: u32,
}

impl World {
    fn new(local: bool, sender: u32, reader: u32) -> World {
        let kind = SocketType::Seqpacket;
        let mut active = Connection::connect(FLOW, kind, sender);
        let request = active.control(Control::Request).to_receiver();
        let mut passive = Connection::accept(&request, reader);
        let response = passive.control(Control::Response).to_receiver();
        assert_eq!(active.packet(&response).reply, None);
        World {
            local,
            sender: active,
            reader: passive,
            packets: VecDeque::new(),
            answers: VecDeque::new(),
            sent: VecDeque::new(),
            part: None,
            part_sent: 0,
            queue: VecDeque::new(),
            partial: Message::default(),
            owned: false,
            deferred: Deferred::default(),
            backlog: Vec::new(),
            largest: reader,
        }
    }

    fn look(&mut self) {
        if self.local {
            self.sender.peer_took_empty(self.reader.empty_forwarded());
        }
    }

    /// Sends one packet, within the room that was found.
    fn packet(&mut self, len: u32, end: Option<MessageEnd>) {
        let header = self.sender.message(len, end).expect("there is room");
        assert_eq!(header.len, len);
        assert_eq!(header.message_end(), end);
        // What is not a field of the wire comes out the same at the other end.
        let parsed = Header::parse(&header.encode(), 44 + len as usize).expect("valid");
        assert_eq!(parsed.empty_ends, header.empty_ends);
        self.packets.push_back(parsed);
    }

    fn send(&mut self, len: u32, piece: u32, record: bool) -> bool {
        self.look();
        let room = self.sender.room_for_message(len as usize);
        // A peer that cannot see the limit keeps to it by luck.
        let empty = self
            .packets
            .iter()
            .chain(&self.backlog)
            .filter(|packet| packet.len == 0);
        let known = empty.count() as u32 + self.reader.receive_credit().empty_queued();
        if self.part.is_some() || room != Room::Now || (len == 0 && known >= empty_limit(8)) {
            return false;
        }
        let end = Some(MessageEnd { record });
        let mut left = len;
        while left > piece {
            self.packet(piece, None);
            left -= piece;
        }
        self.packet(left, end);
        self.sent.push_back(Message {
            len,
            record,
            empty_ends: u32::from(left == 0),
        });
        true
    }

    /// Goes on with a message in parts.
    fn send_part(&mut self, len: u32, piece: u32) {
        self.look();
        let (len, piece) = self.part.unwrap_or((len, piece));
        if self.part.is_none() {
            let room = self.sender.room_for_message(len as usize);
            if len == 0 || room == Room::Never {
                return;
            }
            self.part_sent = 0;
        }
        let mut left = len;
        while left > 0 {
            let now = left.min(piece).min(self.sender.sendable());
            if now == 0 {
                self.part = Some((left, piece));
                return;
            }
            left -= now;
            self.part_sent += now;
            self.packet(now, (left == 0).then_some(MessageEnd { record: false }));
        }
        self.part = None;
        self.sent.push_back(Message {
            len: self.part_sent,
            ..Message::default()
        });
    }

    fn answer(&mut self, control: Control) {
        let header = self.reader.control(control).to_receiver();
        self.answers.push_back(header);
    }

    /// What the reader does with payload that it keeps.
    fn keep(&mut self, header: &Header) {
        self.partial.len += header.len;
        self.partial.empty_ends += header.empty_ends;
        if let Some(MessageEnd { record }) = header.message_end() {
            self.partial.record = record;
            self.queue.push_back(std::mem::take(&mut self.partial));
        }
    }

    fn tell_of_space(&mut self) {
        if self.reader.space_for_messages(self.queue.is_empty()) {
            self.answer(Control::CreditUpdate);
        }
    }

    fn arrive(&mut self, header: &Header, kept: Vec<Header>) {
        let disposition = self.reader.packet(header);
        match disposition.payload {
            Payload::Deliver => {
                for packet in kept {
                    self.keep(&packet);
                }
                self.tell_of_space();
            }
            Payload::Nothing => {}
            Payload::Drop(reason) => panic!("{reason:?} of a peer that keeps the rules"),
        }
        if let Some(control) = disposition.reply {
            self.answer(control);
        }
    }

    fn deliver(&mut self) {
        let Some(header) = self.packets.pop_front() else {
            return;
        };
        if self.owned {
            match self.deferred.put(&header, self.largest) {
                Payload::Deliver => self.backlog.push(header),
                Payload::Nothing => {}
                Payload::Drop(reason) => panic!("{reason:?} while the socket is owned"),
            }
        } else {
            self.arrive(&header, vec![header]);
        }
    }

    fn disown(&mut self) {
        self.owned = false;
        let deferred: Vec<Header> = self.deferred.take().collect();
        for header in deferred {
            let kept = std::mem::take(&mut self.backlog);
            self.arrive(&header, kept);
        }
        assert!(self.backlog.is_empty());
    }

    fn read(&mut self) -> bool {
        let Some(message) = self.queue.pop_front() else {
            return false;
        };
        assert_eq!(Some(message), self.sent.pop_front(), "in order, each whole");
        self.reader.read_message(message.len, message.empty_ends);
        self.tell_of_space();
        true
    }

    fn ask(&mut self) {
        let header = self.sender.control(Control::CreditRequest).to_receiver();
        self.packets.push_back(header);
    }

    fn hear(&mut self) {
        if let Some(answer) = self.answers.pop_front() {
            self.look();
            let _ = self.sender.packet(&answer);
        }
    }

    /// Lets everything arrive and be read.
    fn settle(&mut self) {
        loop {
            self.disown();
            while !self.packets.is_empty() {
                self.deliver();
            }
            while self.read() {}
            if self.answers.is_empty() {
                return;
            }
            while !self.answers.is_empty() {
                self.hear();
            }
        }
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::Send(len, piece, record) => {
                self.send(len, piece, record);
            }
            Event::SendPart(len, piece) => self.send_part(len, piece),
            Event::Deliver => self.deliver(),
            Event::Answer => self.hear(),
            Event::Read => {
                self.read();
            }
            Event::Ask => self.ask(),
            Event::Own => self.owned = true,
            Event::Disown => self.disown(),
            Event::Resize(size) => {
                self.largest = self.largest.max(size);
                if self.reader.resize(size) {
                    self.answer(Control::CreditUpdate);
                }
            }
        }
        assert_eq!(self.reader.phase(), Phase::Established);
        let queued: u32 = self.queue.iter().map(|message| message.len).sum();
        assert_eq!(
            self.reader.receive_credit().queued(),
            queued + self.partial.len
        );
        let empty: u32 = self.queue.iter().map(|message| message.empty_ends).sum();
        assert_eq!(self.reader.receive_credit().empty_queued(), empty);
    }
}

proptest! {
    #![proptest_config(super::config(20_000))]

    /// A sender that waits for room for a message gets it when all before it was read, having asked
    /// once; one that sends in parts gets it without asking.
    #[test]
    fn messages_arrive_whole_and_room_comes_back(
        local in any::<bool>(),
        sender in 8_u32..300,
        reader in 8_u32..300,
        events in prop::collection::vec(event(), 0..60),
        len in 0_u32..300,
    ) {
        let mut world = World::new(local, sender, reader);
        for event in &events {
            world.step(event);
        }
        // A message that is sent in parts is finished without another word.
        while let Some((left, _)) = world.part {
            world.settle();
            if world.part_sent + left > world.sender.window() {
                // The buffer became smaller meanwhile, and the message can never be whole.
                return Ok(());
            }
            let before = world.part_sent;
            world.send_part(0, 0);
            prop_assert!(world.part_sent > before, "a part goes on");
        }
        // Another is waited for, by one who asks before what is there is read.
        let len = len.min(world.sender.window());
        world.disown();
        while !world.packets.is_empty() {
            world.deliver();
        }
        // What it has not heard yet may take the room away again: then it asks then.
        for _ in 0..2 {
            world.look();
            let room = world.sender.room_for_message(len as usize);
            let waits = room == Room::Later;
            if waits {
                world.ask();
            }
            world.settle();
            world.look();
            let room = world.sender.room_for_message(len as usize);
            prop_assert!(!waits || room != Room::Later);
        }
        let room = world.sender.room_for_message(len as usize);
        prop_assert_ne!(room, Room::Later);
        prop_assert!(world.sent.is_empty() && world.queue.is_empty());
        prop_assert_eq!(world.reader.receive_credit().queued(), 0);
    }

    /// Empty messages: a sender on this machine is held back at the limit, and goes on when some
    /// were read; it is never refused.
    #[test]
    fn empty_messages_are_limited(
        size in 1_u32..300,
        reads in prop::collection::vec(0_u32..40, 1..20),
        owned in any::<bool>(),
    ) {
        let mut world = World::new(true, size, size);
        let limit = empty_limit(size);
        for reads in reads {
            world.look();
            while world.sender.room_for_message(0) == Room::Now {
                world.packet(0, Some(MessageEnd { record: false }));
                world.sent.push_back(Message { empty_ends: 1, ..Message::default() });
            }
            prop_assert_eq!(world.sender.sendable(), 0);
            world.owned = owned;
            while !world.packets.is_empty() {
                world.deliver();
            }
            world.disown();
            prop_assert_eq!(world.queue.len() as u32, limit);
            for _ in 0..reads {
                world.read();
            }
            let told = !world.answers.is_empty();
            while !world.answers.is_empty() {
                world.hear();
            }
            // Whoever sleeps is told before too many were read.
            prop_assert!(told || reads < (limit / 4).max(1));
        }
    }

    /// A peer that cannot see the limit is refused beyond it.
    #[test]
    fn too_many_empty_messages_are_refused(size in 1_u32..300, owned in any::<bool>()) {
        use crate::protocol::reason::DropReason;
        let mut world = World::new(false, size, size);
        let limit = empty_limit(size);
        for _ in 0..limit {
            world.packet(0, Some(MessageEnd { record: false }));
        }
        world.owned = owned;
        while !world.packets.is_empty() {
            world.deliver();
        }
        world.packet(0, Some(MessageEnd { record: false }));
        let header = world.packets.pop_front().expect("just sent");
        let expected = Payload::Drop(DropReason::EmptyMessages);
        if owned {
            prop_assert_eq!(world.deferred.put(&header, size), expected);
            let deferred: Vec<Header> = world.deferred.take().collect();
            prop_assert_eq!(deferred.len(), 1);
            prop_assert_eq!(world.reader.packet(&deferred[0]).payload, expected);
        } else {
            let disposition = world.reader.packet(&header);
            prop_assert_eq!(disposition.payload, expected);
            prop_assert_eq!(disposition.reply, Some(Control::Reset));
        }
        prop_assert!(matches!(world.reader.phase(), Phase::Closed(_)));
    }

    #[test]
    fn a_frame_is_read_as_it_was_written(len in 0..=Frame::MAX_LEN, end in 0..3) {
        let end = [None, Some(false), Some(true)][end as usize];
        let end = end.map(|record| MessageEnd { record });
        let frame = Frame::new(len, end).expect("short enough");
        prop_assert_eq!(Frame::decode(frame.encode()), frame);
        prop_assert_eq!((frame.len(), frame.end), (len, end));
        prop_assert_eq!(Frame::new(Frame::MAX_LEN + 1 + len, end), None);
    }
}

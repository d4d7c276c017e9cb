// SPDX-License-Identifier: GPL-2.0

//! The two endpoints and the links between them.

use std::collections::VecDeque;

use super::end::{End, Grant, Packet, Sleeper};
use super::event::{Event, Scenario, Side};
use super::phases::is_edge;
use crate::protocol::address::{Address, Cid, Flow, Port};
use crate::protocol::connection::{Cause, Connection, Payload, Phase};
use crate::protocol::packet::{Control, Halves, Header, Operation, SocketType, HEADER_LEN};
use crate::protocol::reason::DropReason;
use crate::protocol::wake;

/// More packets than any sequence of events leads to: beyond it the ends answer each other
/// without end.
const PACKET_LIMIT: usize = 100_000;

/// The connection, as the active end sees it.
pub(crate) const FLOW: Flow = Flow {
    local: Address {
        cid: Cid(3),
        port: Port(50_000),
    },
    peer: Address {
        cid: Cid::HOST,
        port: Port(9998),
    },
};

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    ends: [End; 2],
    /// What each end sent and what has not arrived, oldest first.
    links: [VecDeque<Packet>; 2],
}

impl World {
    /// The state that a scenario starts from.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let end = |side: Side| {
            End::new(
                side == Side::Passive && scenario.listening,
                scenario.buf_alloc[side as usize],
                scenario.low_water[side as usize],
            )
        };
        let mut world = World {
            ends: Side::BOTH.map(end),
            links: Default::default(),
        };
        if let (Some(carried), true) = (scenario.carried, scenario.listening) {
            world.carry(carried, scenario.buf_alloc);
        }
        world
    }

    /// Connects, and lets each end send `carried` bytes at once, so that the counters stand there.
    /// Then the buffers get the sizes of the scenario.
    fn carry(&mut self, carried: u32, buf_alloc: [u32; 2]) {
        for side in Side::BOTH {
            let end = self.end(side);
            end.buf_alloc = carried;
            end.largest_buf_alloc = carried;
            end.granted_edge = u64::from(carried);
        }
        self.step(&Event::Connect);
        self.settle();
        self.step(&Event::Accept);
        for side in Side::BOTH {
            self.step(&Event::Send(side, carried));
            self.settle();
        }
        for side in Side::BOTH {
            // Smaller first, so that the whole of the large grant is used up.
            self.step(&Event::Resize(side, buf_alloc[side as usize]));
            self.step(&Event::Read(side, carried));
        }
        self.settle();
        for side in Side::BOTH {
            self.control(side, Control::CreditUpdate);
        }
        self.settle();
        for side in Side::BOTH {
            assert_eq!(self.view(side).taken, u64::from(carried));
        }
    }

    /// One end, to look at.
    pub(crate) fn view(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// Performs one event, and checks what has to hold after each.
    pub(crate) fn step(&mut self, event: &Event) {
        let before = Side::BOTH.map(|side| self.view(side).phase());
        self.perform(event);
        for side in Side::BOTH {
            self.reader(side);
        }
        for (side, before) in Side::BOTH.into_iter().zip(before) {
            let after = self.view(side).phase();
            // Letting go handles several packets, each of which is checked there.
            assert!(
                is_edge(before, after) || matches!(event, Event::Disown(_)),
                "{before:?} -> {after:?}"
            );
            assert_ne!(
                after,
                Some(Phase::Closed(Cause::Protocol)),
                "an honest peer breaks no rule"
            );
            self.end(side).check();
            self.forget(side);
        }
        for side in Side::BOTH {
            let (sender, receiver) = (self.view(side), self.view(side.other()));
            if receiver.connection.is_some() {
                assert!(
                    sender.sent <= receiver.granted_edge,
                    "no more was sent than the receiver granted"
                );
            }
        }
    }

    fn perform(&mut self, event: &Event) {
        match *event {
            Event::Connect => self.connect(),
            Event::Accept => {
                if self.view(Side::Passive).connection.is_some() {
                    self.end(Side::Passive).accepted = true;
                }
            }
            Event::Send(side, len) => self.send(side, len),
            Event::Deliver(side) => self.deliver(side),
            Event::Read(side, len) => {
                if self.readable(side) {
                    self.read(side, u64::from(len));
                }
            }
            Event::Receive(side, len, all) => {
                if self.readable(side) && self.view(side).is_established() {
                    self.receive(side, len, all);
                }
            }
            Event::Shutdown(side, halves) => self.shutdown(side, halves),
            Event::Close(side) => self.close(side),
            Event::Timeout(side) => {
                let end = self.end(side);
                end.abandoned |= end.phase() == Some(Phase::Connecting);
                let reply = end.connection.as_mut().and_then(Connection::timeout);
                self.controls(side, reply);
            }
            Event::Resize(side, size) => self.resize(side, size),
            Event::AskForCredit(side) => {
                if self.view(side).is_established() {
                    self.control(side, Control::CreditRequest);
                }
            }
            Event::Own(side) => {
                let end = self.end(side);
                end.owned |= end.connection.is_some() && !end.released;
            }
            Event::Disown(side) => self.disown(side),
            Event::TransportReset(side) => self.transport_reset(side),
        }
    }

    fn connect(&mut self) {
        let end = self.end(Side::Active);
        if end.connection.is_some() || end.released {
            return;
        }
        let connection = Connection::connect(FLOW, SocketType::Stream, end.buf_alloc);
        end.connection = Some(connection);
        end.accepted = true;
        self.control(Side::Active, Control::Request);
    }

    fn send(&mut self, side: Side, len: u32) {
        let end = self.end(side);
        if end.released {
            return;
        }
        let Some(connection) = &mut end.connection else {
            return;
        };
        let sendable = connection.sendable();
        let header = connection.data(len);
        assert_eq!(
            header.map_or(0, |header| header.len),
            len.min(sendable),
            "as much as the credit allows is sent"
        );
        let Some(header) = header else {
            return;
        };
        assert_eq!(header.operation, Operation::ReadWrite);
        assert_ne!(header.len, 0);
        assert!(!end.shut.send && !end.ended_orderly);
        let start = end.sent;
        end.sent += u64::from(header.len);
        assert!(end.sent <= end.heard.edge(), "within what the peer granted");
        assert!(
            end.sent - end.heard.forwarded <= u64::from(end.buf_alloc),
            "within this end's own buffer"
        );
        self.emit(side, &header, start);
    }

    /// Puts a packet of the connection on the link.
    fn emit(&mut self, side: Side, header: &Header, start: u64) {
        let end = self.end(side);
        let grant = end.grant();
        assert_eq!(header.credit.fwd_cnt.to_wire(), grant.forwarded as u32);
        assert_eq!(header.credit.buf_alloc, grant.buf_alloc);
        end.announced = grant;
        self.links[side as usize].push_back(Packet {
            bytes: header.encode(),
            start,
            grant: Some(grant),
        });
    }

    fn control(&mut self, side: Side, control: Control) {
        let end = self.end(side);
        if control == Control::Reset {
            end.sent_reset = true;
        }
        let start = end.sent;
        let connection = end.connection.as_mut().expect("a connection says so");
        let header = connection.control(control);
        assert_eq!(header.len, 0);
        self.emit(side, &header, start);
    }

    fn controls(&mut self, side: Side, control: Option<Control>) {
        if let Some(control) = control {
            self.control(side, control);
        }
    }

    fn credit_update(&mut self, side: Side, due: bool) {
        self.controls(side, due.then_some(Control::CreditUpdate));
    }

    fn deliver(&mut self, from: Side) {
        let Some(packet) = self.links[from as usize].pop_front() else {
            return;
        };
        let to = from.other();
        let len = u32::from_le_bytes(packet.bytes[24..28].try_into().expect("four bytes"));
        let header = Header::parse(&packet.bytes, HEADER_LEN + len as usize)
            .expect("what an end encodes is valid");
        let end = self.end(to);
        if end.connection.is_none() {
            return self.unknown(to, &header, packet.grant);
        }
        if end.owned {
            return self.put_aside(to, &header, packet);
        }
        if let Some(grant) = packet.grant {
            end.heard = grant;
        }
        self.packet(to, &header, &[(packet.start, header.len)]);
    }

    /// A packet meets a socket that a task owns.
    fn put_aside(&mut self, to: Side, header: &Header, packet: Packet) {
        let end = self.end(to);
        match end.deferred.put(header, end.largest_buf_alloc) {
            Payload::Deliver => end.backlog.push((packet.start, header.len)),
            Payload::Nothing => assert_eq!(header.len, 0),
            // Nothing matters after a reset.
            Payload::Drop(reason) => {
                assert_eq!(reason, DropReason::NoSocket);
                assert!(
                    end.reset_deferred && header.len == 0,
                    "{header:?} is dropped"
                );
            }
        }
        end.reset_deferred |= header.operation == Operation::Reset;
        assert!(!end.deferred.is_empty());
        end.deferred_grant = packet.grant.or(end.deferred_grant);
    }

    /// The task lets go of the socket.
    fn disown(&mut self, side: Side) {
        let end = self.end(side);
        end.owned = false;
        end.reset_deferred = false;
        if end.deferred.is_empty() {
            return;
        }
        let grant = end.deferred_grant.take();
        let headers: Vec<Header> = end.deferred.take().collect();
        assert!(end.deferred.is_empty());
        assert!(!headers.is_empty());
        let mut payload = std::mem::take(&mut end.backlog);
        for header in headers {
            let end = self.end(side);
            if let Some(grant) = grant {
                end.heard = grant;
            }
            let parts = match header.operation {
                Operation::ReadWrite => std::mem::take(&mut payload),
                _ => vec![(0, 0)],
            };
            let sum: u32 = parts.iter().map(|&(_, len)| len).sum();
            assert_eq!(sum, header.len, "all that was kept, and nothing else");
            self.packet(side, &header, &parts);
        }
        assert!(payload.is_empty());
    }

    /// The connection handles a packet, whose payload consists of these parts.
    fn packet(&mut self, to: Side, header: &Header, parts: &[(u64, u32)]) {
        let end = self.end(to);
        let connection = end.connection.as_mut().expect("the packet is for it");
        let before = connection.phase();
        let disposition = connection.packet(header);
        let after = connection.phase();
        assert!(
            is_edge(Some(before), Some(after)),
            "{before:?} -> {after:?}"
        );
        match disposition.payload {
            Payload::Deliver => {
                assert_eq!(header.operation, Operation::ReadWrite);
                assert!(
                    !end.shut.receive && !end.released,
                    "nobody reads this any more"
                );
                for &(start, len) in parts {
                    end.enqueue(start, len);
                }
            }
            Payload::Drop(reason) => {
                assert_eq!(disposition.reply, None);
                match reason {
                    DropReason::Shutdown if before == Phase::Established => {
                        assert!(end.shut.receive);
                        end.received += u64::from(header.len);
                        end.taken += u64::from(header.len);
                    }
                    DropReason::Shutdown => assert_eq!(before, Phase::Closing),
                    DropReason::State => assert!(matches!(before, Phase::Closed(_))),
                    _ => panic!("an honest peer's packet is dropped: {reason:?}"),
                }
            }
            Payload::Nothing => assert_eq!(header.len, 0),
        }
        match disposition.reply {
            None => {}
            Some(Control::CreditUpdate) => assert!(
                header.operation == Operation::CreditRequest || end.announced != end.grant(),
                "an update is asked for, or it is news"
            ),
            Some(Control::Reset) => {
                assert_eq!(header.operation, Operation::Shutdown);
                assert!(matches!(after, Phase::Closed(Cause::Orderly)));
            }
            Some(other) => panic!("{other:?} answers {:?}", header.operation),
        }
        self.controls(to, disposition.reply);
    }

    /// A packet for which there is no connection.
    fn unknown(&mut self, to: Side, header: &Header, grant: Option<Grant>) {
        let end = self.end(to);
        if header.operation == Operation::Request && end.listening && !end.released {
            end.heard = grant.expect("a request comes from a connection");
            end.connection = Some(Connection::accept(header, end.buf_alloc));
            self.control(to, Control::Response);
            return;
        }
        let start = end.sent;
        if let Some(bytes) = header.refusal() {
            let refusal = Header::parse(&bytes, HEADER_LEN).expect("a refusal is valid");
            assert_eq!(refusal.operation, Operation::Reset);
            assert_eq!(refusal.flow, header.flow.reversed());
            self.links[to as usize].push_back(Packet {
                bytes,
                start,
                grant: None,
            });
        } else {
            assert_eq!(header.operation, Operation::Reset);
        }
    }

    fn readable(&self, side: Side) -> bool {
        let end = self.view(side);
        end.connection.is_some() && end.accepted && !end.released && end.sleeper.is_none()
    }

    fn read(&mut self, side: Side, len: u64) {
        let end = self.end(side);
        let count = end.dequeue(len);
        let connection = end.connection.as_mut().expect("it is read");
        let due = connection.read(count, end.low_water);
        self.credit_update(side, due);
    }

    /// `recv`: takes what is there, and sleeps for the rest of its target.
    fn receive(&mut self, side: Side, len: usize, all: bool) {
        let end = self.view(side);
        let target = wake::target(len, all, end.low_water) as u64;
        let there = end.queued().min(len as u64);
        self.read(side, there);
        if len > 0 && there < target {
            self.end(side).sleeper = Some(Sleeper {
                wanted: usize::try_from(target - there).expect("it was one"),
            });
            self.fall_asleep(side);
        }
    }

    /// Before it sleeps, a reader makes sure that the peer may send what it needs.
    fn fall_asleep(&mut self, side: Side) {
        let end = self.view(side);
        let (Some(sleeper), Some(connection)) = (end.sleeper, &end.connection) else {
            return;
        };
        let due = connection.before_sleep(wake::need(sleeper.wanted, connection.window()));
        self.credit_update(side, due);
    }

    /// Wakes the end's reader if its need is met or nothing more can come.
    fn reader(&mut self, side: Side) {
        let end = self.end(side);
        let (Some(sleeper), Some(connection)) = (&mut end.sleeper, &end.connection) else {
            return;
        };
        if end.released || connection.receive_ended() {
            end.sleeper = None;
            return;
        }
        let need = wake::need(sleeper.wanted, connection.window());
        assert!(need >= 1 && need <= sleeper.wanted);
        let queued: u64 = end.queue.iter().map(|range| range.end - range.start).sum();
        if queued < need as u64 {
            // The need follows the window, which a packet may have changed.
            return self.fall_asleep(side);
        }
        end.wakes += 1;
        let count = queued.min(sleeper.wanted as u64);
        sleeper.wanted -= usize::try_from(count).expect("no more than is wanted");
        if sleeper.wanted == 0 {
            end.sleeper = None;
        }
        self.read(side, count);
        self.reader(side);
    }

    fn shutdown(&mut self, side: Side, halves: Halves) {
        let end = self.end(side);
        if end.released || !end.accepted {
            return;
        }
        let Some(connection) = &mut end.connection else {
            return;
        };
        // On a socket that is not connected, the call fails.
        if connection.phase() != Phase::Established {
            return;
        }
        let news = connection.shutdown(halves);
        let after = end.shut.union(halves);
        assert_eq!(
            news,
            (after != end.shut).then_some(Control::Shutdown(after)),
            "what is news is told, once"
        );
        end.shut = after;
        end.ended_orderly |= halves.send;
        self.controls(side, news);
    }

    fn close(&mut self, side: Side) {
        let end = self.end(side);
        if end.released {
            return;
        }
        let unread = !end.queue.is_empty();
        end.queue.clear();
        end.released = true;
        end.listening = false;
        let Some(connection) = &mut end.connection else {
            return;
        };
        let before = connection.phase();
        let news = connection.close(unread);
        match (before, news) {
            (Phase::Connecting, news) => assert_eq!(news, Some(Control::Reset)),
            (Phase::Established, news) if unread => assert_eq!(news, Some(Control::Reset)),
            (Phase::Established, news) => {
                assert_eq!(
                    news,
                    (!end.shut.is_both()).then_some(Control::Shutdown(Halves::BOTH))
                );
                assert_eq!(connection.phase(), Phase::Closing);
                end.ended_orderly = true;
            }
            (_, news) => assert_eq!(news, None),
        }
        self.controls(side, news);
    }

    fn resize(&mut self, side: Side, size: u32) {
        let end = self.end(side);
        if end.released {
            return;
        }
        end.buf_alloc = size;
        end.largest_buf_alloc = end.largest_buf_alloc.max(size);
        match &mut end.connection {
            Some(connection) => {
                let due = connection.resize(size);
                self.credit_update(side, due);
            }
            // Nothing was granted yet.
            None => end.granted_edge = u64::from(size),
        }
    }

    fn transport_reset(&mut self, side: Side) {
        self.links = Default::default();
        let end = self.end(side);
        if let Some(connection) = &mut end.connection {
            let before = connection.phase();
            connection.transport_reset();
            let expected = match before {
                Phase::Closed(cause) => Phase::Closed(cause),
                _ => Phase::Closed(Cause::TransportReset),
            };
            assert_eq!(connection.phase(), expected);
        }
        for end in &mut self.ends {
            end.transport_lost = true;
        }
    }

    /// A connection that is closed, and whose socket is too, is no longer looked up.
    fn forget(&mut self, side: Side) {
        let end = self.end(side);
        if end.released && !end.owned && matches!(end.phase(), Some(Phase::Closed(_))) {
            end.connection = None;
        }
    }

    /// Lets everything that is under way arrive.
    pub(crate) fn settle(&mut self) {
        for side in Side::BOTH {
            self.step(&Event::Disown(side));
        }
        for _ in 0..PACKET_LIMIT {
            let Some(from) = Side::BOTH
                .into_iter()
                .find(|&side| !self.links[side as usize].is_empty())
            else {
                return;
            };
            self.step(&Event::Deliver(from));
        }
        panic!("the ends answer each other without end");
    }
}

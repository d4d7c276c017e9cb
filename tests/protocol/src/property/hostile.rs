// SPDX-License-Identifier: GPL-2.0

//! An honest endpoint and a peer that keeps no rule.
//!
//! An oracle of its own, written from the specification and in numbers that do not wrap, says
//! what each packet has to lead to.

use proptest::prelude::*;

use crate::model::event::buf_alloc;
use crate::model::phases::is_edge;
use crate::model::world::FLOW;
use crate::protocol::connection::{Cause, Connection, Payload, Phase};
use crate::protocol::credit::{Advertisement, Counter};
use crate::protocol::packet::{Control, Halves, Header, Operation, SocketType, HEADER_LEN};
use crate::protocol::reason::DropReason;
use crate::protocol::wake;

/// A length of payload, in relation to what was granted.
#[derive(Clone, Copy, Debug)]
enum Length {
    Exactly(u32),
    /// What is left of the grant, and so much more or less.
    GrantAnd(i8),
}

/// A `fwd_cnt`, in relation to what was sent.
#[derive(Clone, Copy, Debug)]
enum Forwarded {
    Same,
    AllSent,
    AheadOfSent(u32),
    Behind(u32),
    Any(u32),
}

/// What the peer sends, and what the honest end's program does.
#[derive(Clone, Debug)]
enum Act {
    Packet {
        operation: Operation,
        flags: u32,
        length: Length,
        buf_alloc: u32,
        forwarded: Forwarded,
    },
    Raw(Box<[u8; HEADER_LEN]>, usize),
    Send(u32),
    Read(u32, usize),
    Sleep(usize),
    Ask,
    Resize(u32),
    Shutdown(Halves),
    Close,
    Timeout,
    TransportReset,
}

fn edge() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0_u32),
        Just(1),
        Just(u32::MAX),
        Just(u32::MAX - 1),
        Just(1 << 31),
        0_u32..1000,
        any::<u32>(),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        1 => Just(Operation::Request),
        2 => Just(Operation::Response),
        1 => Just(Operation::Reset),
        2 => Just(Operation::Shutdown),
        12 => Just(Operation::ReadWrite),
        5 => Just(Operation::CreditUpdate),
        3 => Just(Operation::CreditRequest),
    ]
}

fn packet() -> impl Strategy<Value = Act> {
    let length = prop_oneof![
        4 => (0_u32..200).prop_map(Length::Exactly),
        1 => edge().prop_map(Length::Exactly),
        2 => (-2_i8..=1).prop_map(Length::GrantAnd),
    ];
    let forwarded = prop_oneof![
        3 => Just(Forwarded::Same),
        3 => Just(Forwarded::AllSent),
        1 => (1_u32..10).prop_map(Forwarded::AheadOfSent),
        1 => (1_u32..10).prop_map(Forwarded::Behind),
        1 => edge().prop_map(Forwarded::Any),
    ];
    let flags = prop_oneof![4 => 0_u32..4, 1 => edge()];
    (
        operation(),
        flags,
        length,
        prop_oneof![buf_alloc(), edge()],
        forwarded,
    )
        .prop_map(
            |(operation, flags, length, buf_alloc, forwarded)| Act::Packet {
                operation,
                flags,
                length,
                buf_alloc,
                forwarded,
            },
        )
}

fn raw() -> impl Strategy<Value = Act> {
    (
        prop::array::uniform32(any::<u8>()),
        prop::array::uniform12(any::<u8>()),
        0_usize..200,
    )
        .prop_map(|(head, tail, written)| {
            let mut bytes = [0; HEADER_LEN];
            bytes[..32].copy_from_slice(&head);
            bytes[32..].copy_from_slice(&tail);
            Act::Raw(Box::new(bytes), written)
        })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        30 => packet(),
        2 => raw(),
        6 => prop_oneof![0_u32..200, edge()].prop_map(Act::Send),
        6 => (prop_oneof![0_u32..200, edge()], 1_usize..400)
            .prop_map(|(len, low_water)| Act::Read(len, low_water)),
        2 => prop_oneof![0_usize..400, Just(usize::MAX)].prop_map(Act::Sleep),
        1 => Just(Act::Ask),
        2 => prop_oneof![4 => buf_alloc(), 1 => edge()].prop_map(Act::Resize),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(receive, send)| Act::Shutdown(Halves { receive, send })),
        1 => prop_oneof![Just(Act::Close), Just(Act::Timeout), Just(Act::TransportReset)],
    ]
}

/// How the connection begins.
#[derive(Clone, Copy, Debug)]
enum Beginning {
    /// The honest end waits for an answer.
    Connecting,
    /// The peer's request was accepted.
    Accepted,
    /// So many bytes went each way.
    Carried(u32),
}

fn beginning() -> impl Strategy<Value = Beginning> {
    prop_oneof![
        Just(Beginning::Connecting),
        Just(Beginning::Accepted),
        any::<u32>().prop_map(Beginning::Carried),
        (0_u32..400).prop_map(|below| Beginning::Carried(u32::MAX - below)),
    ]
}

/// The honest end and what the oracle knows of it.
struct Honest {
    connection: Connection,
    phase: Phase,
    local: Halves,
    peer: Halves,
    buf_alloc: u32,
    largest_buf_alloc: u32,
    sent: u64,
    received: u64,
    taken: u64,
    granted_edge: u64,
    /// What was announced last.
    announced: (u64, u32),
    /// The last credit of the peer that was not a lie.
    heard: (u64, u32),
}

impl Honest {
    fn begin(beginning: Beginning, buf_alloc: u32) -> Self {
        let first = match beginning {
            Beginning::Carried(count) => count,
            _ => buf_alloc,
        };
        let mut honest = Honest {
            connection: Connection::connect(FLOW, SocketType::Stream, first),
            phase: Phase::Connecting,
            local: Halves::default(),
            peer: Halves::default(),
            buf_alloc: first,
            largest_buf_alloc: first,
            sent: 0,
            received: 0,
            taken: 0,
            granted_edge: u64::from(first),
            announced: (0, 0),
            heard: (0, 0),
        };
        match beginning {
            Beginning::Connecting => honest.send_control(Control::Request),
            Beginning::Accepted => {
                let request = honest.header(Operation::Request, 0, 0, 500, 0);
                honest.connection = Connection::accept(&request, first);
                honest.phase = Phase::Established;
                honest.heard = (0, 500);
                honest.send_control(Control::Response);
            }
            Beginning::Carried(count) => {
                honest.send_control(Control::Request);
                let response = honest.header(Operation::Response, 0, 0, u32::MAX, 0);
                honest.packet(&response);
                honest.send(count);
                let all = honest.header(Operation::ReadWrite, 0, count, 700, count);
                honest.packet(&all);
                // Smaller first, so that the whole of the large grant is used up.
                honest.resize(buf_alloc);
                honest.read(count, 1);
                assert_eq!(honest.sent, u64::from(count));
                assert_eq!(honest.taken, u64::from(count));
                honest.largest_buf_alloc = buf_alloc;
            }
        }
        honest.check();
        honest
    }

    fn header(
        &self,
        operation: Operation,
        flags: u32,
        len: u32,
        buf_alloc: u32,
        fwd_cnt: u32,
    ) -> Header {
        Header {
            flow: FLOW,
            kind: SocketType::Stream,
            operation,
            flags,
            len,
            empty_ends: 0,
            credit: Advertisement {
                buf_alloc,
                fwd_cnt: Counter::from_wire(fwd_cnt),
            },
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Packet {
                operation,
                flags,
                length,
                buf_alloc,
                forwarded,
            } => {
                let left = (self.granted_edge - self.received) as u32;
                let len = match length {
                    // A header with a payload on another operation is not valid.
                    _ if operation != Operation::ReadWrite => 0,
                    Length::Exactly(len) => len,
                    Length::GrantAnd(more) => left.saturating_add_signed(more.into()),
                };
                let fwd_cnt = match forwarded {
                    Forwarded::Same => self.heard.0 as u32,
                    Forwarded::AllSent => self.sent as u32,
                    Forwarded::AheadOfSent(by) => (self.sent as u32).wrapping_add(by),
                    Forwarded::Behind(by) => (self.heard.0 as u32).wrapping_sub(by),
                    Forwarded::Any(fwd_cnt) => fwd_cnt,
                };
                let header = self.header(operation, flags, len, buf_alloc, fwd_cnt);
                self.packet(&header);
            }
            Act::Raw(ref bytes, written) => {
                if let Ok(header) = Header::parse(bytes, written) {
                    // Its flow is another, but that is looked at before.
                    self.packet(&Header {
                        flow: FLOW,
                        ..header
                    });
                }
            }
            Act::Send(len) => self.send(len),
            Act::Read(len, low_water) => self.read(len, low_water),
            Act::Sleep(wanted) => {
                let need = wake::need(wanted, self.connection.window());
                if self.connection.before_sleep(need) {
                    assert_eq!(self.phase, Phase::Established);
                    self.send_control(Control::CreditUpdate);
                }
            }
            Act::Ask => {
                if self.phase == Phase::Established {
                    self.send_control(Control::CreditRequest);
                }
            }
            Act::Resize(size) => self.resize(size),
            Act::Shutdown(halves) => {
                if self.phase == Phase::Established {
                    let after = self.local.union(halves);
                    let news = self.connection.shutdown(halves);
                    assert_eq!(
                        news,
                        (after != self.local).then_some(Control::Shutdown(after))
                    );
                    self.local = after;
                    self.send_controls(news);
                }
            }
            Act::Close => {
                let unread = self.received > self.taken;
                let (phase, news) = match self.phase {
                    Phase::Connecting => (Phase::Closed(Cause::Abandoned), Some(Control::Reset)),
                    Phase::Established if unread => {
                        (Phase::Closed(Cause::Orderly), Some(Control::Reset))
                    }
                    Phase::Established => (
                        Phase::Closing,
                        (!self.local.is_both()).then_some(Control::Shutdown(Halves::BOTH)),
                    ),
                    other => (other, None),
                };
                assert_eq!(self.connection.close(unread), news);
                self.phase = phase;
                self.send_controls(news);
            }
            Act::Timeout => {
                let (phase, news) = match self.phase {
                    Phase::Connecting => (Phase::Closed(Cause::Abandoned), Some(Control::Reset)),
                    Phase::Closing => (Phase::Closed(Cause::Orderly), Some(Control::Reset)),
                    other => (other, None),
                };
                assert_eq!(self.connection.timeout(), news);
                self.phase = phase;
                self.send_controls(news);
            }
            Act::TransportReset => {
                self.connection.transport_reset();
                if !matches!(self.phase, Phase::Closed(_)) {
                    self.phase = Phase::Closed(Cause::TransportReset);
                }
            }
        }
        self.check();
    }

    /// Takes over the credit of a packet, unless it cannot be true.
    fn hear(&mut self, credit: Advertisement) {
        let claimed = u64::from(credit.fwd_cnt.to_wire());
        // The one number in the last 2^32 up to what was sent that the counter stands for.
        let round = 1_u64 << 32;
        let mut forwarded = self.sent / round * round + claimed;
        if forwarded > self.sent {
            match forwarded.checked_sub(round) {
                Some(earlier) => forwarded = earlier,
                None => return,
            }
        }
        if forwarded >= self.heard.0 {
            self.heard = (forwarded, credit.buf_alloc);
        }
    }

    fn packet(&mut self, header: &Header) {
        use Operation::*;
        let before = self.phase;
        self.hear(header.credit);
        let mut payload = Payload::Nothing;
        let mut reply = None;
        match (before, header.operation) {
            (Phase::Connecting, Response) => self.phase = Phase::Established,
            (Phase::Connecting, Reset) => self.phase = Phase::Closed(Cause::Refused),
            (Phase::Connecting, _) => {
                self.phase = Phase::Closed(Cause::Protocol);
                payload = Payload::Drop(DropReason::State);
                reply = Some(Control::Reset);
            }
            (Phase::Established, ReadWrite) if header.len == 0 => {}
            (Phase::Established, ReadWrite) if self.peer.send => {
                payload = Payload::Drop(DropReason::Shutdown);
            }
            (Phase::Established, ReadWrite)
                if self.received + u64::from(header.len) > self.granted_edge =>
            {
                self.phase = Phase::Closed(Cause::Protocol);
                payload = Payload::Drop(DropReason::Credit);
                reply = Some(Control::Reset);
            }
            (Phase::Established, ReadWrite) => {
                self.received += u64::from(header.len);
                if self.local.receive {
                    self.taken += u64::from(header.len);
                    payload = Payload::Drop(DropReason::Shutdown);
                } else {
                    payload = Payload::Deliver;
                }
            }
            (Phase::Established, CreditUpdate) => {}
            (Phase::Established, CreditRequest) => reply = Some(Control::CreditUpdate),
            (Phase::Established, Reset) => {
                let cause = if self.peer.send || self.local.is_both() {
                    Cause::Orderly
                } else {
                    Cause::Reset
                };
                self.phase = Phase::Closed(cause);
            }
            (Phase::Established | Phase::Closing, Shutdown) => {
                self.peer = self.peer.union(Halves {
                    receive: header.flags & 1 != 0,
                    send: header.flags & 2 != 0,
                });
                if self.peer.is_both() {
                    self.phase = Phase::Closed(Cause::Orderly);
                    reply = Some(Control::Reset);
                }
            }
            (Phase::Closing, Reset) => self.phase = Phase::Closed(Cause::Orderly),
            (Phase::Closing, ReadWrite) => payload = Payload::Drop(DropReason::Shutdown),
            (Phase::Closing, CreditUpdate | CreditRequest) => {}
            (Phase::Closing, Request) => {
                self.phase = Phase::Closed(Cause::Orderly);
                payload = Payload::Drop(DropReason::State);
                reply = Some(Control::Reset);
            }
            (Phase::Established, Request) | (Phase::Established | Phase::Closing, Response) => {
                payload = Payload::Drop(DropReason::State);
            }
            (Phase::Closed(_), _) => payload = Payload::Drop(DropReason::State),
        }
        let disposition = self.connection.packet(header);
        assert_eq!(disposition.payload, payload, "{header:?} in {before:?}");
        if reply.is_none() && disposition.reply == Some(Control::CreditUpdate) {
            // Not asked for, so it must be news for somebody who may still send.
            assert_eq!(self.phase, Phase::Established);
            assert_ne!(self.announced, (self.taken, self.buf_alloc));
        } else {
            assert_eq!(disposition.reply, reply, "{header:?} in {before:?}");
        }
        self.send_controls(disposition.reply);
        assert!(is_edge(Some(before), Some(self.phase)));
    }

    fn send(&mut self, len: u32) {
        let sendable = self.connection.sendable();
        let header = self.connection.data(len);
        assert_eq!(header.map_or(0, |header| header.len), len.min(sendable));
        if let Some(header) = header {
            assert_eq!(self.phase, Phase::Established);
            self.sent += u64::from(header.len);
            assert!(self.sent <= self.heard.0 + u64::from(self.heard.1));
            assert!(self.sent - self.heard.0 <= u64::from(self.buf_alloc));
            self.announce(&header);
        }
    }

    fn read(&mut self, len: u32, low_water: usize) {
        let count = u64::from(len).min(self.received - self.taken);
        self.taken += count;
        // More than is queued is all of it.
        if self.connection.read(len, low_water) {
            assert_eq!(self.phase, Phase::Established);
            self.send_control(Control::CreditUpdate);
        }
    }

    fn resize(&mut self, size: u32) {
        self.buf_alloc = size;
        self.largest_buf_alloc = self.largest_buf_alloc.max(size);
        if self.connection.resize(size) {
            self.send_control(Control::CreditUpdate);
        }
    }

    fn send_control(&mut self, control: Control) {
        let header = self.connection.control(control);
        self.announce(&header);
    }

    fn send_controls(&mut self, control: Option<Control>) {
        if let Some(control) = control {
            self.send_control(control);
        }
    }

    fn announce(&mut self, header: &Header) {
        self.announced = (self.taken, self.buf_alloc);
        assert_eq!(header.credit.fwd_cnt.to_wire(), self.taken as u32);
        assert_eq!(header.credit.buf_alloc, self.buf_alloc);
        assert_eq!(header.flow, FLOW);
    }

    fn check(&mut self) {
        let edge = self.taken + u64::from(self.buf_alloc);
        self.granted_edge = self.granted_edge.max(edge);
        assert_eq!(self.connection.phase(), self.phase);
        let receive = self.connection.receive_credit();
        let held = self.received - self.taken;
        assert_eq!(u64::from(receive.queued()), held);
        assert!(
            held <= u64::from(self.largest_buf_alloc),
            "held bytes stay within the largest window that was granted"
        );
        // Modulo 2^32: a peer that goes on after this end shut down gets nothing announced.
        assert_eq!(
            receive.unannounced(),
            (self.taken - self.announced.0) as u32
        );
        let send = self.connection.send_credit();
        assert_eq!(u64::from(send.in_flight()), self.sent - self.heard.0);
        assert_eq!(send.buf_alloc(), self.heard.1);
        assert!(self.connection.sendable() <= self.buf_alloc.min(self.heard.1));
        assert!(self.connection.window() >= 1);
    }
}

proptest! {
    #![proptest_config(super::config(12_000))]

    #[test]
    fn a_hostile_peer_gets_what_the_rules_say(
        beginning in beginning(),
        buf_alloc in buf_alloc(),
        acts in prop::collection::vec(act(), 0..150),
    ) {
        let mut honest = Honest::begin(beginning, buf_alloc);
        for act in &acts {
            honest.act(act);
        }
    }
}

proptest! {
    #![proptest_config(super::config(5_000))]

    /// A peer that only sends, of all that it can think of, against a program that never reads.
    #[test]
    fn a_program_that_never_reads_holds_its_buffer_and_no_more(
        buf_alloc in buf_alloc(),
        packets in prop::collection::vec(packet(), 0..200),
    ) {
        let mut honest = Honest::begin(Beginning::Accepted, buf_alloc);
        for packet in &packets {
            honest.act(packet);
            prop_assert!(honest.connection.receive_credit().queued() <= buf_alloc);
        }
    }
}

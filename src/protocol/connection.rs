// SPDX-License-Identifier: GPL-2.0

//! The state machine of one connection.
//!
//! A [`Connection`] is told of a packet, a call or a timeout and answers with a value: what to
//! send, what to do with the payload. It performs nothing itself.
//!
//! Source: virtio specification, 5.10.6.4 to 5.10.6.6 (receive and transmit, stream sockets).

mod messages;
mod permit;

pub(crate) use self::permit::Permit;

use super::address::Flow;
use super::credit::{Advertisement, Overrun, ReceiveCredit, SendCredit};
use super::packet::{Control, Halves, Header, Operation, SocketType};
use super::reason::DropReason;
use super::wake;

/// Where a connection stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A request was sent and not answered yet.
    ///
    /// INVARIANT: neither end has shut down anything, and no payload has gone either way.
    Connecting,
    /// Both ends know of each other. Each of the four halves may be shut down by itself.
    ///
    /// INVARIANT: the peer has not shut down both halves: that ends the connection.
    Established,
    /// This end was closed and said so; the peer's reset, which ends the close, is awaited.
    ///
    /// INVARIANT: both local halves are shut down.
    Closing,
    /// Nothing more will be sent or received.
    Closed(Cause),
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Both ends agreed, or this end had nothing more to lose.
    Orderly,
    /// The peer refused the request.
    Refused,
    /// The peer did not answer the request in time, or the caller would not wait any longer.
    Abandoned,
    /// The peer ended the connection without a close.
    Reset,
    /// The transport lost all its connections: another device, another host, or none.
    TransportReset,
    /// The peer broke the protocol: what it answered to a request is not an answer, or it sent
    /// more than it was granted.
    Protocol,
}

/// What is to become of a packet's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// It has none that matters.
    Nothing,
    /// It belongs at the end of the receive queue.
    Deliver,
    /// It is dropped, and so was the packet, for this reason.
    Drop(DropReason),
}

/// What a received packet leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disposition {
    /// What to do with the payload.
    pub(crate) payload: Payload,
    /// What to send back.
    pub(crate) reply: Option<Control>,
}

impl Disposition {
    const NOTHING: Disposition = Disposition {
        payload: Payload::Nothing,
        reply: None,
    };

    fn reply(control: Control) -> Self {
        Disposition {
            reply: Some(control),
            ..Self::NOTHING
        }
    }

    fn drop(reason: DropReason) -> Self {
        Disposition {
            payload: Payload::Drop(reason),
            ..Self::NOTHING
        }
    }
}

/// When a message can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The credit covers all of it.
    Now,
    /// The peer has to take something out of its buffer first.
    Later,
    /// It is larger than the buffer of one of the ends: `EMSGSIZE`.
    Never,
}

/// One connection, as one of its ends sees it.
///
/// Every header that is sent for it comes from [`Connection::control`], [`Connection::data`] or
/// [`Connection::message`], so that each carries the credit of that moment.
#[derive(Debug)]
pub(crate) struct Connection {
    flow: Flow,
    kind: SocketType,
    phase: Phase,
    receive: ReceiveCredit,
    send: SendCredit,
    local: Halves,
    peer: Halves,
    /// The peer asked for credit, and may want more than it was told of since.
    peer_waits: bool,
}

impl Connection {
    /// An active open: the caller sends a [`Control::Request`].
    pub(crate) fn connect(flow: Flow, kind: SocketType, buf_alloc: u32) -> Connection {
        Connection {
            flow,
            kind,
            phase: Phase::Connecting,
            receive: ReceiveCredit::new(buf_alloc),
            send: SendCredit::default(),
            local: Halves::default(),
            peer: Halves::default(),
            peer_waits: false,
        }
    }

    /// A passive open, for a listener that has room: the caller sends a [`Control::Response`].
    /// `request` must be a [`Operation::Request`].
    pub(crate) fn accept(request: &Header, buf_alloc: u32) -> Connection {
        let mut connection = Self::connect(request.flow, request.kind, buf_alloc);
        connection.send.update(request.credit);
        connection.phase = Phase::Established;
        connection
    }

    /// Both ends.
    pub(crate) fn flow(&self) -> Flow {
        self.flow
    }

    /// The type of the sockets at both ends.
    pub(crate) fn kind(&self) -> SocketType {
        self.kind
    }

    /// Where the connection stands.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the connection stands, and payload may go both ways.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Established
            && self.local == Halves::default()
            && self.peer == Halves::default()
    }

    /// What this end grants.
    #[allow(
        dead_code,
        reason = "for tests, which look at the invariants of both ends"
    )]
    pub(crate) fn receive_credit(&self) -> &ReceiveCredit {
        &self.receive
    }

    /// What the peer grants.
    #[allow(
        dead_code,
        reason = "for tests, which look at the invariants of both ends"
    )]
    pub(crate) fn send_credit(&self) -> &SendCredit {
        &self.send
    }

    /// The most that can be expected in the receive queue, in bytes; see [`wake::window`].
    pub(crate) fn window(&self) -> u32 {
        wake::window(self.receive.buf_alloc(), self.send.buf_alloc())
    }

    /// Bytes that may be sent now.
    pub(crate) fn sendable(&self) -> u32 {
        if self.send_ended() || self.send.is_full_of_empty() {
            0
        } else {
            self.send.available(self.receive.buf_alloc())
        }
    }

    /// Whether no more payload will arrive beyond what is queued.
    pub(crate) fn receive_ended(&self) -> bool {
        match self.phase {
            Phase::Connecting => false,
            Phase::Established => self.peer.send || self.local.receive,
            Phase::Closing | Phase::Closed(_) => true,
        }
    }

    /// Whether no more payload can be sent: `EPIPE`.
    pub(crate) fn send_ended(&self) -> bool {
        match self.phase {
            Phase::Connecting => false,
            Phase::Established => self.local.send || self.peer.receive,
            Phase::Closing | Phase::Closed(_) => true,
        }
    }

    /// Which halves were shut down at this end: both when the connection has ended.
    pub(crate) fn shut_down(&self) -> Halves {
        match self.phase {
            Phase::Connecting | Phase::Established => self.local,
            Phase::Closing | Phase::Closed(_) => Halves::BOTH,
        }
    }

    /// The header of a packet without payload, with the credit of this moment.
    pub(crate) fn control(&mut self, control: Control) -> Header {
        Header::control(self.flow, self.kind, control, self.announce())
    }

    /// The header of a packet with up to `len` bytes of payload, as far as the credit goes; the
    /// header says how many. `None` when nothing may be sent now.
    pub(crate) fn data(&mut self, len: u32) -> Option<Header> {
        let len = len.min(self.payload_credit()?);
        self.permit(len, None).map(Permit::header)
    }

    /// What to tell a peer that looks credit up where this end publishes it.
    pub(crate) fn announce(&mut self) -> Advertisement {
        if self.receive.queued() == 0 && self.receive.empty_queued() == 0 {
            // It has all that there is.
            self.peer_waits = false;
        }
        self.receive.announce()
    }

    /// Payload that was sent was not taken: the peer has closed, and its word of that is still
    /// under way.
    pub(crate) fn payload_refused(&mut self) {
        if self.phase == Phase::Established {
            self.phase = Phase::Closed(Cause::Reset);
        }
    }

    /// A packet of this connection arrived.
    pub(crate) fn packet(&mut self, header: &Header) -> Disposition {
        let window = self.window();
        // A lie about credit changes nothing; what else the packet says still counts.
        self.send.update(header.credit);
        let disposition = match self.phase {
            Phase::Connecting => self.packet_while_connecting(header),
            Phase::Established => self.packet_while_established(header),
            Phase::Closing => self.packet_while_closing(header),
            Phase::Closed(_) => Disposition::drop(DropReason::State),
        };
        // With another window, what was not worth an update may now be all that the peer waits
        // for.
        let due = self.window() != window && self.receive.unannounced() > 0;
        if due && disposition.reply.is_none() && self.is_open_for_updates() {
            return Disposition {
                reply: Some(Control::CreditUpdate),
                ..disposition
            };
        }
        disposition
    }

    fn packet_while_connecting(&mut self, header: &Header) -> Disposition {
        match header.operation {
            Operation::Response => {
                self.phase = Phase::Established;
                if self.receive.is_announced() {
                    Disposition::NOTHING
                } else {
                    // The buffer's size was changed after the request.
                    Disposition::reply(Control::CreditUpdate)
                }
            }
            Operation::Reset => {
                self.phase = Phase::Closed(Cause::Refused);
                Disposition::NOTHING
            }
            _ => {
                self.phase = Phase::Closed(Cause::Protocol);
                Disposition {
                    payload: Payload::Drop(DropReason::State),
                    reply: Some(Control::Reset),
                }
            }
        }
    }

    fn packet_while_established(&mut self, header: &Header) -> Disposition {
        match header.operation {
            Operation::ReadWrite => self.payload(header.len, header.empty_ends),
            Operation::CreditUpdate => Disposition::NOTHING,
            Operation::CreditRequest => {
                self.peer_waits = true;
                Disposition::reply(Control::CreditUpdate)
            }
            Operation::Shutdown => {
                // "Sticky": a half that was shut down stays so, whatever later packets say.
                self.peer = self.peer.union(header.halves());
                if !self.peer.is_both() {
                    return Disposition::NOTHING;
                }
                self.phase = Phase::Closed(Cause::Orderly);
                Disposition::reply(Control::Reset)
            }
            Operation::Reset => {
                // After the peer's last byte, or after this end said that it is done, a reset
                // takes nothing away from a reader.
                let orderly = self.peer.send || self.local.is_both();
                self.phase = Phase::Closed(if orderly {
                    Cause::Orderly
                } else {
                    Cause::Reset
                });
                Disposition::NOTHING
            }
            Operation::Request | Operation::Response => Disposition::drop(DropReason::State),
        }
    }

    /// Payload arrived, or ends of messages without any.
    fn payload(&mut self, len: u32, empty_ends: u32) -> Disposition {
        if len == 0 && empty_ends == 0 {
            return Disposition::NOTHING;
        }
        if self.peer.send {
            return Disposition::drop(DropReason::Shutdown);
        }
        let overrun = if let Err(Overrun) = self.receive.receive_empty(empty_ends) {
            Some(DropReason::EmptyMessages)
        } else if let Err(Overrun) = self.receive.receive(len) {
            Some(DropReason::Credit)
        } else {
            None
        };
        if let Some(reason) = overrun {
            self.phase = Phase::Closed(Cause::Protocol);
            return Disposition {
                payload: Payload::Drop(reason),
                reply: Some(Control::Reset),
            };
        }
        if self.local.receive {
            // It was under way when this end shut down. Nobody will read it.
            self.receive.forward(len);
            self.receive.forward_empty(empty_ends);
            return Disposition::drop(DropReason::Shutdown);
        }
        Disposition {
            payload: Payload::Deliver,
            reply: None,
        }
    }

    fn packet_while_closing(&mut self, header: &Header) -> Disposition {
        match header.operation {
            Operation::Reset => {
                self.phase = Phase::Closed(Cause::Orderly);
                Disposition::NOTHING
            }
            Operation::Shutdown => {
                self.peer = self.peer.union(header.halves());
                if !self.peer.is_both() {
                    return Disposition::NOTHING;
                }
                // Both ends closed at once: each has the other's word.
                self.phase = Phase::Closed(Cause::Orderly);
                Disposition::reply(Control::Reset)
            }
            Operation::ReadWrite => Disposition::drop(DropReason::Shutdown),
            Operation::CreditUpdate | Operation::CreditRequest => Disposition::NOTHING,
            Operation::Request => {
                // The peer has forgotten this connection, and asks for another one by the same two
                // addresses. It can ask again as soon as it was refused.
                self.phase = Phase::Closed(Cause::Orderly);
                Disposition {
                    payload: Payload::Drop(DropReason::State),
                    reply: Some(Control::Reset),
                }
            }
            Operation::Response => Disposition::drop(DropReason::State),
        }
    }

    /// `len` bytes were taken out of the receive queue. Tells whether a
    /// [`Control::CreditUpdate`] is due; `low_water` is `SO_RCVLOWAT` in bytes.
    #[must_use]
    pub(crate) fn read(&mut self, len: u32, low_water: usize) -> bool {
        self.receive.forward(len);
        self.is_open_for_updates()
            && wake::announce_after_read(&self.receive, self.window(), low_water)
    }

    /// A reader is about to sleep for `need` bytes. Tells whether a [`Control::CreditUpdate`] is
    /// due first.
    #[must_use]
    pub(crate) fn before_sleep(&self, need: usize) -> bool {
        self.is_open_for_updates()
            && wake::announce_before_sleep(&self.receive, self.window(), need)
    }

    /// Bytes read of which the peer does not know, though it would care.
    pub(crate) fn untold(&self) -> u32 {
        if self.is_open_for_updates() {
            self.receive.unannounced()
        } else {
            0
        }
    }

    /// The receive buffer has a new size, in bytes. Tells whether a [`Control::CreditUpdate`] is
    /// due.
    ///
    /// The size binds both directions: this end also keeps no more than that in flight, and the
    /// peer's reader counts on as much.
    #[must_use]
    pub(crate) fn resize(&mut self, buf_alloc: u32) -> bool {
        self.receive.resize(buf_alloc);
        self.phase == Phase::Established && !(self.receive_ended() && self.send_ended())
    }

    /// Whether the peer may still send payload that this end wants.
    fn is_open_for_updates(&self) -> bool {
        self.phase == Phase::Established && !self.receive_ended()
    }

    /// This end shuts down `halves`. Returns what to send, if that is news.
    pub(crate) fn shutdown(&mut self, halves: Halves) -> Option<Control> {
        if self.phase != Phase::Established {
            return None;
        }
        let before = self.local;
        self.local = before.union(halves);
        (self.local != before).then_some(Control::Shutdown(self.local))
    }

    /// The last reference to the socket is gone. `unread` tells whether bytes are left in its
    /// receive queue: then the peer must not believe that they were taken.
    ///
    /// In [`Phase::Closing`] the caller waits for the peer's reset, or calls
    /// [`Connection::timeout`].
    pub(crate) fn close(&mut self, unread: bool) -> Option<Control> {
        let already = self.local.is_both();
        match self.phase {
            Phase::Closing | Phase::Closed(_) => None,
            Phase::Connecting => {
                self.phase = Phase::Closed(Cause::Abandoned);
                Some(Control::Reset)
            }
            Phase::Established if unread => {
                self.phase = Phase::Closed(Cause::Orderly);
                Some(Control::Reset)
            }
            Phase::Established => {
                self.phase = Phase::Closing;
                self.local = Halves::BOTH;
                (!already).then_some(Control::Shutdown(Halves::BOTH))
            }
        }
    }

    /// The time for an answer ran out: to the request, or to the close. A connection that waits
    /// for neither is left as it is, so that a timer that fires late does no harm.
    pub(crate) fn timeout(&mut self) -> Option<Control> {
        let cause = match self.phase {
            Phase::Connecting => Cause::Abandoned,
            Phase::Closing => Cause::Orderly,
            Phase::Established | Phase::Closed(_) => return None,
        };
        self.phase = Phase::Closed(cause);
        Some(Control::Reset)
    }

    /// The transport lost its connections; nothing can be sent.
    pub(crate) fn transport_reset(&mut self) {
        if !matches!(self.phase, Phase::Closed(_)) {
            self.phase = Phase::Closed(Cause::TransportReset);
        }
    }
}

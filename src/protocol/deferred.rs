// SPDX-License-Identifier: GPL-2.0

//! What arrives for a connection while a task owns its socket.
//!
//! Packets cannot be handled then, and to keep each of them would let a peer that only sends
//! small ones take any amount of memory. So everything but the payload is folded into a few
//! fields: the order of packets matters only in that an answer to a request is the first of all,
//! payload comes before the end of its direction, and both before a reset.

use super::connection::Payload;
use super::credit::{empty_limit, Advertisement};
use super::packet::{Halves, Header, Operation, SocketType};
use super::reason::DropReason;

/// What matters of a packet that begins a connection. The credit that the peer grants with its answer
/// must not depend on what it says later.
#[derive(Clone, Copy, Debug)]
struct Opening {
    operation: Operation,
    kind: SocketType,
    credit: Advertisement,
}

/// The packets of one connection that wait for its socket to be released.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    /// The first packet, if it was one that begins a connection.
    opening: Option<Opening>,
    /// The last header; everything of it that packets of one connection share holds for all.
    last: Option<Header>,
    payload: u32,
    /// Ends of messages without payload.
    empty_ends: u32,
    /// There was more of either than any connection takes.
    overrun: Option<DropReason>,
    credit_request: bool,
    /// There was a packet that says nothing but its credit.
    credit: bool,
    shutdown: Halves,
    reset: bool,
}

impl Deferred {
    /// Puts a packet aside. `limit` is the largest size that the receive buffer ever had: no peer
    /// may have more bytes than that outstanding, so more is over its credit whatever the
    /// connection has taken out meanwhile. The sum then becomes one that no credit covers. So it
    /// does when there are more ends of messages without payload than such a buffer takes.
    ///
    /// Behind a reset there is no connection left, so that the packet is to be answered as one for
    /// nobody: [`DropReason::NoSocket`].
    ///
    /// Tells whether the caller is to keep the payload.
    pub(crate) fn put(&mut self, header: &Header, limit: u32) -> Payload {
        if self.reset {
            return Payload::Drop(DropReason::NoSocket);
        }
        let first = self.is_empty();
        let opens = matches!(header.operation, Operation::Request | Operation::Response);
        // Whatever becomes of a packet, its credit holds.
        self.last = Some(*header);
        if opens && first {
            self.opening = Some(Opening {
                operation: header.operation,
                kind: header.kind,
                credit: header.credit,
            });
            return Payload::Nothing;
        }
        match header.operation {
            // Behind another packet there is no phase in which either is right.
            Operation::Request | Operation::Response => {
                self.credit = true;
                return Payload::Drop(DropReason::State);
            }
            Operation::ReadWrite if self.shutdown.send => {
                return Payload::Drop(DropReason::Shutdown)
            }
            Operation::ReadWrite if header.len > 0 || header.empty_ends > 0 => {
                return self.put_payload(header, limit)
            }
            Operation::Shutdown if header.halves() != Halves::default() => {
                self.shutdown = self.shutdown.union(header.halves());
            }
            Operation::ReadWrite | Operation::Shutdown | Operation::CreditUpdate => {
                self.credit = true;
            }
            Operation::CreditRequest => self.credit_request = true,
            Operation::Reset => self.reset = true,
        }
        Payload::Nothing
    }

    /// Puts a packet with payload aside, or with the end of a message without any.
    fn put_payload(&mut self, header: &Header, limit: u32) -> Payload {
        match self.add_payload(header, limit) {
            Ok(()) => Payload::Deliver,
            Err(reason) => {
                self.overrun = Some(reason);
                Payload::Drop(reason)
            }
        }
    }

    /// Counts payload, and ends of messages without any.
    fn add_payload(&mut self, header: &Header, limit: u32) -> Result<(), DropReason> {
        if let Some(reason) = self.overrun {
            return Err(reason);
        }
        let payload = self.payload.checked_add(header.len);
        let payload = payload.filter(|&payload| payload <= limit);
        let empty_ends = self.empty_ends.saturating_add(header.empty_ends);
        if empty_ends > empty_limit(limit) {
            return Err(DropReason::EmptyMessages);
        }
        self.payload = payload.ok_or(DropReason::Credit)?;
        self.empty_ends = empty_ends;
        Ok(())
    }

    /// Whether nothing was put aside.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Takes everything out, as packets for [`Connection::packet`] in the order in which they
    /// matter. All payload that was kept is one packet, which is delivered or dropped as one.
    ///
    /// [`Connection::packet`]: super::connection::Connection::packet
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Header> {
        let deferred = core::mem::take(self);
        let last = deferred.last;
        let when = move |there: bool, operation, flags| {
            let there = last.filter(|_| there);
            there.map(|header| Header {
                operation,
                flags,
                len: 0,
                empty_ends: 0,
                ..header
            })
        };
        let opening = deferred.opening.and_then(|opening| {
            Some(Header {
                kind: opening.kind,
                credit: opening.credit,
                ..when(true, opening.operation, 0)?
            })
        });
        let payload = when(deferred.has_payload(), Operation::ReadWrite, 0);
        let shutdown = deferred.shutdown;
        [
            opening,
            payload.map(|header| Header {
                len: match deferred.overrun {
                    Some(DropReason::Credit) => u32::MAX,
                    _ => deferred.payload,
                },
                empty_ends: match deferred.overrun {
                    Some(DropReason::EmptyMessages) => u32::MAX,
                    _ => deferred.empty_ends,
                },
                ..header
            }),
            when(deferred.credit_request, Operation::CreditRequest, 0),
            when(
                shutdown != Halves::default(),
                Operation::Shutdown,
                shutdown.to_wire(),
            ),
            // Where nothing else carries the credit.
            when(deferred.only_credit(), Operation::CreditUpdate, 0),
            when(deferred.reset, Operation::Reset, 0),
        ]
        .into_iter()
        .flatten()
    }

    fn has_payload(&self) -> bool {
        self.payload > 0 || self.empty_ends > 0 || self.overrun.is_some()
    }

    fn only_credit(&self) -> bool {
        self.credit
            && !self.has_payload()
            && !self.credit_request
            && self.shutdown == Halves::default()
    }
}

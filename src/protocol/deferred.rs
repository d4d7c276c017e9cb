// SPDX-License-Identifier: GPL-2.0

//! What arrives for a connection while a task owns its socket.
//!
//! Packets cannot be handled then, and to keep each of them would let a peer that only sends
//! small ones take any amount of memory. So everything but the payload is folded into a few
//! fields: the order of packets matters only in that payload comes before the end of its
//! direction, and both before a reset.

use super::connection::Payload;
use super::credit::empty_limit;
use super::packet::{Halves, Header, Operation};
use super::reason::DropReason;

/// The packets of one connection that wait for its socket to be released.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    /// The last header; everything of it that packets of one connection share holds for all.
    last: Option<Header>,
    response: bool,
    payload: u32,
    /// Ends of messages without payload.
    empty_ends: u32,
    /// There was more of either than any connection takes.
    overrun: Option<DropReason>,
    credit_request: bool,
    shutdown: Halves,
    reset: bool,
}

impl Deferred {
    /// Puts a packet aside. `limit` is the largest size that the receive buffer ever had: no peer
    /// may have more bytes than that outstanding, so more is over its credit whatever the
    /// connection has taken out meanwhile. The sum then becomes one that no credit covers. So it
    /// does when there are more ends of messages without payload than such a buffer takes.
    ///
    /// Tells whether the caller is to keep the payload.
    pub(crate) fn put(&mut self, header: &Header, limit: u32) -> Payload {
        if self.reset {
            return Payload::Drop(DropReason::State);
        }
        match header.operation {
            Operation::ReadWrite if self.shutdown.send => {
                return Payload::Drop(DropReason::Shutdown)
            }
            Operation::ReadWrite => {
                if let Err(reason) = self.add_payload(header, limit) {
                    self.overrun = Some(reason);
                    self.last = Some(*header);
                    return Payload::Drop(reason);
                }
            }
            Operation::Response if self.response => {
                self.last = Some(*header);
                return Payload::Drop(DropReason::State);
            }
            Operation::Response => self.response = true,
            Operation::CreditRequest => self.credit_request = true,
            Operation::CreditUpdate => {}
            Operation::Shutdown => self.shutdown = self.shutdown.union(header.halves()),
            Operation::Reset => self.reset = true,
            Operation::Request => return Payload::Drop(DropReason::State),
        }
        self.last = Some(*header);
        match header.operation {
            Operation::ReadWrite if header.len > 0 || header.empty_ends > 0 => Payload::Deliver,
            _ => Payload::Nothing,
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
        let payload = when(deferred.has_payload(), Operation::ReadWrite, 0);
        let shutdown = deferred.shutdown;
        [
            when(deferred.response, Operation::Response, 0),
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
            when(deferred.reset, Operation::Reset, 0),
            // Alone, credit is carried by a packet that says nothing else.
            when(deferred.only_credit(), Operation::CreditUpdate, 0),
        ]
        .into_iter()
        .flatten()
    }

    fn has_payload(&self) -> bool {
        self.payload > 0 || self.empty_ends > 0 || self.overrun.is_some()
    }

    fn only_credit(&self) -> bool {
        !self.response
            && !self.has_payload()
            && !self.credit_request
            && self.shutdown == Halves::default()
            && !self.reset
    }
}

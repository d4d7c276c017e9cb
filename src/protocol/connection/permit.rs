// SPDX-License-Identifier: GPL-2.0

//! Payload that may be sent, and was not yet.
//!
//! Credit is spent when a packet has its header. Who may find out after that that the packet cannot
//! go the way that it was to go takes a [`Permit`] first, and can let it drop.

use super::super::packet::{Header, MessageEnd};
use super::{Connection, Phase};

/// Leave to send a packet with payload, for which there is credit.
///
/// # Invariants
///
/// The connection stands, its sending half is open, and the credit covers `len` bytes.
#[must_use = "nothing is sent without the header"]
pub(crate) struct Permit<'a> {
    connection: &'a mut Connection,
    len: u32,
    end: Option<MessageEnd>,
}

impl Connection {
    /// Leave to send a packet with `len` bytes, if there is credit for all of them; the last packet of
    /// a message has its `end`. `None` when it may not be sent now.
    pub(crate) fn permit(&mut self, len: u32, end: Option<MessageEnd>) -> Option<Permit<'_>> {
        if len > self.payload_credit()? || (len == 0 && end.is_none()) {
            return None;
        }
        // INVARIANT: By what was just looked up.
        Some(Permit {
            connection: self,
            len,
            end,
        })
    }

    /// How many bytes the credit lets pass. `None` where no payload can be sent at all.
    pub(super) fn payload_credit(&self) -> Option<u32> {
        let is_open = self.phase == Phase::Established && !self.send_ended();
        is_open.then(|| self.send.available(self.receive.buf_alloc()))
    }
}

impl Permit<'_> {
    /// The header of the packet. The credit is spent with that.
    pub(crate) fn header(self) -> Header {
        let Permit {
            connection,
            len,
            end,
        } = self;
        if len == 0 {
            connection.send.send_empty();
        } else {
            connection.send.send(len, connection.receive.buf_alloc());
        }
        let credit = connection.announce();
        Header::data(connection.flow, connection.kind, len, end, credit)
    }
}

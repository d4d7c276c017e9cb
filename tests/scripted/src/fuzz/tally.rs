// SPDX-License-Identifier: GPL-2.0

//! What the guest has sent in a run: how much, and whether it keeps the rules of the wire itself.

use std::fmt;

use anyhow::{ensure, Result};
use rvsock_packet::{Header, Operation, Packet, HOST_CID, STREAM};

/// The packets of the guest.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many of each operation.
    operations: [u32; 8],
    /// The CIDs that the guest has had.
    cids: Vec<u64>,
    /// The answer to [`end_of_all`] has come.
    ended: bool,
}

/// Where nobody is, and from where nothing else is sent.
const NOBODY: u32 = 29999;

/// A packet that a guest with this CID answers, when it has seen all that was sent before.
pub fn end_of_all(guest: u64) -> Packet {
    Packet {
        header: Header {
            src_cid: HOST_CID,
            dst_cid: guest,
            src_port: NOBODY,
            dst_port: NOBODY,
            len: 0,
            kind: STREAM,
            operation: Operation::REQUEST,
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        },
        payload: Vec::new(),
    }
}

impl Tally {
    /// The guest has this CID as well from now on.
    pub fn add_cid(&mut self, cid: u64) {
        self.cids.push(cid);
    }

    /// Whether the answer to [`end_of_all`] has come.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes note of a packet.
    ///
    /// # Errors
    ///
    /// When no guest should send it, whatever it was sent.
    pub fn note(&mut self, packet: &Packet) -> Result<()> {
        let header = &packet.header;
        let operation = usize::from(header.operation.0);
        let count = self.operations.get_mut(operation);
        ensure!(
            self.cids.contains(&header.src_cid),
            "the guest has sent a packet that is not from its CID: {packet}"
        );
        ensure!(
            packet.payload.len() == header.len as usize,
            "the guest has sent a packet whose payload is not as long as it says: {packet}"
        );
        ensure!(
            header.len == 0 || header.operation == Operation::PAYLOAD,
            "the guest has sent payload with an operation that has none: {packet}"
        );
        self.ended |= header.dst_port == NOBODY;
        match count {
            Some(count) if operation > 0 => *count += 1,
            _ => ensure!(
                false,
                "the guest has sent an operation that is none: {packet}"
            ),
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            "",
            "requests",
            "responses",
            "refusals",
            "shutdowns",
            "payloads",
            "updates",
            "asked",
        ];
        for (name, count) in names.iter().zip(&self.operations).skip(1) {
            write!(out, " {name}={count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_guest_should_send() {
        let mut tally = Tally::default();
        tally.add_cid(3);
        let good = Packet {
            header: Header {
                src_cid: 3,
                dst_cid: 2,
                src_port: 5100,
                dst_port: 20000,
                len: 0,
                kind: 1,
                operation: Operation::RESPONSE,
                flags: 0,
                buf_alloc: 1,
                fwd_cnt: 0,
            },
            payload: Vec::new(),
        };
        assert!(tally.note(&good).is_ok());
        assert!(tally.to_string().contains(" responses=1 "));
        let changes: [fn(&mut Packet); 5] = [
            |one| one.header.src_cid = 4,
            |one| one.header.len = 1,
            |one| one.payload.push(0),
            |one| one.header.operation = Operation(0),
            |one| one.header.operation = Operation(8),
        ];
        for change in changes {
            let mut wrong = good.clone();
            change(&mut wrong);
            assert!(tally.note(&wrong).is_err(), "{wrong}");
        }
    }
}

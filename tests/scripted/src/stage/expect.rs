// SPDX-License-Identifier: GPL-2.0

//! What the guest is to send, and that it keeps the rules which hold for all of its packets.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rvsock_packet::{Field, Header, Operation, Packet, HOST_CID, STREAM};

use super::{log, may_be_skipped, Connection, Stage, PATIENCE};
use crate::rings::{EVENT, RECEIVE, TRANSMIT};
use crate::scenario::{pattern, Comparison, Expected};

/// How long a queue does not change before it counts as full.
const SETTLED: Duration = Duration::from_millis(200);

impl Stage {
    /// Waits for the packets of a step, each the next one of its connection.
    pub(super) fn expect(&mut self, expected: &Expected) -> Result<()> {
        for number in 0..expected.times {
            let packet = self.next(expected, number)?;
            self.take_note(&expected.connection, &packet)?;
            let truth = self.truth(&expected.connection)?;
            if packet.header.operation != expected.operation {
                bail!(
                    "{} was expected, and the guest has sent {packet}",
                    expected.operation
                );
            }
            for (field, comparison, values) in &expected.checks {
                let found = packet.header.get(*field);
                let value = values.nth(number, *field, truth.get(*field));
                let good = match comparison {
                    Comparison::Equal => found == value,
                    Comparison::AtLeast => found >= value,
                    Comparison::AtMost => found <= value,
                };
                ensure!(good, "{field:?} is {found}, not {value}: {packet}");
            }
            if let Some(payload) = &expected.payload {
                ensure!(
                    packet.payload == *payload,
                    "the payload is '{}', not '{}'",
                    String::from_utf8_lossy(&packet.payload),
                    String::from_utf8_lossy(payload)
                );
            }
        }
        Ok(())
    }

    /// The next packet of the connection of a step; those about credit alone are passed by, unless
    /// it is they that are expected.
    fn next(&mut self, expected: &Expected, number: u32) -> Result<Packet> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.queue.iter().position(|packet| {
                self.belongs(packet, expected, number)
                    && (packet.header.operation == expected.operation || !may_be_skipped(packet))
            });
            if let Some(packet) = found.and_then(|found| self.queue.remove(found)) {
                return Ok(packet);
            }
            if !self.pump(Some(deadline))? {
                match self.queue.iter().find(|one| !may_be_skipped(one)) {
                    Some(other) => bail!(
                        "{} did not come within {PATIENCE:?}, but {other}",
                        expected.operation
                    ),
                    None => bail!("{} did not come within {PATIENCE:?}", expected.operation),
                }
            }
        }
    }

    /// Whether a packet is of the connection of a step, by its ports: those that the step tells, or
    /// those of the connection; a connection that is not there yet begins with a request.
    fn belongs(&self, packet: &Packet, expected: &Expected, number: u32) -> bool {
        let known = self.connections.get(&expected.connection);
        let port = |field: Field, of_connection: Option<u32>| {
            let told = expected.checks.iter().find(|(one, _, _)| *one == field);
            match (told, of_connection) {
                (Some((_, _, values)), _) => Some(values.nth(number, field, 0)),
                (None, Some(port)) => Some(port.into()),
                (None, None) => None,
            }
        };
        let header = &packet.header;
        let source = port(Field::SourcePort, known.map(|one| one.guest_port));
        let destination = port(Field::DestinationPort, known.map(|one| one.host_port));
        let ports = (header.src_port, header.dst_port);
        let of_another =
            known.is_none() && self.connections.values().any(|one| one.ports() == ports);
        source.is_none_or(|port| port == u64::from(header.src_port))
            && destination.is_none_or(|port| port == u64::from(header.dst_port))
            && !of_another
    }

    /// Takes note of a packet of a connection, and sees that the guest keeps the rules that hold
    /// for every packet.
    fn take_note(&mut self, name: &str, packet: &Packet) -> Result<()> {
        let header = &packet.header;
        let guest = self.cid.load(Ordering::SeqCst);
        ensure!(
            packet.payload.len() == header.len as usize,
            "len is not that of the payload: {packet}"
        );
        ensure!(
            header.operation == Operation::PAYLOAD || header.len == 0,
            "a payload on an operation that has none: {packet}"
        );
        ensure!(
            header.src_cid == guest,
            "the source is not the guest's CID, {guest}: {packet}"
        );
        if header.operation == Operation::REQUEST && !self.connections.contains_key(name) {
            let connection = Connection::new(header.src_port, header.dst_port, header.kind);
            self.connections.insert(name.to_owned(), connection);
        }
        // A reset for nobody says nothing of credit.
        if header.operation == Operation::RESET {
            return Ok(());
        }
        let connection = self.connection(name)?;
        ensure!(header.buf_alloc > 0, "no buffer is told: {packet}");
        ensure!(
            header.fwd_cnt <= connection.sent,
            "more was taken than was sent: {packet}"
        );
        connection.received = connection.received.wrapping_add(header.len);
        ensure!(
            u64::from(connection.received) <= connection.granted,
            "it is more than the credit, {} bytes in all: {packet}",
            connection.granted
        );
        let truth = self.truth(name)?;
        for field in [
            Field::DestinationCid,
            Field::SourcePort,
            Field::DestinationPort,
            Field::Type,
        ] {
            ensure!(
                header.get(field) == truth.get(field),
                "{field:?} should be {}: {packet}",
                truth.get(field)
            );
        }
        Ok(())
    }

    /// What is true in a packet of the guest.
    fn truth(&self, name: &str) -> Result<Header> {
        let known = self.connections.get(name);
        Ok(Header {
            src_cid: self.cid.load(Ordering::SeqCst),
            dst_cid: HOST_CID,
            src_port: known.map_or(0, |one| one.guest_port),
            dst_port: known.map_or(0, |one| one.host_port),
            len: 0,
            kind: known.map_or(STREAM, |one| one.kind),
            operation: Operation::RESET,
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: known.map_or(0, |one| one.sent),
        })
    }

    /// Waits for payload of the pattern.
    pub(super) fn receive(&mut self, name: &str, bytes: u32) -> Result<()> {
        let expected = Expected {
            connection: name.to_owned(),
            operation: Operation::PAYLOAD,
            checks: Vec::new(),
            payload: None,
            times: 1,
        };
        let mut left = bytes;
        while left > 0 {
            let packet = self
                .next(&expected, 0)
                .with_context(|| format!("{left} bytes are left"))?;
            let operation = packet.header.operation;
            ensure!(
                operation == Operation::PAYLOAD,
                "payload was expected, and the guest has sent {packet}"
            );
            let before = self.connection(name)?.received;
            self.take_note(name, &packet)?;
            let pairs = (before..).zip(&packet.payload);
            if let Some((offset, _)) = pairs.into_iter().find(|(at, byte)| pattern(*at) != **byte) {
                bail!("the byte at {offset} is not that of the pattern");
            }
            left = left
                .checked_sub(packet.header.len)
                .with_context(|| format!("it is more than {bytes} bytes: {packet}"))?;
        }
        Ok(())
    }

    /// Sees that nothing comes.
    pub(super) fn silence(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            if let Some(packet) = self.queue.iter().find(|one| !may_be_skipped(one)) {
                bail!("the guest was to send nothing, and has sent {packet}");
            }
            if !self.pump(Some(end))? {
                return Ok(());
            }
        }
    }

    /// Waits until a driver has begun, and sees that the event queue has buffers when the first one
    /// is in the receive queue.
    pub(super) fn begin(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.begun {
            ensure!(self.pump(Some(deadline))?, "no driver has begun");
        }
        // Not an instant may be missed in which it is otherwise. The queues come into use one by one.
        while !self.rings.in_use() || self.rings.waiting(RECEIVE) == 0 {
            ensure!(Instant::now() < deadline, "the receive queue is not filled");
        }
        ensure!(
            self.rings.waiting(EVENT) > 0,
            "the receive queue is filled before the event queue"
        );
        Ok(())
    }

    /// Waits until the guest adds nothing to the transmit queue any more.
    pub(super) fn fill_transmission(&mut self) -> Result<()> {
        ensure!(self.holding, "the transmit queue is not held");
        let deadline = Instant::now() + PATIENCE;
        let mut filled = (0, Instant::now());
        while filled.0 == 0 || filled.1.elapsed() < SETTLED {
            ensure!(
                Instant::now() < deadline,
                "the transmit queue does not fill, or not to an end"
            );
            self.pump(Some(Instant::now() + SETTLED / 4))?;
            let waiting = self.rings.waiting(TRANSMIT);
            if waiting != filled.0 {
                filled = (waiting, Instant::now());
            }
        }
        log(format_args!("{} packets fill the transmit queue", filled.0));
        Ok(())
    }
}

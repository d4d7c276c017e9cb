// SPDX-License-Identifier: GPL-2.0

//! What the host sends: true unless the scenario says otherwise.

use anyhow::Result;
use rvsock_packet::{Field, Header, Operation, Packet, STREAM};

use super::{log, Connection, Stage};
use crate::live::BUFFER;
use crate::rings::RECEIVE;
use crate::scenario::{pattern, Carried, Manner, Sent};

/// Port of the host for connections that a scenario opens without saying from where.
const FIRST_PORT: u32 = 7000;

impl Stage {
    /// Sends the packets of a step.
    pub(super) fn send(&mut self, sent: &Sent) -> Result<()> {
        if !self.connections.contains_key(&sent.connection) {
            self.open(sent);
        }
        for number in 0..sent.times {
            let connection = self.known(&sent.connection)?;
            let offset = connection.sent;
            let mut header = self.header(connection, sent.operation);
            if let Carried::Text(text) = &sent.payload {
                header.len = text.len() as u32;
            }
            if let Carried::Pattern(bytes) = sent.payload {
                header.len = bytes;
            }
            for (field, values) in &sent.fields {
                let truth = header.get(*field);
                header.set(*field, values.nth(number, *field, truth));
            }
            let payload = match &sent.payload {
                Carried::Text(text) => text.clone(),
                Carried::Pattern(bytes) => of_pattern(offset, *bytes),
                Carried::AsTold => of_pattern(offset, header.len.min(BUFFER)),
            };
            self.deliver(&sent.connection, Packet { header, payload }, &sent.manner)?;
        }
        Ok(())
    }

    /// Notes the connection that the first packet of the host belongs to.
    fn open(&mut self, sent: &Sent) {
        let told = |field: Field, otherwise: u32| {
            let told = sent.fields.iter().find(|(one, _)| *one == field);
            told.map_or(otherwise, |(_, values)| {
                values.nth(0, field, otherwise.into()) as u32
            })
        };
        let host_port = told(
            Field::SourcePort,
            FIRST_PORT + self.connections.len() as u32,
        );
        let guest_port = told(Field::DestinationPort, 0);
        let kind = told(Field::Type, STREAM.into()) as u16;
        let connection = Connection::new(guest_port, host_port, kind);
        self.connections.insert(sent.connection.clone(), connection);
    }

    /// Sends payload of the pattern.
    pub(super) fn send_bytes(&mut self, name: &str, bytes: u32, each: u32) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            let connection = self.known(name)?;
            let len = left.min(each);
            let payload = of_pattern(connection.sent, len);
            let header = Header {
                len,
                ..self.header(connection, Operation::PAYLOAD)
            };
            self.deliver(name, Packet { header, payload }, &Manner::default())?;
            left -= len;
        }
        Ok(())
    }

    /// Sends a packet, and takes note of it as the guest would.
    fn deliver(&mut self, name: &str, packet: Packet, manner: &Manner) -> Result<()> {
        log(format_args!("host {packet}"));
        let connection = self.connection(name)?;
        let header = &packet.header;
        if header.operation == Operation::PAYLOAD {
            connection.sent = connection.sent.wrapping_add(packet.payload.len() as u32);
        }
        // What was sent may be told of only when it is sent; what was taken not before it came.
        let taken = header.fwd_cnt.min(connection.received);
        let granted = u64::from(taken) + u64::from(header.buf_alloc);
        connection.granted = connection.granted.max(granted);
        self.put(RECEIVE, &packet.encode(), manner)
    }
}

/// So many bytes of the pattern.
fn of_pattern(offset: u32, bytes: u32) -> Vec<u8> {
    (0..bytes)
        .map(|at| pattern(offset.wrapping_add(at)))
        .collect()
}

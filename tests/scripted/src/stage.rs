// SPDX-License-Identifier: GPL-2.0

//! The thread that plays: it takes what the guest sends, hands it to the services or to the
//! scenario, and goes through that step by step.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use crate::device::Signal;
use crate::live::{Asked, Live, Ports, BOTH, BUFFER};
use crate::packet::{Field, Header, Operation, Packet, HOST_CID, STREAM};
use crate::parse::Scenarios;
use crate::rings::{Rings, EVENT, RECEIVE, TRANSMIT};
use crate::scenario::{pattern, Carried, Comparison, Expected, Line, Manner, Sent, Step};

/// How long the guest may take for a step.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a queue does not change before it counts as full.
const SETTLED: Duration = Duration::from_millis(200);

/// Port of the host for connections that a scenario opens without saying from where.
const FIRST_PORT: u32 = 7000;

/// A connection of a scenario.
#[derive(Debug)]
struct Connection {
    guest_port: u32,
    host_port: u32,
    kind: u16,
    /// Bytes that the host has sent, modulo 2^32.
    sent: u32,
    /// Bytes that the guest has sent, modulo 2^32.
    received: u32,
    /// How many bytes the guest may have sent in all, by the most generous word of the host.
    granted: u64,
}

impl Connection {
    fn new(guest_port: u32, host_port: u32, kind: u16) -> Self {
        Connection {
            guest_port,
            host_port,
            kind,
            sent: 0,
            received: 0,
            granted: 0,
        }
    }

    fn ports(&self) -> Ports {
        (self.guest_port, self.host_port)
    }
}

/// What a device shares with the thread that plays, and what is played.
pub struct Stage {
    rings: Arc<Rings>,
    cid: Arc<AtomicU64>,
    /// What that is but for scenarios.
    own_cid: u64,
    signals: Receiver<Signal>,
    scenarios: Arc<Scenarios>,
    live: Live,
    /// Packets that are not for the services.
    queue: VecDeque<Packet>,
    connections: BTreeMap<String, Connection>,
    playing: bool,
    holding: bool,
    waiting: Vec<Ports>,
    verdict: String,
}

impl Stage {
    /// A stage on which nothing is played yet.
    pub fn new(
        rings: Arc<Rings>,
        cid: Arc<AtomicU64>,
        signals: Receiver<Signal>,
        scenarios: Arc<Scenarios>,
    ) -> Self {
        Stage {
            rings,
            own_cid: cid.load(Ordering::SeqCst),
            cid,
            signals,
            scenarios,
            live: Live::default(),
            queue: VecDeque::new(),
            connections: BTreeMap::new(),
            playing: false,
            holding: false,
            waiting: Vec::new(),
            verdict: "nothing was played".to_owned(),
        }
    }

    /// Plays what is asked for until the device is gone.
    ///
    /// # Errors
    ///
    /// When the device's queues cannot be used.
    pub fn run(&mut self) -> Result<()> {
        loop {
            self.pump(None)?;
            while let Some((whom, asked)) = self.live.asked() {
                match asked {
                    Asked::Play(name) => self.play(whom, &name),
                    Asked::Result => self.waiting.push(whom),
                }
            }
            for whom in std::mem::take(&mut self.waiting) {
                self.live.tell(whom, &self.verdict);
            }
            self.flush()?;
        }
    }

    /// Plays a scenario from its beginning to its end, or to the step that failed.
    fn play(&mut self, whom: Ports, name: &str) {
        let scenarios = Arc::clone(&self.scenarios);
        let Some(scenario) = scenarios.get(name) else {
            self.verdict = format!("there is no scenario {name}");
            self.live.tell(whom, &self.verdict);
            return;
        };
        log(format_args!("scenario {name}"));
        self.queue.clear();
        self.connections.clear();
        self.playing = true;
        self.live.tell(whom, "playing");
        self.verdict = match self.flush().and_then(|()| self.play_steps(&scenario.steps)) {
            Ok(()) => "passed".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        log(format_args!("scenario {name}: {}", self.verdict));
        self.playing = false;
        self.holding = false;
        if self.cid.swap(self.own_cid, Ordering::SeqCst) != self.own_cid {
            // Otherwise who comes next has to do with that. Without a buffer it has.
            let _ = self.rings.put(EVENT, &[0; 4], &Manner::default());
            self.live.forget();
        }
        // Whoever still waits for something on a connection of the scenario does not any more.
        for packet in std::mem::take(&mut self.queue) {
            self.refuse(&packet);
        }
        if self.verdict != "passed" {
            for connection in self.connections.values() {
                self.live.send(Packet {
                    header: self.header(connection, Operation::RESET),
                    payload: Vec::new(),
                });
            }
        }
    }

    fn play_steps(&mut self, steps: &[Line]) -> Result<()> {
        for line in steps {
            self.step(&line.step).with_context(|| line.place.clone())?;
        }
        // What came before the end and was not expected.
        self.pump(Some(Instant::now()))?;
        let more = |one: &&Packet| !may_be_skipped(one) && !is_close(one);
        match self.queue.iter().find(more) {
            Some(packet) => bail!("the guest has sent more than that: {packet}"),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Expect(expected) => self.expect(expected),
            Step::Receive { connection, bytes } => self.receive(connection, *bytes),
            Step::Silence(time) => self.silence(*time),
            Step::Anything(time) => {
                let end = Instant::now() + *time;
                while self.pump(Some(end))? {}
                // A program that has ended is not kept waiting.
                for packet in std::mem::take(&mut self.queue) {
                    if is_close(&packet) {
                        self.refuse(&packet);
                    }
                }
                self.flush()
            }
            Step::FillTransmission => self.fill_transmission(),
            Step::EventBuffers(count) => {
                let found = self.rings.waiting(EVENT);
                ensure!(
                    found >= *count,
                    "the event queue has {found} buffers, not {count}"
                );
                Ok(())
            }
            Step::Send(sent) => self.send(sent),
            Step::SendBytes {
                connection,
                bytes,
                each,
            } => self.send_bytes(connection, *bytes, *each),
            Step::Event {
                number,
                manner,
                times,
            } => {
                for _ in 0..*times {
                    log(format_args!("host event {number}"));
                    self.put(EVENT, &number.to_le_bytes(), manner)?;
                }
                if *number == 0 && manner.used.is_none() {
                    // The guest has no connections any more.
                    self.live.forget();
                }
                Ok(())
            }
            Step::Cid(cid) => {
                log(format_args!("host cid {cid}"));
                self.cid.store(*cid, Ordering::SeqCst);
                Ok(())
            }
            Step::Wait(time) => {
                let end = Instant::now() + *time;
                while self.pump(Some(end))? {}
                Ok(())
            }
            Step::HoldTransmission => {
                self.holding = true;
                Ok(())
            }
            Step::ResumeTransmission => {
                self.holding = false;
                self.pump(Some(Instant::now())).map(drop)
            }
            Step::KeepBuffers(count) => {
                for _ in 0..*count {
                    ensure!(self.rings.keep(RECEIVE), "the guest has no more buffers");
                }
                Ok(())
            }
            Step::Interrupt(queue) => self.rings.interrupt(*queue),
        }
    }

    /// Takes what the guest has sent and sends what the services have to send; waits for something
    /// to happen, until the deadline if there is one. Returns whether that is still to come.
    fn pump(&mut self, deadline: Option<Instant>) -> Result<bool> {
        if self.exchange()? {
            return Ok(true);
        }
        let signal = match deadline {
            None => self.signals.recv().map_err(RecvTimeoutError::from),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.signals.recv_timeout(left)
            }
        };
        match signal {
            Ok(signal) => self.hear(signal),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => bail!("the device is gone"),
        }
        self.exchange()?;
        Ok(true)
    }

    fn hear(&mut self, signal: Signal) {
        if signal == Signal::Reset {
            log(format_args!("a driver begins"));
            self.live.forget();
            self.queue.clear();
        }
    }

    /// Exchanges packets with the queues as far as it goes. Returns whether any came.
    fn exchange(&mut self) -> Result<bool> {
        // What a driver sends comes after the signal that it has begun.
        while let Ok(signal) = self.signals.try_recv() {
            self.hear(signal);
        }
        let mut any = false;
        while !self.holding {
            match self.rings.take() {
                Some(bytes) => {
                    any = true;
                    self.sort(&bytes?)?;
                }
                None if self.rings.watch(TRANSMIT) => {}
                None => break,
            }
        }
        self.flush()?;
        Ok(any)
    }

    /// Gives a packet of the guest to whom it is for.
    fn sort(&mut self, bytes: &[u8]) -> Result<()> {
        let packet = Packet::decode(bytes)
            .with_context(|| format!("the guest has sent {} bytes", bytes.len()))?;
        if Live::serves(&packet) {
            self.live.receive(&packet);
        } else {
            log(format_args!("guest {packet}"));
            if self.playing {
                self.queue.push_back(packet);
            } else {
                self.refuse(&packet);
            }
        }
        Ok(())
    }

    /// Answers a packet that nobody is there for.
    fn refuse(&mut self, packet: &Packet) {
        if let Some(refusal) = packet.refusal() {
            self.live.send(refusal);
        }
    }

    /// Sends what the services have to send, as far as the guest has buffers.
    fn flush(&mut self) -> Result<()> {
        while let Some(packet) = self.live.front() {
            let bytes = packet.encode();
            if self.rings.put(RECEIVE, &bytes, &Manner::default())? {
                self.live.pop();
            } else if !self.rings.watch(RECEIVE) {
                break;
            }
        }
        Ok(())
    }

    /// Puts something into a queue as soon as there is a buffer.
    fn put(&mut self, queue: usize, bytes: &[u8], manner: &Manner) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.rings.put(queue, bytes, manner)? {
            if !self.rings.watch(queue) && !self.pump(Some(deadline))? {
                bail!("the guest has no buffer in that queue");
            }
        }
        Ok(())
    }

    /// Waits for the packets of a step, each the next one of its connection.
    fn expect(&mut self, expected: &Expected) -> Result<()> {
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

    fn known(&self, name: &str) -> Result<&Connection> {
        let known = self.connections.get(name);
        known.with_context(|| format!("the connection '{name}' is not there"))
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection> {
        let known = self.connections.get_mut(name);
        known.with_context(|| format!("the connection '{name}' is not there"))
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

    /// What is true in a packet of the host.
    fn header(&self, connection: &Connection, operation: Operation) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.cid.load(Ordering::SeqCst),
            src_port: connection.host_port,
            dst_port: connection.guest_port,
            len: 0,
            kind: connection.kind,
            operation,
            flags: 0,
            buf_alloc: BUFFER,
            fwd_cnt: connection.received,
        }
    }

    /// Waits for payload of the pattern.
    fn receive(&mut self, name: &str, bytes: u32) -> Result<()> {
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
    fn silence(&mut self, time: Duration) -> Result<()> {
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

    /// Waits until the guest adds nothing to the transmit queue any more.
    fn fill_transmission(&mut self) -> Result<()> {
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

    /// Sends the packets of a step.
    fn send(&mut self, sent: &Sent) -> Result<()> {
        if !self.connections.contains_key(&sent.connection) {
            self.begin(sent);
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
    fn begin(&mut self, sent: &Sent) {
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
    fn send_bytes(&mut self, name: &str, bytes: u32, each: u32) -> Result<()> {
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

/// Whether nothing is said if a packet is not expected.
fn may_be_skipped(packet: &Packet) -> bool {
    packet.header.operation.is_credit()
}

/// Whether it is the end of a program's part, which may come before that of the scenario.
fn is_close(packet: &Packet) -> bool {
    packet.header.operation == Operation::SHUTDOWN && packet.header.flags == BOTH
}

/// So many bytes of the pattern.
fn of_pattern(offset: u32, bytes: u32) -> Vec<u8> {
    (0..bytes)
        .map(|at| pattern(offset.wrapping_add(at)))
        .collect()
}

/// Writes a line to the log.
fn log(line: fmt::Arguments<'_>) {
    // Without a log the results are the same.
    let _ = writeln!(io::stdout(), "{line}");
}

// SPDX-License-Identifier: GPL-2.0

//! The thread that plays: it takes what the guest sends, hands it to the services or to the
//! scenario, and goes through that step by step.

mod expect;
mod fuzz;
mod send;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rvsock_packet::{Header, Operation, Packet, HOST_CID};

use crate::device::Signal;
use crate::fuzz::Tally;
use crate::live::{Asked, Live, Ports, BOTH, BUFFER};
use crate::parse::Scenarios;
use crate::rings::{Rings, EVENT, RECEIVE, TRANSMIT};
use crate::scenario::{Line, Manner, Step};

/// How long the guest may take for a step.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it is given for what it may do or leave.
const PAUSE: Duration = Duration::from_millis(5);

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
    /// Whether a driver has begun since the scenario did, or the run of the fuzzer.
    begun: bool,
    /// What the guest has sent in the run of the fuzzer that is under way.
    tally: Option<Tally>,
    holding: bool,
    /// How many packets the services were sent, modulo 2^32.
    served: u32,
    /// How often the guest had told of receive buffers when the scenario began, modulo 2^32.
    told_of_buffers: u32,
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
            begun: false,
            tally: None,
            holding: false,
            served: 0,
            told_of_buffers: 0,
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
                    Asked::Fuzz(order) => self.fuzz(whom, &order),
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
        self.begun = false;
        self.told_of_buffers = self.rings.kicks(RECEIVE);
        self.live.tell(whom, "playing");
        self.verdict = match self.flush().and_then(|()| self.play_steps(&scenario.steps)) {
            Ok(()) => "passed".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        log(format_args!("scenario {name}: {}", self.verdict));
        self.playing = false;
        self.holding = false;
        self.be_as_before();
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

    /// Gives the guest its own CID again, if it has another one.
    fn be_as_before(&mut self) {
        if self.cid.swap(self.own_cid, Ordering::SeqCst) != self.own_cid {
            // Otherwise who comes next has to do with that. Without a buffer it has.
            let _ = self.rings.put(EVENT, &[0; 4], &Manner::default());
            self.live.forget();
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
            Step::Begin => self.begin(),
            Step::FillTransmission => self.fill_transmission(),
            Step::EventBuffers(count) => {
                let found = self.rings.waiting(EVENT);
                ensure!(
                    found >= *count,
                    "the event queue has {found} buffers, not {count}"
                );
                Ok(())
            }
            Step::ToldOfBuffers { least, most } => {
                let kicks = self.rings.kicks(RECEIVE);
                let told = kicks.wrapping_sub(self.told_of_buffers);
                ensure!(
                    (*least..=*most).contains(&told),
                    "the guest has told of receive buffers {told} times, not {least} to {most}"
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
            self.begun = true;
        }
    }

    /// Exchanges packets with the queues as far as it goes. Returns whether any came, or a signal:
    /// who waits for something else than a packet, a buffer of the event queue say, has to look.
    fn exchange(&mut self) -> Result<bool> {
        let mut any = false;
        // What a driver sends comes after the signal that it has begun.
        while let Ok(signal) = self.signals.try_recv() {
            any = true;
            self.hear(signal);
        }
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
            self.served = self.served.wrapping_add(1);
            // After a transport reset the guest has to know by itself that a connection is gone.
            let is_new = packet.header.operation == Operation::REQUEST;
            if self.tally.is_none() || is_new || self.live.knows(&packet) {
                self.live.receive(&packet);
            }
        } else if let Some(tally) = &mut self.tally {
            tally.note(&packet)?;
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
            // There is no more room until the guest has seen what it may not have been told of.
            self.rings.interrupt(queue)?;
            if !self.rings.watch(queue) && !self.pump(Some(deadline))? {
                bail!("the guest has no buffer in that queue");
            }
        }
        if manner.asking {
            self.rings.ask(queue)?;
            let end = Instant::now() + PAUSE;
            while self.pump(Some(end))? {}
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
}

/// Whether nothing is said if a packet is not expected.
fn may_be_skipped(packet: &Packet) -> bool {
    packet.header.operation.is_credit()
}

/// Whether it is the end of a program's part, which may come before that of the scenario.
fn is_close(packet: &Packet) -> bool {
    packet.header.operation == Operation::SHUTDOWN && packet.header.flags == BOTH
}

/// Writes a line to the log.
fn log(line: fmt::Arguments<'_>) {
    // Without a log the results are the same.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc;

    use vm_memory::GuestMemoryMmap;

    use crate::rings::Memory;

    #[test]
    fn a_signal_from_before_a_wait_ends_it() -> Result<()> {
        let (sender, signals) = mpsc::channel();
        let rings = Rings::new(Memory::new(GuestMemoryMmap::new()));
        let mut stage = Stage::new(
            Arc::new(rings),
            Arc::new(AtomicU64::new(3)),
            signals,
            Arc::default(),
        );
        let soon = || Some(Instant::now() + Duration::from_millis(1));
        sender.send(Signal::Kick)?;
        assert!(stage.pump(soon())?);
        assert!(!stage.pump(soon())?);
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Runs of the fuzzer: what [`crate::fuzz`] says is done here.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use super::{log, Stage, PATIENCE};
use crate::fuzz::{end_of_all, Generator, Kind, Move, Order, Sent, Tally};
use crate::live::Ports;
use crate::rings::{EVENT, RECEIVE};
use crate::scenario::Manner;

/// How many packets come together. Then the guest's programs have a turn: until the services have had
/// so many packets of them, or it takes too long.
const TOGETHER: u32 = 64;
const BETWEEN: u32 = 4;
const TURN: Duration = Duration::from_millis(20);

/// How long it takes until a queue is looked at again.
const LOOK: Duration = Duration::from_millis(2);

/// How long an answer may take before it is asked for again.
const AGAIN: Duration = Duration::from_millis(200);

impl Stage {
    /// Sends what follows from a seed.
    pub(super) fn fuzz(&mut self, whom: Ports, words: &str) {
        let order: Order = match words.parse() {
            Ok(order) => order,
            Err(error) => {
                self.verdict = format!("{error:#}");
                self.live.tell(whom, &self.verdict);
                return;
            }
        };
        log(format_args!("fuzz {words}"));
        let events = self.rings.waiting(EVENT);
        self.live.tell(whom, "fuzzing");
        let mut tally = Tally::default();
        tally.add_cid(self.cid.load(Ordering::SeqCst));
        self.tally = Some(tally);
        let mut sent = Sent::default();
        let ended = self
            .flush()
            .and_then(|()| self.fuzz_moves(&order, &mut sent));
        self.holding = false;
        self.verdict = match (ended, self.tally.take()) {
            (Ok(()), Some(tally)) => format!("passed {sent}{tally}"),
            (Ok(()), None) => "passed".to_owned(),
            (Err(error), _) => format!("after {sent}: {error:#}"),
        };
        log(format_args!("fuzz {words}: {}", self.verdict));
        if order.kind() == Kind::Resets {
            // Who is told that it is over has nothing to do any more with the event that this takes.
            let _ = self.wait_for_buffers(EVENT, events);
            self.be_as_before();
            let _ = self.wait_for_buffers(EVENT, events);
        }
    }

    /// Does what the fuzzer says, until it says no more or a driver begins with the device anew.
    fn fuzz_moves(&mut self, order: &Order, sent: &mut Sent) -> Result<()> {
        self.begun = false;
        let events = self.rings.waiting(EVENT);
        let (mut held, mut together, mut violated) = (0, 0, false);
        let mut generator = Generator::new(order, self.own_cid);
        while let Some(next) = generator.next() {
            if order.told {
                log(format_args!("{next}"));
            }
            match &next {
                Move::Packet {
                    packet,
                    written,
                    manner,
                } => {
                    let bytes = Move::bytes(packet, *written);
                    if !violated {
                        self.put(RECEIVE, &bytes, manner)?;
                    } else if !self.rings.put(RECEIVE, &bytes, manner).unwrap_or(false) {
                        return Ok(());
                    }
                    held -= i64::from(held > 0);
                    self.holding = held > 0;
                    together += 1;
                }
                Move::Event { number, manner } => {
                    self.put(EVENT, &number.to_le_bytes(), manner)?;
                }
                Move::TransportReset { cid } => self.lose_all(*cid, events)?,
                Move::HoldTransmission(packets) => held = (*packets).into(),
                Move::Interrupt(queue) => self.rings.interrupt(*queue)?,
                Move::Violation { queue, manner } => {
                    // Whoever asked for it has heard that it has begun.
                    self.holding = false;
                    self.wait_for_end(generator.guest())?;
                    self.rings.violate(*queue, manner)?;
                    violated = true;
                }
            }
            sent.note(&next);
            if together == TOGETHER {
                together = 0;
                self.rings.interrupt(RECEIVE)?;
                self.let_others_go_on()?;
            }
            if self.begun {
                break;
            }
        }
        self.holding = false;
        match order.kind() {
            Kind::Rings => Ok(()),
            Kind::Packets | Kind::Resets => self.wait_for_end(generator.guest()),
        }
    }

    /// Waits until the guest has seen all that was sent.
    fn wait_for_end(&mut self, guest: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let bytes = end_of_all(guest).encode();
        while !self.has_ended() {
            ensure!(
                Instant::now() < deadline,
                "the guest does not answer what came last"
            );
            // The answer is forgotten if the guest has too many others to send.
            self.put(RECEIVE, &bytes, &Manner::default())?;
            let look = Instant::now() + AGAIN;
            while !self.has_ended() && self.pump(Some(look))? {}
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.tally.as_ref().is_none_or(Tally::has_ended)
    }

    /// Gives the guest's programs a turn between the packets of the fuzzer.
    fn let_others_go_on(&mut self) -> Result<()> {
        let (before, end) = (self.served, Instant::now() + TURN);
        while !self.holding && self.served.wrapping_sub(before) < BETWEEN && self.pump(Some(end))? {
        }
        Ok(())
    }

    /// Loses all connections, as a device may, and waits until the guest has heard of it and has given
    /// all `buffers` of the event queue: what comes after that is for the guest with this CID.
    fn lose_all(&mut self, cid: u64, buffers: u16) -> Result<()> {
        self.exchange()?;
        self.cid.store(cid, Ordering::SeqCst);
        if let Some(tally) = &mut self.tally {
            tally.add_cid(cid);
        }
        self.live.forget();
        self.put(EVENT, &[0; 4], &Manner::default())?;
        self.wait_for_buffers(EVENT, buffers)
    }

    /// Waits until the guest has put so many buffers into a queue.
    fn wait_for_buffers(&mut self, queue: usize, count: u16) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.rings.waiting(queue) < count {
            // Of a queue that is not empty the guest need not tell.
            self.pump(Some(Instant::now() + LOOK))?;
            ensure!(
                Instant::now() < deadline,
                "the guest does not give buffers again"
            );
        }
        Ok(())
    }
}

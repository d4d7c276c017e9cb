// SPDX-License-Identifier: GPL-2.0

//! The switch: which packet goes where, and what becomes of those that cannot go anywhere.
//!
//! One packet of each guest is on its way at most. While the guest that it is for has no buffer for
//! it, no other is taken from its sender, so that packets neither pile up nor change places; what
//! that guest sends itself goes on meanwhile.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use rvsock_packet::{Header, Operation, Packet};

use crate::parcel::{Fit, Parcel};

/// So many resets may wait for a guest that sends to nobody and does not receive.
const REFUSALS: usize = 64;

/// A queue that the switch uses, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// That of packets that the guest receives.
    Receive = 0,
    /// That of packets that the guest sends.
    Transmit = 1,
}

/// Which driver it is that uses a guest's queues: another one after each reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(pub u64);

/// What a transmit queue had.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// There is nothing in it.
    Nothing,
    /// A packet.
    Bytes(Vec<u8>),
    /// A packet of which the descriptors cannot be followed.
    Unreadable,
}

/// The queues of a guest.
pub trait Queues {
    /// The driver that uses them; `None` if none does.
    fn driver(&self) -> Option<Generation>;

    /// Takes what the guest has sent next. Nothing if the driver is not this one any more.
    fn take(&self, driver: Generation) -> Taken;

    /// Fills the next receive buffer with what `fill` makes of its size in bytes. Returns whether
    /// there was one; there is none when the driver is not this one any more.
    fn put(&self, driver: Generation, fill: &mut dyn FnMut(usize) -> Vec<u8>) -> bool;

    /// Asks for a notification when the guest adds to a queue. Returns whether it has done so
    /// already, so that there may be none.
    fn watch(&self, queue: Queue, driver: Generation) -> bool;
}

/// A connection, the end with the lower address first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    ends: [(u64, u32); 2],
    kind: u16,
}

impl Flow {
    fn of(header: &Header) -> Self {
        let mut ends = [
            (header.src_cid, header.src_port),
            (header.dst_cid, header.dst_port),
        ];
        ends.sort_unstable();
        Flow {
            ends,
            kind: header.kind,
        }
    }

    /// The reset by which the end at `gone` takes leave of the other one, if it is an end.
    fn farewell(&self, gone: u64) -> Option<Packet> {
        let [first, second] = self.ends;
        let (src, dst) = match gone {
            cid if cid == first.0 => (first, second),
            cid if cid == second.0 => (second, first),
            _ => return None,
        };
        Some(Packet {
            header: Header {
                src_cid: src.0,
                dst_cid: dst.0,
                src_port: src.1,
                dst_port: dst.1,
                len: 0,
                kind: self.kind,
                operation: Operation::RESET,
                flags: 0,
                buf_alloc: 0,
                fwd_cnt: 0,
            },
            payload: Vec::new(),
        })
    }
}

/// What has become of the packets of one guest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were delivered, and their payload in bytes.
    pub delivered: u64,
    /// See `delivered`.
    pub bytes: u64,
    /// Parts beyond the first in which they came.
    pub parts: u64,
    /// Times that one had to wait for a receive buffer.
    pub waits: u64,
    /// Packets to nobody, and to a guest without a driver.
    pub refused: u64,
    /// Packets that say that another guest has sent them.
    pub lies: u64,
    /// Packets without a whole header, or with less payload than that says, or that no buffer of the
    /// receiver has room for.
    pub malformed: u64,
    /// Receive buffers of this guest that had no room.
    pub small_buffers: u64,
    /// Connections of others that ended with this guest.
    pub ended: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "delivered={} bytes={} parts={} waits={} refused={} lies={} malformed={} \
             small_buffers={} ended={}",
            self.delivered,
            self.bytes,
            self.parts,
            self.waits,
            self.refused,
            self.lies,
            self.malformed,
            self.small_buffers,
            self.ended
        )
    }
}

/// A guest, whether it is there or not.
struct Guest<Q> {
    cid: u64,
    queues: Option<Arc<Q>>,
    /// The driver that its queues had when they were last looked at.
    driver: Option<Generation>,
    /// The packet that it has sent and that is on its way.
    sent: Option<Parcel>,
    /// Whether that waits for a buffer.
    waits: bool,
    /// Resets for this guest that are the switch's own.
    resets: VecDeque<Packet>,
    counters: Counters,
}

/// What came of an attempt to fill a buffer.
enum Delivery {
    /// It is filled.
    Done,
    /// It was given back, since it has no room.
    TooSmall,
    /// There is none.
    NoBuffer,
    /// What should go into it never can.
    Impossible,
}

/// The guests and the connections between them.
pub struct Switch<Q> {
    guests: Vec<Guest<Q>>,
    /// Connections that were asked for and that no reset has ended.
    flows: BTreeSet<Flow>,
}

impl<Q: Queues> Switch<Q> {
    /// A switch for guests with these CIDs, of which none is there.
    pub fn new(cids: impl Iterator<Item = u64>) -> Self {
        let guests = cids.map(|cid| Guest {
            cid,
            queues: None,
            driver: None,
            sent: None,
            waits: false,
            resets: VecDeque::new(),
            counters: Counters::default(),
        });
        Switch {
            guests: guests.collect(),
            flows: BTreeSet::new(),
        }
    }

    fn index(&self, cid: u64) -> Option<usize> {
        self.guests.iter().position(|guest| guest.cid == cid)
    }

    /// A virtual machine has come, with these queues.
    pub fn came(&mut self, cid: u64, queues: Arc<Q>) {
        self.set_queues(cid, Some(queues));
    }

    /// It has gone.
    pub fn gone(&mut self, cid: u64) {
        self.set_queues(cid, None);
    }

    fn set_queues(&mut self, cid: u64, queues: Option<Arc<Q>>) {
        if let Some(index) = self.index(cid) {
            self.set_driver(index, None);
            if let Some(guest) = self.guests.get_mut(index) {
                guest.queues = queues;
            }
        }
    }

    /// Lets each guest have one step. Returns whether any of them came further.
    pub fn turn(&mut self) -> bool {
        self.look();
        let mut any = false;
        for index in 0..self.guests.len() {
            any |= self.step(index).unwrap_or(false);
        }
        any
    }

    /// Looks which drivers have begun and ended.
    fn look(&mut self) {
        for index in 0..self.guests.len() {
            if let Some(guest) = self.guests.get(index) {
                let driver = guest.queues.as_ref().and_then(|queues| queues.driver());
                if driver != guest.driver {
                    self.set_driver(index, driver);
                }
            }
        }
    }

    /// A guest has this driver instead of the one that it had: whatever that one knew is over.
    fn set_driver(&mut self, index: usize, driver: Option<Generation>) {
        let Some(guest) = self.guests.get_mut(index) else {
            return;
        };
        guest.driver = driver;
        guest.sent = None;
        guest.resets.clear();
        let cid = guest.cid;
        // Where a packet waits to be delivered to it, that is answered in place of its connection.
        let mut resets = Vec::new();
        for sender in &mut self.guests {
            if let Some(parcel) = sender.sent.take_if(|sent| sent.header().dst_cid == cid) {
                sender.counters.refused += 1;
                self.flows.remove(&Flow::of(parcel.header()));
                resets.extend(parcel.refusal());
            }
        }
        let before = resets.len();
        resets.extend(self.flows.iter().filter_map(|flow| flow.farewell(cid)));
        self.flows.retain(|flow| flow.farewell(cid).is_none());
        let ended = resets.len().saturating_sub(before) as u64;
        if let Some(guest) = self.guests.get_mut(index) {
            guest.counters.ended += ended;
        }
        for reset in resets {
            self.owe(reset);
        }
    }

    /// Owes a reset to the guest that it is for, if that is there.
    fn owe(&mut self, reset: Packet) {
        let to = self.index(reset.header.dst_cid);
        if let Some(guest) = to.and_then(|index| self.guests.get_mut(index)) {
            if guest.driver.is_some() {
                guest.resets.push_back(reset);
            }
        }
    }

    /// Goes on with what a guest is owed, and with what it sends. Returns whether it came further;
    /// `None` if it is not there.
    fn step(&mut self, index: usize) -> Option<bool> {
        let owed = self.pay(index)?;
        let guest = self.guests.get_mut(index)?;
        if guest.sent.is_some() {
            return Some(self.forward(index)? | owed);
        }
        if guest.resets.len() >= REFUSALS {
            return Some(owed);
        }
        let (queues, driver) = (guest.queues.as_ref()?, guest.driver?);
        match queues.take(driver) {
            Taken::Nothing => return Some(queues.watch(Queue::Transmit, driver) | owed),
            Taken::Unreadable => guest.counters.malformed += 1,
            Taken::Bytes(bytes) => self.judge(index, &bytes),
        }
        Some(true)
    }

    /// Sends a guest the first reset that it is owed. Returns whether it got that.
    fn pay(&mut self, index: usize) -> Option<bool> {
        let guest = self.guests.get_mut(index)?;
        let Some(reset) = guest.resets.front() else {
            return Some(false);
        };
        let mut parcel = Parcel::new(reset.clone());
        match self.deliver(index, &mut parcel)? {
            Delivery::NoBuffer => return Some(false),
            Delivery::TooSmall => {}
            Delivery::Done | Delivery::Impossible => {
                self.guests.get_mut(index)?.resets.pop_front();
            }
        }
        Some(true)
    }

    /// Decides what becomes of a packet that a guest has sent.
    fn judge(&mut self, index: usize, bytes: &[u8]) {
        let Some(guest) = self.guests.get_mut(index) else {
            return;
        };
        let Some(mut packet) = Packet::decode(bytes) else {
            guest.counters.malformed += 1;
            return;
        };
        let len = packet.header.len as usize;
        if packet.payload.len() < len {
            guest.counters.malformed += 1;
            return;
        }
        // What stands behind the payload is not part of the packet.
        packet.payload.truncate(len);
        if packet.header.src_cid != guest.cid {
            guest.counters.lies += 1;
            return;
        }
        guest.sent = Some(Parcel::new(packet));
        self.forward(index);
    }

    /// Fills a buffer of the receiver with what a guest has sent. Returns whether there was one, or
    /// there is nobody to have any.
    fn forward(&mut self, index: usize) -> Option<bool> {
        let mut parcel = self.guests.get_mut(index)?.sent.take()?;
        let to = self.index(parcel.header().dst_cid);
        let to = to.filter(|to| {
            let receiver = self.guests.get(*to);
            *to != index && receiver.is_some_and(|guest| guest.driver.is_some())
        });
        let Some(to) = to else {
            self.guests.get_mut(index)?.counters.refused += 1;
            if let Some(refusal) = parcel.refusal() {
                self.owe(refusal);
            }
            return Some(true);
        };
        let delivery = self.deliver(to, &mut parcel)?;
        let guest = self.guests.get_mut(index)?;
        match delivery {
            Delivery::NoBuffer => {
                guest.counters.waits += u64::from(!guest.waits);
                guest.waits = true;
                guest.sent = Some(parcel);
                return Some(false);
            }
            Delivery::TooSmall => guest.sent = Some(parcel),
            Delivery::Impossible => guest.counters.malformed += 1,
            Delivery::Done if !parcel.is_delivered() => {
                guest.counters.parts += 1;
                guest.sent = Some(parcel);
            }
            Delivery::Done => {
                let header = parcel.header();
                guest.counters.delivered += 1;
                guest.counters.bytes += u64::from(header.len);
                match header.operation {
                    Operation::REQUEST => drop(self.flows.insert(Flow::of(header))),
                    Operation::RESET => drop(self.flows.remove(&Flow::of(header))),
                    _ => {}
                }
            }
        }
        self.guests.get_mut(index)?.waits = false;
        Some(true)
    }

    /// Fills the next buffer of a guest with the next part of a packet.
    fn deliver(&mut self, to: usize, parcel: &mut Parcel) -> Option<Delivery> {
        let guest = self.guests.get_mut(to)?;
        let (queues, driver) = (guest.queues.as_ref()?, guest.driver?);
        let mut delivery = Delivery::Done;
        let counters = &mut guest.counters;
        let mut fill = |room| match parcel.next(room) {
            Fit::Bytes(bytes) => bytes,
            Fit::TooSmall => {
                counters.small_buffers += 1;
                delivery = Delivery::TooSmall;
                Vec::new()
            }
            Fit::TooLong => {
                delivery = Delivery::Impossible;
                Vec::new()
            }
        };
        let mut filled = queues.put(driver, &mut fill);
        if !filled && queues.watch(Queue::Receive, driver) {
            filled = queues.put(driver, &mut fill);
        }
        Some(if filled { delivery } else { Delivery::NoBuffer })
    }
}

impl<Q> fmt::Display for Switch<Q> {
    /// What has become of all packets, a line for each guest.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for guest in &self.guests {
            write!(
                out,
                "{between}counters of {}: {}",
                guest.cid, guest.counters
            )?;
            between = "\n";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

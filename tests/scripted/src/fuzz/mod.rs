// SPDX-License-Identifier: GPL-2.0

//! The fuzzer: packets, events and rings that follow from a seed, against a guest whose program
//! (`tests/kselftest/fuzz.c`) listens, connects, reads and closes, and beside the services, whose
//! connections must go on unharmed.
//!
//! What is sent depends on the seed and on nothing else, least of all on what the guest sends or
//! on time, so a seed replays exactly; the digest of all that was sent says so. The generator keeps
//! a book of the connections that it has opened, by what a correct guest makes of each packet. So
//! most packets fit a connection that is alive, in the state that it is in, and those that do not
//! differ from a fitting one in a few places.
//!
//! | file | subject |
//! |---|---|
//! | `places.rs` | where the guest's program listens, and what it does there |
//! | `book.rs` | the connections that were opened |
//! | `verdict.rs` | what a correct guest makes of a header |
//! | `mutate.rs` | how a fitting packet is changed |
//! | `generate.rs` | what is sent next |
//! | `tally.rs` | what the guest has sent |

mod book;
mod generate;
mod mutate;
mod places;
mod tally;
mod verdict;

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, Context, Result};
use rvsock_packet::Packet;

pub use generate::Generator;
pub use tally::{end_of_all, Tally};

use crate::scenario::Manner;

/// What a run does, which follows from the seed's last three bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Packets, and events that mean nothing: the connections of the services go on.
    Packets,
    /// Transport resets among them, with other CIDs: they end all connections.
    Resets,
    /// A few packets, and then a violation of a ring, which may end the device.
    Rings,
}

/// A run that is asked for: `SEED PACKETS`, and `told` if each packet is to be written to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// From which everything follows.
    pub seed: u64,
    /// How many packets are sent.
    pub packets: u32,
    /// Whether all that is sent is written to the log.
    pub told: bool,
}

impl Order {
    /// What the run does.
    pub fn kind(&self) -> Kind {
        match self.seed & 7 {
            7 => Kind::Rings,
            6 => Kind::Resets,
            _ => Kind::Packets,
        }
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let mut number = |what: &str| -> Result<u64> {
            let word = words.next().with_context(|| format!("no {what} is told"))?;
            match word.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => word.parse(),
            }
            .with_context(|| format!("'{word}' is no {what}"))
        };
        let seed = number("seed")?;
        let packets = number("number of packets")?.try_into()?;
        let told = match words.next() {
            None => false,
            Some("told") => true,
            Some(other) => bail!("'{other}' says nothing of a run"),
        };
        Ok(Order {
            seed,
            packets,
            told,
        })
    }
}

/// What the device does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Puts a packet into the receive queue. It may be shorter than a header.
    Packet {
        /// The packet.
        packet: Packet,
        /// How many of its bytes are written; the rest of the buffer stays as it was.
        written: usize,
        /// How it is put there.
        manner: Manner,
    },
    /// Puts an event into the event queue that is none, or that is cut short.
    Event {
        /// What stands there.
        number: u32,
        /// What the used ring says of its length.
        manner: Manner,
    },
    /// Loses all connections, and says so; the guest's CID is then this one.
    TransportReset {
        /// May be one that no guest can have: then the old one stays.
        cid: u64,
    },
    /// Takes nothing out of the transmit queue until so many packets more are sent.
    HoldTransmission(u32),
    /// Interrupts for a queue, whatever there is in it.
    Interrupt(usize),
    /// Breaks the rules of a ring.
    Violation {
        /// Which one.
        queue: usize,
        /// How.
        manner: Manner,
    },
}

impl Move {
    /// The bytes of a packet that are written.
    pub fn bytes(packet: &Packet, written: usize) -> Vec<u8> {
        let mut bytes = packet.encode();
        bytes.truncate(written);
        bytes
    }
}

impl fmt::Display for Move {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Packet {
                packet,
                written,
                manner,
            } => write!(out, "host {packet}; {written} bytes, {manner:?}"),
            other => write!(out, "host {other:?}"),
        }
    }
}

/// What was sent in a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u32,
    /// Events that mean nothing.
    pub events: u32,
    /// Transport resets.
    pub resets: u32,
    /// A digest of all of it (FNV-1a).
    digest: u64,
}

impl Default for Sent {
    fn default() -> Self {
        Sent {
            packets: 0,
            events: 0,
            resets: 0,
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }
}

impl Sent {
    /// Takes note of a move.
    pub fn note(&mut self, what: &Move) {
        match what {
            Move::Packet {
                packet, written, ..
            } => {
                self.packets += 1;
                self.digest(&Move::bytes(packet, *written));
            }
            Move::Event { .. } => self.events += 1,
            Move::TransportReset { .. } => self.resets += 1,
            Move::HoldTransmission(_) | Move::Interrupt(_) | Move::Violation { .. } => {}
        }
        // Everything but the payload.
        self.digest(what.to_string().as_bytes());
    }

    fn digest(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "packets={} events={} resets={} digest={:016x}",
            self.packets, self.events, self.resets, self.digest
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64) -> Order {
        Order {
            seed,
            packets: 2000,
            told: false,
        }
    }

    fn sent(seed: u64) -> Sent {
        let mut sent = Sent::default();
        for one in Generator::new(&order(seed), 3) {
            sent.note(&one);
        }
        sent
    }

    #[test]
    fn orders_are_read() -> Result<()> {
        assert_eq!("0x10 2000".parse::<Order>()?, order(16));
        let told: Order = "7 1 told".parse()?;
        assert_eq!((told.kind(), told.told), (Kind::Rings, true));
        assert_eq!(order(14).kind(), Kind::Resets);
        for wrong in ["", "x 1", "1", "1 2 3"] {
            assert!(wrong.parse::<Order>().is_err());
        }
        Ok(())
    }

    #[test]
    fn a_seed_replays_exactly() {
        for seed in 0..16 {
            assert_eq!(sent(seed), sent(seed));
            assert_ne!(sent(seed), sent(seed + 16));
        }
    }

    #[test]
    fn a_run_has_as_many_packets_as_it_should() {
        assert_eq!(sent(0).packets, 2000);
        assert_eq!(sent(0).resets, 0);
        assert_eq!(sent(6).packets, 2000);
        assert!(sent(6).resets > 0);
        assert!(sent(7).packets < 1000);
    }
}

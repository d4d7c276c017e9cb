// SPDX-License-Identifier: GPL-2.0

//! How a packet that fits is made into one that differs in a few places.

use rand::seq::IndexedRandom;
use rand::Rng;
use rvsock_packet::{Field, Header, Operation, Packet, HEADER_LEN};

use crate::scenario::Manner;

/// The most payload that a packet of the fuzzer has, in bytes: what fits into a buffer of 4 KiB
/// behind the header.
pub const LARGEST: usize = 4096 - HEADER_LEN;

/// Lengths at which something begins or ends: of headers, of buffers, of what is copied.
pub const LENGTHS: [u32; 16] = [
    0,
    1,
    2,
    7,
    43,
    44,
    45,
    127,
    128,
    255,
    256,
    1023,
    1024,
    1025,
    2048,
    LARGEST as u32,
];

/// Lengths for the used ring that are none, or that no buffer has.
const NO_LENGTHS: [u32; 6] = [0, 1, 43, 65537, u32::MAX - 1, u32::MAX];

/// A packet that is to be sent, as it will be.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The packet.
    pub packet: Packet,
    /// How many of its bytes are written.
    pub written: usize,
    /// How it is put into the queue.
    pub manner: Manner,
}

impl Shot {
    /// A packet as it should be sent. Some are told of by an interrupt at once, most by that of
    /// another one behind them.
    pub fn new(packet: Packet, dice: &mut impl Rng) -> Self {
        Shot {
            written: HEADER_LEN + packet.payload.len(),
            packet,
            manner: Manner {
                quiet: !dice.random_ratio(1, 16),
                ..Manner::default()
            },
        }
    }

    /// The length that the used ring tells.
    pub fn used(&self) -> u32 {
        self.manner.used.unwrap_or(self.written as u32)
    }

    fn header(&mut self) -> &mut Header {
        &mut self.packet.header
    }
}

/// Changes a packet in one to three places.
pub fn mutate(shot: &mut Shot, dice: &mut impl Rng) {
    for _ in 0..*[1, 1, 1, 2, 3].choose(dice).unwrap_or(&1) {
        match dice.random_range(0..10) {
            0..5 => field(shot, dice),
            5 => payload(shot, dice),
            6 | 7 => length(shot, dice),
            8 => {
                let operation = Operation(dice.random_range(0..10));
                shot.header().operation = operation;
            }
            // Only what the guest copies out and gives back: it must not use the page for
            // something else while the device still writes there.
            _ => shot.manner.overwritten = shot.packet.payload.len() <= 512,
        }
    }
    if shot.packet.payload.len() > 512 {
        shot.manner.overwritten = false;
    }
}

/// Puts another number into a field.
fn field(shot: &mut Shot, dice: &mut impl Rng) {
    let Some((field, _, length)) = Field::ALL.choose(dice) else {
        return;
    };
    let truth = shot.packet.header.get(*field);
    let value = match dice.random_range(0..9) {
        0 => 0,
        1 => 1,
        2 => field.max(),
        3 => field.max() - 1,
        4 => truth.wrapping_add(1),
        5 => truth.wrapping_sub(1),
        6 => truth ^ (1 << dice.random_range(0..8 * length)),
        7 => u64::from(*LENGTHS.choose(dice).unwrap_or(&0)),
        _ => dice.random(),
    };
    shot.header().set(*field, value & field.max());
}

/// Makes the payload another than the header says.
fn payload(shot: &mut Shot, dice: &mut impl Rng) {
    let len = dice.random_range(0..=LARGEST);
    shot.packet.payload.resize(len, 0xa5);
    shot.written = HEADER_LEN + len;
    if dice.random() {
        shot.header().len = len as u32;
    }
}

/// Makes the used ring tell of another length. The header is written whole where the ring says
/// that it is: what stood in the buffer before might be one of a connection of the services.
fn length(shot: &mut Shot, dice: &mut impl Rng) {
    shot.written = HEADER_LEN + shot.packet.payload.len();
    let truth = shot.written as u32;
    let used = match dice.random_range(0..4) {
        0 => *NO_LENGTHS.choose(dice).unwrap_or(&0),
        1 => truth.wrapping_sub(1),
        2 => truth + 1,
        _ => dice.random_range(0..=4096),
    };
    shot.manner.used = Some(used);
    if used < HEADER_LEN as u32 && dice.random() {
        shot.written = shot.written.min(used as usize);
    }
}

/// Changes a packet so that a correct guest drops it without a word, whatever there is at its port.
/// `shot` is one that fits; it keeps its ports.
pub fn spoil(shot: &mut Shot, dice: &mut impl Rng) {
    let len = shot.packet.payload.len() as u32;
    match dice.random_range(0..8) {
        0 => shot.header().src_cid |= 1 << dice.random_range(32..64),
        1 => shot.header().dst_cid |= 1 << dice.random_range(32..64),
        2 => shot.header().src_cid = *[0, 1, 0xffff_ffff].choose(dice).unwrap_or(&0),
        3 => shot.header().dst_cid = *[0, 1, 2, 0xffff_ffff].choose(dice).unwrap_or(&0),
        4 => {
            let unknown = [0, 8, 9, 255, 256, u16::MAX];
            shot.header().operation = Operation(*unknown.choose(dice).unwrap_or(&0));
        }
        5 => {
            let more = [len + 1, len + 44, 4097, 65536, u32::MAX - 1, u32::MAX];
            let header = shot.header();
            header.operation = Operation::PAYLOAD;
            header.len = *more.choose(dice).unwrap_or(&u32::MAX);
        }
        6 => shot.manner.used = Some(*NO_LENGTHS.choose(dice).unwrap_or(&0)),
        _ => {
            shot.packet.payload.resize(len.max(1) as usize, 0x5a);
            shot.written = HEADER_LEN + shot.packet.payload.len();
            let len = shot.packet.payload.len() as u32;
            let header = shot.header();
            header.len = len;
            header.operation = Operation(*[1, 2, 3, 4, 6, 7].choose(dice).unwrap_or(&3));
        }
    }
}

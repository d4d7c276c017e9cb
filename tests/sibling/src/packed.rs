// SPDX-License-Identifier: GPL-2.0

//! A packed ring, as a device sees it that takes one chain at a time and gives it back before the
//! next one. Source: virtio specification, 2.8.

use std::sync::atomic::{fence, Ordering};

use anyhow::{ensure, Context, Result};
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryMmap};

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;
const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// The size of a descriptor, in bytes, and where its flags are.
const DESCRIPTOR: u64 = 16;
const FLAGS: u64 = 14;

/// What the flags of an event suppression structure say, and where they are.
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const EVENT_FLAGS: u64 = 2;

/// A part of a chain.
struct Buffer {
    address: GuestAddress,
    len: usize,
    is_writable: bool,
}

/// What the driver has made available at once.
pub struct Chain {
    id: u16,
    /// How many slots of the ring it takes.
    slots: u16,
    buffers: Vec<Buffer>,
}

impl Chain {
    /// Bytes that can be read.
    pub fn readable(&self) -> usize {
        self.len_of(false)
    }

    /// Bytes that can be written.
    pub fn writable(&self) -> usize {
        self.len_of(true)
    }

    fn len_of(&self, writable: bool) -> usize {
        let of_kind = self
            .buffers
            .iter()
            .filter(|one| one.is_writable == writable);
        of_kind.map(|buffer| buffer.len).sum()
    }

    /// All that can be read.
    pub fn read(&self, memory: &GuestMemoryMmap) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for buffer in self.buffers.iter().filter(|one| !one.is_writable) {
            let mut part = vec![0; buffer.len];
            memory.read_slice(&mut part, buffer.address)?;
            bytes.extend(part);
        }
        Ok(bytes)
    }

    /// Writes to the beginning of what can be written.
    pub fn write(&self, memory: &GuestMemoryMmap, mut bytes: &[u8]) -> Result<()> {
        for buffer in self.buffers.iter().filter(|one| one.is_writable) {
            let (part, rest) = bytes.split_at(buffer.len.min(bytes.len()));
            memory.write_slice(part, buffer.address)?;
            bytes = rest;
        }
        ensure!(bytes.is_empty(), "there is no room for all of it");
        Ok(())
    }
}

/// Where the parts of a ring are.
#[derive(Clone, Copy)]
pub struct Place {
    /// The descriptors, and how many there are.
    pub table: GuestAddress,
    /// See there.
    pub size: u16,
    /// What the driver says of interrupts.
    pub driver_event: GuestAddress,
    /// What the device says of notifications.
    pub device_event: GuestAddress,
}

/// How far the device has come in a ring.
#[derive(Clone, Copy)]
pub struct Position {
    slot: u16,
    /// What the driver's flag is in this round, which is another one after each.
    round: bool,
}

impl Position {
    /// That of a new ring.
    pub const START: Position = Position {
        slot: 0,
        round: true,
    };

    /// Whether the driver has made another chain available.
    pub fn is_ahead(&self, place: Place, memory: &GuestMemoryMmap) -> Result<bool> {
        let flags: u16 = memory.load(at(place.table, self.slot, FLAGS)?, Ordering::Acquire)?;
        let is_set = |flag| u16::from_le(flags) & flag != 0;
        Ok(is_set(AVAILABLE) == self.round && is_set(USED) != self.round)
    }

    /// The next chain; `None` if there is none.
    pub fn next(&self, place: Place, memory: &GuestMemoryMmap) -> Result<Option<Chain>> {
        if !self.is_ahead(place, memory)? {
            return Ok(None);
        }
        let mut chain = Chain {
            id: 0,
            slots: 0,
            buffers: Vec::new(),
        };
        loop {
            let slot = (self.slot + chain.slots) % place.size;
            let one = Descriptor::read(memory, at(place.table, slot, 0)?)?;
            chain.slots += 1;
            ensure!(chain.slots <= place.size, "a chain without an end");
            // That of the last one is that of the chain.
            chain.id = one.id;
            if one.flags & INDIRECT != 0 {
                for number in 0..u64::from(one.len) / DESCRIPTOR {
                    let entry = one.address.checked_add(number * DESCRIPTOR);
                    let entry = entry.context("a table beyond all memory")?;
                    chain
                        .buffers
                        .push(Descriptor::read(memory, entry)?.buffer());
                }
            } else {
                chain.buffers.push(one.buffer());
            }
            if one.flags & NEXT == 0 {
                return Ok(Some(chain));
            }
        }
    }

    /// Gives a chain back that [`Position::next`] gave, with so many bytes written. Returns whether the
    /// driver wants an interrupt.
    pub fn give(
        &mut self,
        place: Place,
        memory: &GuestMemoryMmap,
        chain: &Chain,
        len: usize,
    ) -> Result<bool> {
        let descriptor = at(place.table, self.slot, 0)?;
        let wrote = if len > 0 { WRITE } else { 0 };
        let flags = if self.round { AVAILABLE | USED } else { 0 } | wrote;
        memory.write_obj((len as u32).to_le(), offset(descriptor, 8)?)?;
        memory.write_obj(chain.id.to_le(), offset(descriptor, 12)?)?;
        // With these, the driver sees the rest.
        memory.store(flags.to_le(), offset(descriptor, FLAGS)?, Ordering::Release)?;

        self.slot += chain.slots;
        if self.slot >= place.size {
            self.slot -= place.size;
            self.round = !self.round;
        }
        fence(Ordering::SeqCst);
        let event: u16 =
            memory.load(offset(place.driver_event, EVENT_FLAGS)?, Ordering::Acquire)?;
        // Where it wants one at a certain descriptor, it gets one at each.
        Ok(u16::from_le(event) != DISABLE)
    }

    /// Asks for notifications. Returns whether there is something already.
    pub fn watch(&self, place: Place, memory: &GuestMemoryMmap) -> Result<bool> {
        let flags = offset(place.device_event, EVENT_FLAGS)?;
        memory.store(ENABLE.to_le(), flags, Ordering::Release)?;
        fence(Ordering::SeqCst);
        self.is_ahead(place, memory)
    }
}

struct Descriptor {
    address: GuestAddress,
    len: u32,
    id: u16,
    flags: u16,
}

impl Descriptor {
    fn read(memory: &GuestMemoryMmap, place: GuestAddress) -> Result<Self> {
        Ok(Descriptor {
            address: GuestAddress(u64::from_le(memory.read_obj(place)?)),
            len: u32::from_le(memory.read_obj(offset(place, 8)?)?),
            id: u16::from_le(memory.read_obj(offset(place, 12)?)?),
            flags: u16::from_le(memory.read_obj(offset(place, FLAGS)?)?),
        })
    }

    fn buffer(&self) -> Buffer {
        Buffer {
            address: self.address,
            len: self.len as usize,
            is_writable: self.flags & WRITE != 0,
        }
    }
}

/// Where something of a slot's descriptor is.
fn at(table: GuestAddress, slot: u16, field: u64) -> Result<GuestAddress> {
    offset(table, u64::from(slot) * DESCRIPTOR + field)
}

fn offset(address: GuestAddress, by: u64) -> Result<GuestAddress> {
    address.checked_add(by).context("beyond all memory")
}

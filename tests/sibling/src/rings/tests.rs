// SPDX-License-Identifier: GPL-2.0

//! Descriptors as a driver may lay them out.

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{Bytes, GuestAddress};

use super::*;

/// Where the parts of a queue are, each queue a page behind the other, and how long it is.
const DESCRIPTORS: u64 = 0x10000;
const AVAILABLE: u64 = 0x20000;
const USED: u64 = 0x30000;
const PAGE: u64 = 0x1000;
const SIZE: u16 = 16;
/// Where a table of further descriptors is.
const TABLE: u64 = 0x40000;
/// Where buffers are.
const DATA: u64 = 0x80000;

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// A driver's side of the queues.
struct Driver {
    memory: Memory,
    rings: Rings,
}

impl Driver {
    fn new() -> Result<Self> {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)])?;
        let memory = Memory::new(memory);
        let rings = Rings::new(memory.clone());
        let mut vrings = Vec::new();
        for page in (0..COUNT as u64).map(|queue| queue * PAGE) {
            let vring = VringRwLock::new(memory.clone(), SIZE)?;
            vring.set_queue_size(SIZE);
            vring.set_queue_info(DESCRIPTORS + page, AVAILABLE + page, USED + page)?;
            vring.set_queue_ready(true);
            vrings.push(vring);
        }
        rings.set_up(&vrings);
        rings.begin(false);
        Ok(Driver { memory, rings })
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        Ok(self
            .memory
            .memory()
            .write_slice(bytes, GuestAddress(address))?)
    }

    fn read(&self, address: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.memory
            .memory()
            .read_slice(&mut bytes, GuestAddress(address))?;
        Ok(bytes)
    }

    fn descriptor(&self, at: u64, address: u64, len: u32, flags: u16, next: u16) -> Result<()> {
        self.write(at, &address.to_le_bytes())?;
        self.write(at + 8, &len.to_le_bytes())?;
        self.write(at + 12, &flags.to_le_bytes())?;
        self.write(at + 14, &next.to_le_bytes())
    }

    /// A chain of buffers of these lengths in the table at `table`, the last descriptors first.
    /// Returns where each is, and which descriptor is the head.
    fn chain(&self, table: u64, lengths: &[u32], flags: u16) -> Result<(Vec<u64>, u16)> {
        let count = lengths.len() as u16;
        let mut places = Vec::new();
        for (number, len) in (0u16..).zip(lengths) {
            let place = DATA + u64::from(number) * 512;
            let index = if number == 0 { 0 } else { count - number };
            let next = count - number - 1;
            let more = if number + 1 == count { 0 } else { NEXT };
            let at = table + 16 * u64::from(index);
            self.descriptor(at, place, *len, flags | more, next)?;
            places.push(place);
        }
        Ok((places, 0))
    }

    /// Makes the chain with this head the first of a queue.
    fn offer(&self, queue: Queue, head: u16) -> Result<()> {
        let ring = AVAILABLE + queue as u64 * PAGE;
        self.write(ring + 4, &head.to_le_bytes())?;
        self.write(ring + 2, &1u16.to_le_bytes())
    }

    /// How many chains of a queue were used, and the first one's head and length.
    fn used(&self, queue: Queue) -> Result<(u16, u32, u32)> {
        let bytes = self.read(USED + queue as u64 * PAGE, 12)?;
        let number = |from: usize, len: usize| {
            let bytes = bytes.iter().skip(from).take(len).rev();
            bytes.fold(0, |number: u32, byte| (number << 8) | u32::from(*byte))
        };
        Ok((number(2, 2) as u16, number(4, 4), number(8, 4)))
    }

    /// Writes the bytes 0, 1, 2, … into buffers.
    fn fill(&self, places: &[u64], lengths: &[u32]) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for (place, len) in places.iter().zip(lengths) {
            let bytes: Vec<u8> = (0..*len).map(|at| (all.len() as u32 + at) as u8).collect();
            self.write(*place, &bytes)?;
            all.extend(bytes);
        }
        Ok(all)
    }
}

/// Ways to cut up a packet: whole, at the header, within it, in many.
const LAYOUTS: [&[u32]; 4] = [&[60], &[44, 16], &[1, 20, 30, 9], &[7; 15]];

const DRIVER: Generation = Generation(1);

#[test]
fn a_packet_is_taken_from_any_chain() -> Result<()> {
    for lengths in LAYOUTS {
        let driver = Driver::new()?;
        let table = DESCRIPTORS + Queue::Transmit as u64 * PAGE;
        let (places, head) = driver.chain(table, lengths, 0)?;
        let bytes = driver.fill(&places, lengths)?;
        driver.offer(Queue::Transmit, head)?;
        assert_eq!(driver.rings.take(DRIVER), Taken::Bytes(bytes));
        assert_eq!(driver.rings.take(DRIVER), Taken::Nothing);
        assert_eq!(driver.used(Queue::Transmit)?, (1, 0, 0));
    }
    Ok(())
}

#[test]
fn and_from_a_table_that_is_longer_than_the_queue() -> Result<()> {
    let driver = Driver::new()?;
    let lengths = [3; 100];
    let (places, _) = driver.chain(TABLE, &lengths, 0)?;
    let bytes = driver.fill(&places, &lengths)?;
    let table = DESCRIPTORS + Queue::Transmit as u64 * PAGE;
    driver.descriptor(table + 16 * 5, TABLE, 16 * 100, INDIRECT, 0)?;
    driver.offer(Queue::Transmit, 5)?;
    assert_eq!(driver.rings.take(DRIVER), Taken::Bytes(bytes));
    assert_eq!(driver.used(Queue::Transmit)?, (1, 5, 0));
    Ok(())
}

#[test]
fn a_packet_fills_any_chain() -> Result<()> {
    for lengths in LAYOUTS {
        let driver = Driver::new()?;
        let room = lengths.iter().sum::<u32>() as usize;
        let table = DESCRIPTORS + Queue::Receive as u64 * PAGE;
        let (places, head) = driver.chain(table, lengths, WRITE)?;
        driver.offer(Queue::Receive, head)?;
        let bytes: Vec<u8> = (0..50).collect();
        assert!(driver.rings.put(DRIVER, &mut |found| {
            assert_eq!(found, room);
            bytes.clone()
        }));
        let mut written = Vec::new();
        for (place, len) in places.iter().zip(lengths) {
            written.extend(driver.read(*place, *len as usize)?);
        }
        assert_eq!(written.get(..50), Some(&bytes[..]));
        assert_eq!(driver.used(Queue::Receive)?, (1, 0, 50));
        assert!(!driver.rings.put(DRIVER, &mut |_| Vec::new()));
    }
    Ok(())
}

#[test]
fn what_is_outside_of_memory_is_given_back() -> Result<()> {
    let driver = Driver::new()?;
    for (queue, flags) in [(Queue::Transmit, 0), (Queue::Receive, WRITE)] {
        let table = DESCRIPTORS + queue as u64 * PAGE;
        driver.descriptor(table, 0x20_0000, 100, flags, 0)?;
        driver.offer(queue, 0)?;
    }
    assert_eq!(driver.rings.take(DRIVER), Taken::Unreadable);
    let mut rooms = Vec::new();
    assert!(driver.rings.put(DRIVER, &mut |room| {
        rooms.push(room);
        Vec::new()
    }));
    assert_eq!(rooms, [0]);
    assert_eq!(driver.used(Queue::Transmit)?.0, 1);
    assert_eq!(driver.used(Queue::Receive)?, (1, 0, 0));
    Ok(())
}

#[test]
fn queues_are_those_of_one_driver() -> Result<()> {
    let driver = Driver::new()?;
    let table = DESCRIPTORS + Queue::Transmit as u64 * PAGE;
    let (_, head) = driver.chain(table, &[60], 0)?;
    driver.offer(Queue::Transmit, head)?;
    assert_eq!(driver.rings.driver(), Some(DRIVER));
    driver.rings.begin(false);
    assert_eq!(driver.rings.driver(), Some(Generation(2)));
    assert_eq!(driver.rings.take(DRIVER), Taken::Nothing);
    assert!(!driver.rings.watch(Queue::Transmit, DRIVER));
    assert!(matches!(driver.rings.take(Generation(2)), Taken::Bytes(_)));
    Ok(())
}

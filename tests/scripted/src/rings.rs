// SPDX-License-Identifier: GPL-2.0

//! The device's three queues, with what a well-behaved device does with them and what one may do
//! that lies.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

use anyhow::{ensure, Context, Result};
use rvsock_packet::HEADER_LEN;
use vhost_user_backend::{VringRwLock, VringState, VringT};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use crate::scenario::Manner;

/// The queue of packets that the guest receives.
pub const RECEIVE: usize = 0;
/// The queue of packets that the guest sends.
pub const TRANSMIT: usize = 1;
/// The queue of events.
pub const EVENT: usize = 2;
/// How many queues there are.
pub const COUNT: usize = 3;

/// Where the elements of a used ring begin, and the length of one, in bytes.
const USED_RING: u64 = 4;
const USED_ELEMENT: u64 = 8;
/// Where the index of a ring stands.
const RING_INDEX: u64 = 2;

/// The largest buffer that is overwritten after the guest has it: a driver may give larger ones up,
/// and use their memory for something else.
const SMALLEST_BUFFER: usize = 4096;

/// The guest's memory.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// The queues, once the guest has set them up.
pub struct Rings {
    memory: Memory,
    vrings: OnceLock<Vec<VringRwLock>>,
    kicks: [AtomicU32; COUNT],
}

impl Rings {
    /// Queues that are not set up yet, in this memory.
    pub fn new(memory: Memory) -> Self {
        Rings {
            memory,
            vrings: OnceLock::new(),
            kicks: Default::default(),
        }
    }

    /// Takes note of a notification of the guest.
    pub fn kicked(&self, queue: usize) {
        if let Some(kicks) = self.kicks.get(queue) {
            kicks.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How often the guest has notified the device of a queue, modulo 2^32.
    pub fn kicks(&self, queue: usize) -> u32 {
        let kicks = self.kicks.get(queue);
        kicks.map_or(0, |kicks| kicks.load(Ordering::SeqCst))
    }

    /// Takes note of the queues, which stay the same from then on.
    pub fn set_up(&self, vrings: &[VringRwLock]) {
        self.vrings.get_or_init(|| vrings.to_vec());
    }

    /// Calls a function with a queue that is in use; `None` if it is not.
    fn with<T>(
        &self,
        queue: usize,
        function: impl FnOnce(&mut VringState, &GuestMemoryMmap) -> Result<T>,
    ) -> Option<Result<T>> {
        let vring = self.vrings.get()?.get(queue)?;
        let mut state = vring.get_mut();
        if !state.get_queue().ready() {
            return None;
        }
        let memory = self.memory.memory();
        Some(function(&mut state, &memory))
    }

    /// Whether all queues are in use.
    pub fn in_use(&self) -> bool {
        (0..COUNT).all(|queue| self.with(queue, |_, _| Ok(())).is_some())
    }

    /// Takes a packet out of the transmit queue; `None` if there is none.
    ///
    /// # Errors
    ///
    /// When the guest's descriptors cannot be followed.
    pub fn take(&self) -> Option<Result<Vec<u8>>> {
        self.with(TRANSMIT, |state, memory| {
            let Some(chain) = state.get_queue_mut().pop_descriptor_chain(memory) else {
                return Ok(None);
            };
            let head = chain.head_index();
            let mut reader = chain.reader(memory)?;
            let mut bytes = vec![0; reader.available_bytes()];
            reader.read_exact(&mut bytes)?;
            state.add_used(head, 0)?;
            state.signal_used_queue()?;
            Ok(Some(bytes))
        })?
        .transpose()
    }

    /// Asks for a notification when the guest adds to a queue. Returns whether it has done so
    /// already, so that there may be none.
    pub fn watch(&self, queue: usize) -> bool {
        self.with(queue, |state, _| Ok(state.enable_notification()?))
            .is_some_and(|more| more.unwrap_or(false))
    }

    /// Asks for a notification of the very next buffer that the guest adds to a queue, whatever is
    /// there already.
    ///
    /// # Errors
    ///
    /// When the guest's ring cannot be read or written to.
    pub fn ask(&self, queue: usize) -> Result<()> {
        self.with(queue, |state, memory| {
            let ring = state.get_queue_mut();
            let taken = ring.next_avail();
            let added = ring.avail_idx(memory, Ordering::Acquire)?.0;
            // As a device that has read all of the ring, but not yet used it.
            ring.set_next_avail(added);
            let asked = ring.enable_notification(memory);
            ring.set_next_avail(taken);
            asked?;
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// How many buffers of the guest wait in a queue.
    pub fn waiting(&self, queue: usize) -> u16 {
        self.with(queue, |state, memory| {
            let ring = state.get_queue();
            let index = ring.avail_idx(memory, Ordering::Acquire)?.0;
            Ok(index.wrapping_sub(ring.next_avail()))
        })
        .map_or(0, Result::unwrap_or_default)
    }

    /// Writes bytes into a buffer of the receive or the event queue and gives that to the guest, in
    /// this manner. Returns whether there was a buffer.
    ///
    /// # Errors
    ///
    /// When the bytes do not fit, or the guest's descriptors cannot be followed.
    pub fn put(&self, queue: usize, bytes: &[u8], manner: &Manner) -> Result<bool> {
        self.with(queue, |state, memory| {
            let Some(chain) = state.get_queue_mut().pop_descriptor_chain(memory) else {
                return Ok(false);
            };
            let head = chain.head_index();
            let header = chain
                .clone()
                .writable()
                .next()
                .context("a buffer that is read-only")?;
            let mut writer = chain.writer(memory)?;
            let room = writer.available_bytes();
            ensure!(
                bytes.len() <= room,
                "{} bytes do not fit into the guest's buffer of {room}",
                bytes.len()
            );
            if !manner.unwritten {
                writer.write_all(bytes)?;
            }
            let id = manner.id.unwrap_or(head.into());
            let length = manner.used.unwrap_or(bytes.len() as u32);
            give(state, memory, id, length, manner)?;
            if !manner.quiet {
                state.signal_used_queue()?;
            }
            if manner.overwritten && room <= SMALLEST_BUFFER {
                memory.write_slice(&[0xff; HEADER_LEN], header.addr())?;
            }
            Ok(true)
        })
        .unwrap_or(Ok(false))
    }

    /// Takes a buffer out of a queue and forgets it. Returns whether there was one.
    pub fn keep(&self, queue: usize) -> bool {
        self.with(queue, |state, memory| {
            Ok(state.get_queue_mut().pop_descriptor_chain(memory).is_some())
        })
        .is_some_and(|kept| kept.unwrap_or(false))
    }

    /// Gives a buffer of a queue back in a manner that breaks the rules of its ring, and interrupts.
    /// Where the guest has put none there, it is one that the device does not have.
    ///
    /// # Errors
    ///
    /// When the ring cannot be written to.
    pub fn violate(&self, queue: usize, manner: &Manner) -> Result<()> {
        self.with(queue, |state, memory| {
            let chain = state.get_queue_mut().pop_descriptor_chain(memory);
            let head = chain.map_or(0, |chain| u32::from(chain.head_index()));
            let id = manner.id.unwrap_or(head);
            give(state, memory, id, manner.used.unwrap_or(0), manner)?;
            Ok(state.signal_used_queue()?)
        })
        .unwrap_or(Ok(()))
    }

    /// Interrupts the guest for a queue.
    ///
    /// # Errors
    ///
    /// When the interrupt cannot be raised.
    pub fn interrupt(&self, queue: usize) -> Result<()> {
        self.with(queue, |state, _| Ok(state.signal_used_queue()?))
            .unwrap_or(Ok(()))
    }
}

/// Gives a buffer to the guest: any number as its descriptor and its length, in this manner.
fn give(
    state: &mut VringState,
    memory: &GuestMemoryMmap,
    id: u32,
    length: u32,
    manner: &Manner,
) -> Result<()> {
    let ring = state.get_queue_mut();
    let (mut next, size, used) = (ring.next_used(), ring.size(), ring.used_ring());
    let address = |offset: u64| {
        let address = used.checked_add(offset).map(GuestAddress);
        address.context("a ring beyond all memory")
    };
    for _ in 0..if manner.twice { 2 } else { 1 } {
        let slot = next.checked_rem(size).context("a queue of no size")?;
        let element = USED_RING + USED_ELEMENT * u64::from(slot);
        memory.write_slice(&id.to_le_bytes(), address(element)?)?;
        memory.write_slice(&length.to_le_bytes(), address(element + 4)?)?;
        next = next.wrapping_add(1);
    }
    memory.store(
        next.wrapping_add(manner.ahead).to_le(),
        address(RING_INDEX)?,
        Ordering::Release,
    )?;
    ring.set_next_used(next);
    Ok(())
}

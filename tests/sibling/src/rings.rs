// SPDX-License-Identifier: GPL-2.0

//! The queues of one guest, as a device uses them that keeps every rule.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result};
use vhost_user_backend::{VringRwLock, VringState, VringT};
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use crate::packed::{Place, Position};
use crate::switch::{Generation, Queue, Queues, Taken};

/// How many queues there are: for receiving, for sending, and for events, of which there are none.
pub const COUNT: usize = 3;

/// The longest packet that is taken, in bytes; the specification has no bound.
const LONGEST: usize = 16 * 1024 * 1024;

/// A guest's memory.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// The queues of a virtual machine, once its guest has set them up.
pub struct Rings {
    memory: Memory,
    vrings: OnceLock<Vec<VringRwLock>>,
    /// How many drivers have begun.
    drivers: AtomicU64,
    /// Whether the driver and the device have agreed on packed rings, and how far each is if so.
    packed: AtomicBool,
    positions: Mutex<[Position; COUNT]>,
}

impl Rings {
    /// Queues that are not set up yet, in this memory.
    pub fn new(memory: Memory) -> Self {
        Rings {
            memory,
            vrings: OnceLock::new(),
            drivers: AtomicU64::new(0),
            packed: AtomicBool::new(false),
            positions: Mutex::new([Position::START; COUNT]),
        }
    }

    /// Takes note of the queues, which stay the same from then on.
    pub fn set_up(&self, vrings: &[VringRwLock]) {
        self.vrings.get_or_init(|| vrings.to_vec());
    }

    /// Another driver begins, whose queues are not ready yet: packed ones or not.
    pub fn begin(&self, packed: bool) {
        self.drivers.fetch_add(1, Ordering::SeqCst);
        self.packed.store(packed, Ordering::SeqCst);
        *self.positions() = [Position::START; COUNT];
    }

    fn positions(&self) -> MutexGuard<'_, [Position; COUNT]> {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a function with how far the device is in a packed ring, and where that is.
    fn with_position<T>(
        &self,
        queue: Queue,
        state: &VringState,
        function: impl FnOnce(&mut Position, Place) -> Result<T>,
    ) -> Result<T> {
        let queue_state = state.get_queue();
        let place = Place {
            table: GuestAddress(queue_state.desc_table()),
            size: queue_state.size(),
            driver_event: GuestAddress(queue_state.avail_ring()),
            device_event: GuestAddress(queue_state.used_ring()),
        };
        let mut positions = self.positions();
        let position = positions.get_mut(queue as usize).context("no such queue")?;
        function(position, place)
    }

    /// [`Queues::take`] from a packed ring.
    fn take_packed(&self, state: &mut VringState, memory: &GuestMemoryMmap) -> Result<Taken> {
        let taken = self.with_position(Queue::Transmit, state, |position, place| {
            let Some(chain) = position.next(place, memory)? else {
                return Ok(None);
            };
            let bytes = match chain.readable() <= LONGEST {
                true => chain.read(memory).ok(),
                false => None,
            };
            let interrupts = position.give(place, memory, &chain, 0)?;
            Ok(Some((bytes, interrupts)))
        })?;
        let Some((bytes, interrupts)) = taken else {
            return Ok(Taken::Nothing);
        };
        if interrupts {
            state.signal_used_queue()?;
        }
        Ok(bytes.map_or(Taken::Unreadable, Taken::Bytes))
    }

    /// [`Queues::put`] into a packed ring.
    fn put_packed(
        &self,
        state: &mut VringState,
        memory: &GuestMemoryMmap,
        fill: &mut dyn FnMut(usize) -> Vec<u8>,
    ) -> Result<bool> {
        let given = self.with_position(Queue::Receive, state, |position, place| {
            let Some(chain) = position.next(place, memory)? else {
                return Ok(None);
            };
            let bytes = fill(chain.writable());
            chain.write(memory, &bytes)?;
            Ok(Some(position.give(place, memory, &chain, bytes.len())?))
        })?;
        if given == Some(true) {
            state.signal_used_queue()?;
        }
        Ok(given.is_some())
    }

    /// Calls a function with a queue that a driver uses, and with that driver's generation; `None`
    /// if nobody uses it. Neither changes meanwhile.
    fn with<T>(
        &self,
        queue: Queue,
        function: impl FnOnce(&mut VringState, &GuestMemoryMmap, Generation) -> Result<T>,
    ) -> Option<Result<T>> {
        let vring = self.vrings.get()?.get(queue as usize)?;
        let mut state = vring.get_mut();
        if !state.get_queue().ready() {
            return None;
        }
        // A driver begins before its queues get ready, for which their lock is taken.
        let generation = Generation(self.drivers.load(Ordering::SeqCst));
        let memory = self.memory.memory();
        Some(function(&mut state, &memory, generation))
    }

    /// The same for the driver of this generation.
    fn with_driver<T>(
        &self,
        queue: Queue,
        driver: Generation,
        function: impl FnOnce(&mut VringState, &GuestMemoryMmap) -> Result<T>,
    ) -> Option<T> {
        let of_driver = |state: &mut VringState, memory: &GuestMemoryMmap, generation| {
            if generation != driver {
                return Ok(None);
            }
            function(state, memory).map(Some)
        };
        // What the queue's own addresses do not allow is as if there were nothing in it.
        self.with(queue, of_driver)?.ok()?
    }
}

/// Gives a buffer back, and interrupts if the driver wants that.
fn give(state: &mut VringState, head: u16, len: usize) -> Result<()> {
    state.add_used(head, len as u32)?;
    if state.needs_notification()? {
        state.signal_used_queue()?;
    }
    Ok(())
}

impl Queues for Rings {
    fn driver(&self) -> Option<Generation> {
        let sending = self
            .with(Queue::Transmit, |_, _, driver| Ok(driver))?
            .ok()?;
        let receiving = self.with(Queue::Receive, |_, _, driver| Ok(driver))?.ok()?;
        (sending == receiving).then_some(sending)
    }

    fn take(&self, driver: Generation) -> Taken {
        self.with_driver(Queue::Transmit, driver, |state, memory| {
            if self.packed.load(Ordering::SeqCst) {
                return self.take_packed(state, memory);
            }
            let Some(chain) = state.get_queue_mut().pop_descriptor_chain(memory) else {
                return Ok(Taken::Nothing);
            };
            let head = chain.head_index();
            let read = || {
                let mut reader = chain.reader(memory).ok()?;
                let len = Some(reader.available_bytes()).filter(|len| *len <= LONGEST)?;
                let mut bytes = vec![0; len];
                reader.read_exact(&mut bytes).ok()?;
                Some(bytes)
            };
            let bytes = read();
            give(state, head, 0)?;
            Ok(bytes.map_or(Taken::Unreadable, Taken::Bytes))
        })
        .unwrap_or(Taken::Nothing)
    }

    fn put(&self, driver: Generation, fill: &mut dyn FnMut(usize) -> Vec<u8>) -> bool {
        self.with_driver(Queue::Receive, driver, |state, memory| {
            if self.packed.load(Ordering::SeqCst) {
                return self.put_packed(state, memory, fill);
            }
            let Some(chain) = state.get_queue_mut().pop_descriptor_chain(memory) else {
                return Ok(false);
            };
            let head = chain.head_index();
            // One that cannot be written to is a buffer without room.
            let mut writer = chain.writer(memory).ok();
            let room = writer.as_ref().map_or(0, |writer| writer.available_bytes());
            let bytes = fill(room);
            if let Some(writer) = &mut writer {
                writer.write_all(&bytes)?;
            }
            give(state, head, bytes.len())?;
            Ok(true)
        })
        .unwrap_or(false)
    }

    fn watch(&self, queue: Queue, driver: Generation) -> bool {
        self.with_driver(queue, driver, |state, memory| {
            if self.packed.load(Ordering::SeqCst) {
                return self.with_position(queue, state, |position, place| {
                    position.watch(place, memory)
                });
            }
            Ok(state.enable_notification()?)
        })
        .unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;

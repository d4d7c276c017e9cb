// SPDX-License-Identifier: GPL-2.0

//! The payload of a packet on its way into a receive queue.

use crate::net::{
    control::Arrival,
    gfp::accounted,
    receive_buffer::ReceiveBuffer,
    skb::{
        SkBuff,
        SkBuffMut, //
    },
};
use crate::protocol::packet::HEADER_LEN;
use kernel::{
    alloc::flags::__GFP_NOWARN,
    prelude::*, //
};

/// Payload of a packet, and where it is.
///
/// Small payload is copied out. The buffer of a device then goes back to it at once; large payload
/// takes the buffer with it.
pub(crate) struct Incoming<'a> {
    place: Place<'a>,
    len: usize,
    arrival: Arrival,
    /// An empty buffer of [`Incoming::ROOM`] bytes that it can be gathered in.
    reserved: Option<SkBuff>,
}

enum Place<'a> {
    /// Behind the header in a buffer that a device wrote.
    Device(ReceiveBuffer),
    /// It was copied out of this buffer.
    Copied(ReceiveBuffer),
    /// All of a buffer that a socket of this machine filled.
    Local(SkBuff),
    /// In no buffer: a socket of this machine has read it, and it is to be gathered in one that is
    /// queued already.
    Bytes(&'a [u8]),
    /// It has none, or it was taken.
    Nowhere,
}

impl<'a> Incoming<'a> {
    /// The longest payload that is sent in no buffer of its own, in bytes.
    pub(crate) const SHORT: usize = 1024;
    /// Room of a buffer that such payload is gathered in: what an allocation of a page leaves
    /// beside the kernel's own part.
    pub(crate) const ROOM: usize = 3584;

    /// A packet without payload.
    pub(super) const NOTHING: Incoming<'static> = Incoming {
        place: Place::Nowhere,
        len: 0,
        arrival: Arrival::NOT_NOTED,
        reserved: None,
    };

    /// `len` bytes of payload behind the header in `buffer`.
    pub(super) fn from_device(buffer: ReceiveBuffer, len: usize) -> Self {
        Incoming {
            place: Place::Device(buffer),
            len,
            arrival: Arrival::NOT_NOTED,
            reserved: None,
        }
    }

    /// All of `buffer`.
    pub(super) fn from_local(buffer: SkBuff) -> Self {
        Incoming {
            len: buffer.len(),
            place: Place::Local(buffer),
            arrival: Arrival::NOT_NOTED,
            reserved: None,
        }
    }

    /// All of `bytes`, in no buffer.
    pub(super) fn from_bytes(bytes: &'a [u8]) -> Self {
        Incoming {
            len: bytes.len(),
            place: Place::Bytes(bytes),
            arrival: Arrival::NOT_NOTED,
            reserved: None,
        }
    }

    /// Whether it has no buffer that could be queued: it has to find room in one.
    pub(crate) fn needs_room(&self) -> bool {
        matches!(self.place, Place::Bytes(_))
    }

    /// Sees to it that [`Incoming::new_tail`] gives a buffer. Returns whether that is so. BH.
    pub(crate) fn reserve_tail(&mut self) -> bool {
        if self.reserved.is_none() {
            self.reserved = Self::allocate_tail();
        }
        self.reserved.is_some()
    }

    /// An empty buffer to gather it in, and what comes behind it. `None` if memory is short. BH.
    pub(crate) fn new_tail(&mut self) -> Option<SkBuff> {
        self.reserved.take().or_else(Self::allocate_tail)
    }

    fn allocate_tail() -> Option<SkBuff> {
        let buffer = SkBuff::with_room(0, Self::ROOM, accounted(GFP_NOWAIT)).ok()?;
        // One of the kernel's reserves is nobody's to add to.
        (buffer.tailroom() >= Self::ROOM).then_some(buffer)
    }

    /// Bytes of payload.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Notes when it arrived. Buffers that the payload gets into tell of it.
    pub(crate) fn set_arrival(&mut self, arrival: Arrival) {
        self.arrival = arrival;
    }

    /// Copies the payload to the end of `tail`, if there is room for all of it.
    pub(crate) fn copy_to(&self, tail: &mut SkBuffMut<'_>) -> bool {
        let copied = match &self.place {
            Place::Device(buffer) => buffer.append_to(HEADER_LEN, self.len, tail),
            Place::Local(buffer) => tail.append_range(buffer, 0, self.len),
            Place::Bytes(bytes) => tail.append(bytes),
            Place::Copied(_) | Place::Nowhere => false,
        };
        if copied {
            tail.set_arrival(self.arrival);
        }
        copied
    }

    /// Takes a buffer with the payload in it; `None` if it was taken before, or if the payload
    /// would not end within it. BH.
    pub(crate) fn take(&mut self) -> Option<SkBuff> {
        let mut buffer = match core::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Device(buffer) => {
                if let Some(copy) = fitting_copy(&buffer, self.len) {
                    self.place = Place::Copied(buffer);
                    copy
                } else {
                    match buffer.into_payload(HEADER_LEN, self.len) {
                        Ok(payload) => payload,
                        Err(buffer) => {
                            self.place = Place::Device(buffer);
                            return None;
                        }
                    }
                }
            }
            Place::Local(buffer) => buffer,
            other => {
                self.place = other;
                return None;
            }
        };
        buffer.set_arrival(self.arrival);
        Some(buffer)
    }

    /// What is left for the device: its buffer, unless the payload took it.
    pub(super) fn into_device_buffer(self) -> Option<ReceiveBuffer> {
        match self.place {
            Place::Device(buffer) | Place::Copied(buffer) => Some(buffer),
            Place::Local(_) | Place::Bytes(_) | Place::Nowhere => None,
        }
    }
}

/// A copy of the payload in a buffer of its size, where one from a device has little in it: what is
/// queued is to hold not much more than twice what it is. `None` if that is not so, or there is no
/// memory: then all of the buffer is kept.
fn fitting_copy(buffer: &ReceiveBuffer, len: usize) -> Option<SkBuff> {
    if len >= buffer.size() / 2 {
        return None;
    }
    let mut copy = SkBuff::with_room(0, len, GFP_NOWAIT | __GFP_NOWARN).ok()?;
    buffer
        .append_to(HEADER_LEN, len, &mut copy.as_mut())
        .then_some(copy)
}

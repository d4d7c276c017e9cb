// SPDX-License-Identifier: GPL-2.0

//! The payload of a received packet, in the buffer that it arrived in.

use crate::net::{
    receive_buffer::ReceiveBuffer,
    skb::{
        SkBuff,
        SkBuffMut, //
    },
};
use crate::protocol::packet::HEADER_LEN;

/// Payload in a buffer that the device wrote.
///
/// Small payload is copied out, and the buffer goes back to the device at once; large payload
/// takes the buffer with it.
pub(crate) struct Incoming {
    buffer: Option<ReceiveBuffer>,
    len: usize,
}

impl Incoming {
    /// `len` bytes of payload behind the header in `buffer`.
    pub(super) fn new(buffer: ReceiveBuffer, len: usize) -> Self {
        Incoming {
            buffer: Some(buffer),
            len,
        }
    }

    /// Bytes of payload.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies the payload to the end of `tail`, if there is room for all of it.
    pub(crate) fn copy_to(&self, tail: &mut SkBuffMut<'_>) -> bool {
        self.buffer
            .as_ref()
            .is_some_and(|buffer| buffer.append_to(HEADER_LEN, self.len, tail))
    }

    /// Takes the buffer with the payload in it; `None` if it was taken before, or if the payload
    /// would not end within it.
    pub(crate) fn take(&mut self) -> Option<SkBuff> {
        let buffer = self.buffer.take()?;
        match buffer.into_payload(HEADER_LEN, self.len) {
            Ok(payload) => Some(payload),
            Err(buffer) => {
                self.buffer = Some(buffer);
                None
            }
        }
    }

    /// What is left for the device: the buffer, unless the payload took it.
    pub(super) fn into_buffer(self) -> Option<ReceiveBuffer> {
        self.buffer
    }
}

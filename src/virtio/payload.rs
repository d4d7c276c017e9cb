// SPDX-License-Identifier: GPL-2.0

//! The network layer's memory as buffers of virtqueues.

use super::{
    buffer::Segments,
    Buffer,
    DeviceReadable,
    DeviceWritable, //
};
use crate::net::{
    receive_buffer::ReceiveBuffer,
    skb::SkBuff, //
};
use core::ptr::NonNull;
use kernel::prelude::*;

// SAFETY: The segments are those of the socket buffer, which are part of it and stay where they are
// while it is neither changed nor freed, so while it is a token.
unsafe impl Buffer for SkBuff {
    fn describe(&self, segments: &mut Segments) -> Result {
        for segment in self.segments() {
            let len = u32::try_from(segment.len()).map_err(|_| EMSGSIZE)?;

            // SAFETY: The memory of a segment is in the direct mapping, and is `len` bytes long.
            unsafe { segments.push_linear(segment.as_ptr(), len) }?;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        0
    }

    unsafe fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: The caller is responsible for the token, and so for the buffer.
        unsafe { SkBuff::into_raw(self) }.cast()
    }

    unsafe fn from_raw(token: NonNull<c_void>) -> Self {
        // SAFETY: The token is from `into_raw` above, by this function's safety requirements.
        unsafe { SkBuff::from_raw(token.cast()) }
    }
}

// SAFETY: The header and the payload of a socket buffer are what is to be sent; room that was not
// filled is not part of its segments.
unsafe impl DeviceReadable for SkBuff {}

// SAFETY: The only segment is the fragment of the socket buffer, which is part of it and stays where
// it is while it is a token; `capacity` is its length.
unsafe impl Buffer for ReceiveBuffer {
    fn describe(&self, segments: &mut Segments) -> Result {
        let memory = self.memory().ok_or(EINVAL)?;
        let len = u32::try_from(memory.len()).map_err(|_| EMSGSIZE)?;

        // SAFETY: The memory of a segment is in the direct mapping, and is `len` bytes long. It may
        // be written to, since it is that of a `ReceiveBuffer`.
        unsafe { segments.push_linear(memory.as_ptr(), len) }
    }

    fn capacity(&self) -> usize {
        self.size()
    }

    unsafe fn into_raw(self) -> NonNull<c_void> {
        // SAFETY: The caller is responsible for the token, and so for the buffer.
        unsafe { ReceiveBuffer::into_raw(self) }.cast()
    }

    unsafe fn from_raw(token: NonNull<c_void>) -> Self {
        // SAFETY: The token is from `into_raw` above, by this function's safety requirements.
        unsafe { ReceiveBuffer::from_raw(token.cast()) }
    }
}

// SAFETY: `ReceiveBuffer` gives no reference to its bytes, and promises nothing of what they are.
unsafe impl DeviceWritable for ReceiveBuffer {}

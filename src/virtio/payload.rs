// SPDX-License-Identifier: GPL-2.0

//! The network layer's memory as buffers of virtqueues.

use super::{
    buffer::Segments,
    Buffer,
    DeviceReadable,
    DeviceWritable, //
};
use crate::{
    bindings,
    net::{
        pages::Pages,
        receive_buffer::ReceiveBuffer,
        skb::SkBuff, //
    },
};
use core::ptr::{
    self,
    NonNull, //
};
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

/// The bits of a token of [`Pages`] that hold their order. The rest is the address of the first
/// page's descriptor, whose alignment leaves them free.
const ORDER_MASK: usize = align_of::<bindings::page>() - 1;

// SAFETY: The only segment is all of the pages, which are owned, and `capacity` is their size.
unsafe impl Buffer for Pages {
    fn describe(&self, segments: &mut Segments) -> Result {
        let len = u32::try_from(self.size()).map_err(|_| EMSGSIZE)?;

        // SAFETY: The copy is never dropped, and the reference that it gives away is not used:
        // `self` goes on owning the only one.
        let (page, _) = unsafe { ptr::read(self).into_raw() };

        // SAFETY: The page is valid, and is not in high memory, so that it has an address.
        let start = unsafe { bindings::rvsock_page_address(page.as_ptr()) };
        let start = NonNull::new(start).ok_or(EINVAL)?;

        // SAFETY: The pages lie in the direct mapping one after the other, `len` bytes in total.
        unsafe { segments.push_linear(start.cast(), len) }
    }

    fn capacity(&self) -> usize {
        self.size()
    }

    unsafe fn into_raw(self) -> NonNull<c_void> {
        const { assert!(Pages::MAX_ORDER as usize <= ORDER_MASK) };

        // SAFETY: The caller is responsible for the token, and so for the pages.
        let (page, order) = unsafe { Pages::into_raw(self) };

        page.map_addr(|address| address | order as usize).cast()
    }

    unsafe fn from_raw(token: NonNull<c_void>) -> Self {
        let token = token.as_ptr();
        // CAST: The order is a small number.
        let order = (token.addr() & ORDER_MASK) as u32;
        let page = token.map_addr(|address| address & !ORDER_MASK);

        // SAFETY: The token is from `into_raw` above, by this function's safety requirements: the
        // address of a page, which is not null and whose low bits are zero, with the order in them.
        unsafe { Pages::from_raw(NonNull::new_unchecked(page.cast()), order) }
    }
}

// SAFETY: `Pages` gives no reference to its bytes, and promises nothing of what they are.
unsafe impl DeviceWritable for Pages {}

// SAFETY: The only segment is the fragment of the socket buffer, which is part of it and stays where
// it is while it is a token; `capacity` is its length.
unsafe impl Buffer for ReceiveBuffer {
    fn describe(&self, segments: &mut Segments) -> Result {
        let memory = self.memory().ok_or(EINVAL)?;
        let len = u32::try_from(memory.len()).map_err(|_| EMSGSIZE)?;

        // SAFETY: The memory of a segment is in the direct mapping, and is `len` bytes long.
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

// SPDX-License-Identifier: GPL-2.0

//! Memory that a device writes a header and payload to.

use super::{
    pages::Pages,
    skb::{
        SkBuff,
        SkBuffMut, //
    },
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    alloc::{
        flags::__GFP_ZERO,
        Flags, //
    },
    error::to_result,
    prelude::*, //
};

/// A buffer for a device to write to, of which the payload can become a [`SkBuff`] where it
/// stands, without another allocation: what has arrived is never lost for want of memory.
///
/// The device may go on writing when it should not, so no reference to the bytes is ever given. Bytes
/// that no device wrote are zero, and so are those that [`ReceiveBuffer::blank`] made so.
///
/// # Invariants
///
/// The socket buffer has one fragment, which is all of its length, and no header.
pub(crate) struct ReceiveBuffer(SkBuff);

impl ReceiveBuffer {
    /// A buffer of 2 to the power of `order` pages. Silently fails if there are none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(order: u32, flags: Flags) -> Result<Self> {
        // A device may say that it has written more than it has, and a bounce buffer copies back
        // all that it was given: what was in the pages before would go to whoever reads.
        let pages = Pages::new(order, flags | __GFP_ZERO)?;
        let size = pages.size();
        // INVARIANT: `from_pages` makes one fragment of the whole range.
        SkBuff::from_pages(pages, 0, size, flags)
            .map(Self)
            .map_err(|_| ENOMEM)
    }

    /// How many bytes a device can write.
    pub(crate) fn size(&self) -> usize {
        self.0.len()
    }

    /// Copies bytes out, from `offset` on; later changes by the device do not show in `to`.
    ///
    /// # Errors
    ///
    /// `EFAULT` if there are not as many.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) -> Result {
        let offset = c_int::try_from(offset).map_err(|_| EFAULT)?;
        let len = c_int::try_from(to.len()).map_err(|_| EFAULT)?;
        // SAFETY: The socket buffer is valid; `to` is valid for writes of its length.
        to_result(unsafe {
            bindings::skb_copy_bits(self.as_raw(), offset, to.as_mut_ptr().cast(), len)
        })
    }

    /// Makes the first `N` bytes zero, so that nothing is taken for new that was there before.
    ///
    /// # Errors
    ///
    /// `EFAULT` if there are not as many.
    pub(crate) fn blank<const N: usize>(&mut self) -> Result {
        let zeros = [0_u8; N];
        let len = c_int::try_from(N).map_err(|_| EFAULT)?;
        // SAFETY: The socket buffer is valid, and nobody else's: its fragment is not shared.
        // `zeros` is valid for reads of its length.
        to_result(unsafe { bindings::skb_store_bits(self.as_raw(), 0, zeros.as_ptr().cast(), len) })
    }

    /// Copies `len` bytes, from `offset` on, to the end of `tail`, if there are as many and there
    /// is room for all of them. Otherwise does nothing and gives false.
    pub(crate) fn append_to(&self, offset: usize, len: usize, tail: &mut SkBuffMut<'_>) -> bool {
        let there = offset
            .checked_add(len)
            .is_some_and(|end| end <= self.size());
        there && tail.append_range(&self.0, offset, len)
    }

    /// Makes `len` bytes, from `offset` on, payload. Gives the buffer back if there are not as many.
    pub(crate) fn into_payload(self, offset: usize, len: usize) -> Result<SkBuff, Self> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size() => (),
            _ => return Err(self),
        }
        // SAFETY: The socket buffer is valid and nobody else's, with one fragment that the range
        // lies in.
        unsafe { bindings::rvsock_skb_narrow(self.as_raw(), offset as c_uint, len as c_uint) };
        Ok(self.0)
    }

    fn as_raw(&self) -> *mut bindings::sk_buff {
        self.0.as_raw().as_ptr()
    }

    /// Where the device is to write, for as long as the buffer exists.
    pub(crate) fn memory(&self) -> Option<super::skb::Segment<'_>> {
        self.0.segments().next()
    }

    /// Gives the buffer away; [`ReceiveBuffer::from_raw`] takes it back.
    ///
    /// # Safety
    ///
    /// The caller is responsible for the buffer.
    pub(crate) unsafe fn into_raw(self) -> NonNull<bindings::sk_buff> {
        // SAFETY: The caller is responsible for the buffer.
        unsafe { self.0.into_raw() }
    }

    /// Takes a buffer over.
    ///
    /// # Safety
    ///
    /// `skb` must come from [`ReceiveBuffer::into_raw`], and must not be used otherwise.
    pub(crate) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // SAFETY: By the requirements. INVARIANT: It was a `ReceiveBuffer`.
        Self(unsafe { SkBuff::from_raw(skb) })
    }
}

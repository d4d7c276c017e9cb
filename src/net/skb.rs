// SPDX-License-Identifier: GPL-2.0

//! Socket buffers (`struct sk_buff`): owned memory for payload, and the header before it.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use super::{
    gfp,
    pages::Pages,
    payload::fragment_pages, //
};

pub(crate) use super::payload::PayloadLimits;
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    alloc::Flags,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// The largest payload that [`SkBuff::for_payload`] keeps in the linear part.
const LINEAR_MAX: usize = 2048;

/// An owned socket buffer.
///
/// It holds a payload, in its linear part or in page fragments, and before it, once pushed, a
/// header. Lengths and offsets count payload only. Dropping it frees it; any context but a hard
/// interrupt.
///
/// # Invariants
///
/// - `skb` is a valid `struct sk_buff` that this value owns: nobody else has a reference to it, or
///   to its data, but for the pages of fragments, which a device may still write to, or whoever lent
///   them.
/// - The first `header_len` bytes of its linear part are the header; `header_len` is kept in its
///   control block. All else is payload.
/// - It has linear payload only if it has no fragment.
#[repr(transparent)]
pub(crate) struct SkBuff {
    skb: NonNull<bindings::sk_buff>,
}

// SAFETY: A socket buffer can be used and freed by any thread.
unsafe impl Send for SkBuff {}

// SAFETY: Shared references only read what nobody changes.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// An empty buffer with a linear part: `headroom` bytes for a header, and at least `len` for
    /// payload.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if the sum is absurd.
    pub(crate) fn with_room(headroom: usize, len: usize, flags: Flags) -> Result<Self> {
        let size = headroom.checked_add(len).ok_or(ENOMEM)?;
        let size = i32::try_from(size).map_err(|_| ENOMEM)?;
        // SAFETY: Just an FFI call; the headroom is not more than the size.
        let skb = unsafe {
            bindings::rvsock_alloc_skb(size as u32, headroom as u32, gfp::into_raw(flags))
        };
        // INVARIANT: The buffer is new and empty, and its control block is zero.
        Ok(Self {
            skb: NonNull::new(skb).ok_or(ENOMEM)?,
        })
    }

    /// An empty buffer whose payload will be within `limits`: in the linear part if it is small, else
    /// in page fragments.
    ///
    /// [`SkBuff::room`] says how much it can take, which is less than `limits.len` where memory is
    /// short, but never less than a page (or `limits.len`).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn for_payload(
        headroom: usize,
        limits: PayloadLimits,
        flags: Flags,
    ) -> Result<Self> {
        if limits.len <= LINEAR_MAX {
            return Self::with_room(headroom, limits.len, flags);
        }
        let mut skb = Self::with_room(headroom, 0, flags)?;
        let mut room = 0;
        for piece in 0..limits.pieces() {
            match fragment_pages(limits.len - room, flags) {
                Ok(pages) => {
                    room += pages.size();
                    skb = skb.with_fragment(pages, 0, 0);
                }
                Err(error) if piece == 0 => return Err(error),
                Err(_) => break,
            }
            if room >= limits.len {
                break;
            }
        }
        Ok(skb)
    }

    /// A buffer whose payload is a range of `pages`, which are given back if that fails: for want
    /// of memory, or because there is no such range.
    ///
    /// The payload counts as filled, so the caller sees to it that the pages hold nothing that is
    /// not to be seen.
    pub(super) fn from_pages(
        pages: Pages,
        offset: usize,
        len: usize,
        flags: Flags,
    ) -> Result<Self, Pages> {
        match offset.checked_add(len) {
            Some(end) if end <= pages.size() => (),
            _ => return Err(pages),
        }
        match Self::with_room(0, 0, flags) {
            Ok(skb) => Ok(skb.with_fragment(pages, offset, len)),
            Err(_) => Err(pages),
        }
    }

    /// A buffer whose payload is the memory of `source` itself, which goes on by as much: what is
    /// within `limits`. It holds the pages, and whoever else has them may go on writing to them. The
    /// payload cannot be added to.
    ///
    /// Process context if the source is in user space.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the source is of a kind that cannot be lent: it is to be copied. `EFAULT` if it
    /// cannot be read, or is at its end. `ENOMEM`.
    pub(crate) fn lent(
        headroom: usize,
        source: &mut IovIterSource<'_>,
        limits: PayloadLimits,
        flags: Flags,
    ) -> Result<Self> {
        let skb = Self::with_room(headroom, 0, flags)?;
        // SAFETY: The buffer is ours and has no payload; the source is valid. The pieces are at least
        // one, and not more than a buffer can have.
        let len = unsafe {
            bindings::rvsock_skb_lend(
                skb.skb.as_ptr(),
                source.as_raw().cast(),
                limits.len,
                limits.pieces(),
            )
        };
        // INVARIANT: It got fragments only, of pages that it holds.
        match i32::try_from(len) {
            Ok(error) if error < 0 => Err(Error::from_errno(error)),
            _ => Ok(skb),
        }
    }

    /// Adds a fragment. The range must be within the pages, and the payload not be linear; there must
    /// be fewer than [`PayloadLimits::MAX_PIECES`].
    fn with_fragment(self, pages: Pages, offset: usize, len: usize) -> Self {
        let size = pages.size();
        // SAFETY: The reference goes to the buffer, which puts it when it is freed.
        let page = unsafe { pages.into_raw() };
        // SAFETY: The buffer is ours and takes another fragment; the range is within the page. A
        // page has at most 64 KiB, so nothing is lost in the conversions.
        unsafe {
            bindings::rvsock_skb_add_fragment(
                self.skb.as_ptr(),
                page.as_ptr(),
                offset as c_int,
                len as c_int,
                size as c_uint,
            )
        };
        self
    }

    /// How many bytes of payload there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: By the type invariants, `skb` is valid.
        let len = unsafe { self.skb.as_ref() }.len as usize;
        len - self.header_len()
    }

    /// How many bytes of header there are.
    #[inline]
    pub(crate) fn header_len(&self) -> usize {
        // SAFETY: By the type invariants, `skb` is valid.
        unsafe { bindings::rvsock_skb_header_len(self.skb.as_ptr()) as usize }
    }

    /// The byte that [`SkBuffMut::set_tag`] left, at first zero: whoever has the buffer says with it
    /// what the payload is.
    #[inline]
    pub(crate) fn tag(&self) -> u8 {
        // SAFETY: By the type invariants, `skb` is valid.
        unsafe { bindings::rvsock_skb_tag(self.skb.as_ptr()) }
    }

    /// Copies payload out, from `offset` on, if there is as much as `to` has room for. Otherwise
    /// does nothing and gives false.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        let there = offset
            .checked_add(to.len())
            .is_some_and(|end| end <= self.len());
        if !there {
            return false;
        }
        // SAFETY: By the type invariants, `skb` is valid, and the range is within its payload, which
        // fits an `int`; `to` is valid for writes of its length.
        let error = unsafe {
            bindings::skb_copy_bits(
                self.skb.as_ptr(),
                (self.header_len() + offset) as c_int,
                to.as_mut_ptr().cast(),
                to.len() as c_int,
            )
        };
        error == 0
    }

    /// How many more bytes of payload [`SkBuff::fill_from`] can take.
    pub(crate) fn room(&self) -> usize {
        // SAFETY: By the type invariants, `skb` is valid.
        unsafe { bindings::rvsock_skb_room(self.skb.as_ptr()) as usize }
    }

    /// How many more bytes of payload [`SkBuffMut::append_range`] can take: zero unless the payload is
    /// linear.
    pub(crate) fn tailroom(&self) -> usize {
        // SAFETY: By the type invariants, `skb` is valid.
        unsafe { bindings::rvsock_skb_tailroom(self.skb.as_ptr()) as usize }
    }

    /// Adds payload from `source`: up to `at_most` bytes, within the room that there is. Gives how
    /// many were copied: fewer only at the end of the source or where it cannot be read.
    ///
    /// Process context if the source is in user space.
    pub(crate) fn fill_from(&mut self, source: &mut IovIterSource<'_>, at_most: usize) -> usize {
        let len = at_most.min(self.room()).min(source.len());
        // SAFETY: By the type invariants, `skb` is valid and nobody else's; `len` is within its
        // room. The source is valid.
        unsafe { bindings::rvsock_skb_fill_from(self.skb.as_ptr(), source.as_raw().cast(), len) }
    }

    /// Access to what can be changed.
    pub(crate) fn as_mut(&mut self) -> SkBuffMut<'_> {
        SkBuffMut {
            skb: self.skb,
            _buffer: PhantomData,
        }
    }

    /// Copies payload out, from `offset` on: up to `at_most` bytes. Gives how many were copied:
    /// fewer only where the payload or `dest` ends, or where `dest` cannot be written to. What was
    /// copied before such a fault stays copied.
    ///
    /// Process context if `dest` is in user space.
    pub(crate) fn copy_to(
        &self,
        offset: usize,
        dest: &mut IovIterDest<'_>,
        at_most: usize,
    ) -> usize {
        let len = at_most.min(self.len().saturating_sub(offset));
        if len == 0 {
            return 0;
        }
        // SAFETY: By the type invariants, `skb` is valid, and the range is within its payload. The
        // destination is valid.
        unsafe {
            bindings::rvsock_skb_copy_to(
                self.skb.as_ptr(),
                (self.header_len() + offset) as c_uint,
                dest.as_raw().cast(),
                len,
            )
        }
    }

    /// Puts a header before the payload, and before a header that is there already. `ENOSPC` if
    /// the headroom is too small for that.
    pub(crate) fn push_header(&mut self, header: &[u8]) -> Result {
        // SAFETY: By the type invariants, `skb` is valid and nobody else's; `header` is valid for
        // reads of its length.
        let fits = unsafe {
            bindings::rvsock_skb_push_header(
                self.skb.as_ptr(),
                header.as_ptr().cast(),
                header.len(),
            )
        };
        if fits {
            Ok(())
        } else {
            Err(ENOSPC)
        }
    }

    /// The pieces of memory that header and payload are in, in this order. None of them is empty.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        // SAFETY: By the type invariants, `skb` is valid.
        let count = unsafe { bindings::rvsock_skb_segments(self.skb.as_ptr()) };
        (0..count).filter_map(|index| {
            let mut len = 0;
            // SAFETY: By the type invariants, `skb` is valid, and it has such a segment; `len` is
            // valid for writes.
            let data = unsafe { bindings::rvsock_skb_segment(self.skb.as_ptr(), index, &mut len) };
            Some(Segment {
                data: NonNull::new(data.cast())?,
                len: len as usize,
                _buffer: PhantomData,
            })
        })
    }

    /// The `struct sk_buff`.
    pub(super) fn as_raw(&self) -> NonNull<bindings::sk_buff> {
        self.skb
    }

    /// Gives the buffer away; [`SkBuff::from_raw`] takes it back.
    ///
    /// # Safety
    ///
    /// The caller is responsible for the buffer.
    pub(crate) unsafe fn into_raw(self) -> NonNull<bindings::sk_buff> {
        ManuallyDrop::new(self).skb
    }

    /// Takes a buffer over.
    ///
    /// # Safety
    ///
    /// `skb` must come from [`SkBuff::into_raw`], and must not be used otherwise.
    pub(crate) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the requirements.
        Self { skb }
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the buffer is ours.
        unsafe { bindings::consume_skb(self.skb.as_ptr()) };
    }
}

/// Access to a buffer that stays where it is: in a queue, for example.
pub(crate) struct SkBuffMut<'a> {
    /// A [`SkBuff`] to which nobody else has access for `'a`.
    skb: NonNull<bindings::sk_buff>,
    _buffer: PhantomData<&'a mut SkBuff>,
}

impl<'a> SkBuffMut<'a> {
    /// # Safety
    ///
    /// `skb` must be that of a [`SkBuff`] to which nobody else has access for `'a`.
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        Self {
            skb,
            _buffer: PhantomData,
        }
    }

    /// Leaves a byte that [`SkBuff::tag`] gives.
    pub(crate) fn set_tag(&mut self, tag: u8) {
        // SAFETY: The buffer is valid and nobody else's.
        unsafe { bindings::rvsock_skb_set_tag(self.skb.as_ptr(), tag) };
    }

    /// Adds `bytes` to the payload, if the tailroom is enough for all of them. Otherwise does nothing
    /// and gives false.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.tailroom() || bytes.is_empty() {
            return bytes.is_empty();
        }
        // SAFETY: The buffer is valid and nobody else's. It has the tailroom, which is not zero, so
        // its payload is linear; `bytes` is valid for reads of its length.
        unsafe {
            bindings::rvsock_skb_append(
                self.skb.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len() as c_uint,
            )
        };
        true
    }

    /// Replaces payload from `offset` on by `bytes`, if there is as much. Otherwise does nothing and
    /// gives false.
    pub(crate) fn overwrite(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let there = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= self.len());
        if !there {
            return false;
        }
        // SAFETY: The buffer is valid and nobody else's, and the range is within its payload, which
        // fits an `int`; `bytes` is valid for reads of its length.
        let error = unsafe {
            bindings::skb_store_bits(
                self.skb.as_ptr(),
                (self.header_len() + offset) as c_int,
                bytes.as_ptr().cast(),
                bytes.len() as c_int,
            )
        };
        error == 0
    }

    /// Adds `len` bytes of the payload of another buffer, from `offset` on, if there are as many
    /// and the tailroom is enough for all of them. Otherwise does nothing and gives false.
    pub(crate) fn append_range(&mut self, other: &SkBuff, offset: usize, len: usize) -> bool {
        let there = offset
            .checked_add(len)
            .is_some_and(|end| end <= other.len());
        if !there || len > self.tailroom() {
            return false;
        }
        // Nothing fits anywhere, but C wants linear payload even for that.
        if len == 0 {
            return true;
        }
        // SAFETY: The buffer is valid and nobody else's. It has the tailroom, which is not zero, so
        // its payload is linear. The range is within the payload of `other`, which is another
        // buffer, since this one is borrowed mutably.
        unsafe {
            bindings::rvsock_skb_append_skb(
                self.skb.as_ptr(),
                other.skb.as_ptr(),
                (other.header_len() + offset) as c_uint,
                len as c_uint,
            )
        };
        true
    }
}

impl SkBuffMut<'_> {
    /// Adds all of the payload of another buffer, as [`SkBuffMut::append_range`] does. It arrived when
    /// that did.
    pub(crate) fn append_all(&mut self, other: &SkBuff) -> bool {
        let added = self.append_range(other, 0, other.len());
        if added {
            self.set_arrival(other.arrival());
        }
        added
    }
}

impl Deref for SkBuffMut<'_> {
    type Target = SkBuff;

    fn deref(&self) -> &SkBuff {
        // SAFETY: `SkBuff` is a transparent wrapper around a pointer of this type, which is that
        // of a buffer. A shared reference cannot be moved out of.
        unsafe { &*(&raw const self.skb).cast() }
    }
}

/// A piece of memory of a buffer: for a device to read, or, where it is that of a
/// [`ReceiveBuffer`](super::receive_buffer::ReceiveBuffer), to write to.
pub(crate) struct Segment<'a> {
    data: NonNull<u8>,
    len: usize,
    _buffer: PhantomData<&'a SkBuff>,
}

impl Segment<'_> {
    /// How many bytes there are; not zero.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address, within the kernel's direct mapping.
    ///
    /// # Safety
    ///
    /// The memory may be accessed, by the processor or by a device, for as long as its buffer is
    /// neither changed nor freed. It may be written to only if the buffer is a
    /// [`ReceiveBuffer`](super::receive_buffer::ReceiveBuffer), to whose bytes there are no
    /// references.
    pub(crate) unsafe fn as_ptr(&self) -> NonNull<u8> {
        self.data
    }
}

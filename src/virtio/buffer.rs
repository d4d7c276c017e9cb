// SPDX-License-Identifier: GPL-2.0

//! What can be given to a device.

use crate::bindings;
use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    alloc::Flags,
    prelude::*, //
};

/// Memory that a virtqueue can carry.
///
/// # Safety
///
/// - [`describe`](Buffer::describe) must give segments that stay valid while the buffer exists as
///   a token: from a call of [`into_raw`](Buffer::into_raw) to that of
///   [`from_raw`](Buffer::from_raw). Nothing but the device may write to them meanwhile, and if
///   the buffer is ever given to a device that writes, nothing else may rely on what they contain.
/// - They must be memory that a device can be given: directly mapped, not on a stack, not in a
///   static, and not shared with data that the device must not see or change.
/// - [`capacity`](Buffer::capacity) must be at most the length of all segments together.
pub(crate) unsafe trait Buffer: Send + Sized + 'static {
    /// Adds the buffer's segments, in the order in which the device is to see them.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` when there are more than fit.
    fn describe(&self, segments: &mut Segments) -> Result;

    /// How many bytes a device can write to the buffer.
    fn capacity(&self) -> usize;

    /// Makes the buffer a token that stands for it in a virtqueue.
    ///
    /// # Safety
    ///
    /// The buffer leaks if the token is not given to [`from_raw`](Buffer::from_raw).
    unsafe fn into_raw(self) -> NonNull<c_void>;

    /// Makes a token the buffer again.
    ///
    /// # Safety
    ///
    /// - `token` must be from [`into_raw`](Buffer::into_raw) of the same type, and is used up.
    /// - No device may have been told to use the buffer, or it must have given it up.
    unsafe fn from_raw(token: NonNull<c_void>) -> Self;
}

/// The most segments that a buffer can have: a header, and a socket buffer's linear part and
/// fragments.
const MAX_SEGMENTS: usize = 2 + bindings::MAX_SKB_FRAGS as usize;

/// The segments of a buffer: pieces of memory that are contiguous for a device.
///
/// # Invariants
///
/// The first `count` entries are initialised, each as a list of one.
pub(crate) struct Segments {
    entries: [MaybeUninit<bindings::scatterlist>; MAX_SEGMENTS],
    count: usize,
}

impl Segments {
    pub(super) fn new() -> Self {
        Self {
            entries: [const { MaybeUninit::uninit() }; MAX_SEGMENTS],
            count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The segments as what the C interface takes: an array of lists.
    pub(super) fn lists(&mut self) -> [*mut bindings::scatterlist; MAX_SEGMENTS] {
        let mut lists = [ptr::null_mut(); MAX_SEGMENTS];

        for (list, entry) in lists.iter_mut().zip(&mut self.entries[..self.count]) {
            *list = entry.as_mut_ptr();
        }
        lists
    }

    /// Adds `len` bytes from `start` on. Adds nothing when `len` is 0.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` when no more segments fit.
    ///
    /// # Safety
    ///
    /// The bytes must be valid memory of the kernel's direct mapping.
    pub(crate) unsafe fn push_linear(&mut self, start: NonNull<u8>, len: u32) -> Result {
        if len == 0 {
            return Ok(());
        }
        let entry = self.entries.get_mut(self.count).ok_or(EMSGSIZE)?;

        // SAFETY: `entry` is valid for writing. The bytes have pages, as they are directly mapped.
        unsafe { bindings::sg_init_one(entry.as_mut_ptr(), start.as_ptr().cast(), len) };

        // INVARIANT: The entry was just initialised.
        self.count += 1;
        Ok(())
    }
}

/// A few bytes that a device writes, such as an event.
///
/// It has memory of its own, of `N` bytes, which cannot be borrowed: a device that does not keep
/// to the rules may write to it at any time.
pub(crate) struct SmallBuffer<const N: usize> {
    memory: KBox<[u8; N]>,
}

impl<const N: usize> SmallBuffer<N> {
    const LENGTH: u32 = {
        assert!(0 < N && N <= 4096);
        // CAST: Checked above.
        N as u32
    };

    /// Allocates a buffer of zeros.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// Context: as `flags` say.
    pub(crate) fn new(flags: Flags) -> Result<Self> {
        Ok(Self {
            memory: KBox::new([0; N], flags)?,
        })
    }

    /// Returns a copy of what is in the buffer.
    ///
    /// Context: any.
    pub(crate) fn read(&self) -> [u8; N] {
        // Volatile, so that all uses of the copy see the same bytes.
        //
        // SAFETY: The memory is valid and initialised, and any bytes are valid.
        unsafe { ptr::from_ref(&*self.memory).read_volatile() }
    }
}

// SAFETY: The only segment is the memory of the box, which is allocated by kmalloc() for this
// alone. It does not move with the box, and is accessed only by way of a `SmallBuffer`.
unsafe impl<const N: usize> Buffer for SmallBuffer<N> {
    fn describe(&self, segments: &mut Segments) -> Result {
        let start = NonNull::from(&*self.memory).cast();

        // SAFETY: The memory of a `KBox` is in the direct mapping, and is `N` bytes long.
        unsafe { segments.push_linear(start, Self::LENGTH) }
    }

    fn capacity(&self) -> usize {
        N
    }

    unsafe fn into_raw(self) -> NonNull<c_void> {
        let memory = KBox::into_raw(self.memory);

        // SAFETY: The pointer of a `KBox` is not null.
        unsafe { NonNull::new_unchecked(memory.cast()) }
    }

    unsafe fn from_raw(token: NonNull<c_void>) -> Self {
        Self {
            // SAFETY: The token is from `into_raw` above, by this function's safety requirements.
            memory: unsafe { KBox::from_raw(token.cast().as_ptr()) },
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Small buffers that a device writes to.

use super::{
    buffer::Segments,
    Buffer,
    DeviceWritable, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    alloc::Flags,
    prelude::*, //
};

/// A few bytes that a device writes, such as an event.
///
/// It has memory of its own, of `N` bytes, which cannot be borrowed: a device that does not keep
/// to the rules may write to it at any time.
///
/// # Invariants
///
/// `memory` is from [`KBox::into_raw`], and owned by this.
pub(crate) struct SmallBuffer<const N: usize> {
    memory: NonNull<[u8; N]>,
}

// SAFETY: The memory is owned, and bytes can be sent.
unsafe impl<const N: usize> Send for SmallBuffer<N> {}

// SAFETY: A shared buffer can only be read.
unsafe impl<const N: usize> Sync for SmallBuffer<N> {}

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
        let memory = KBox::into_raw(KBox::new([0; N], flags)?);

        // SAFETY: The pointer of a `KBox` is not null.
        let memory = unsafe { NonNull::new_unchecked(memory) };

        // INVARIANT: The pointer is from `KBox::into_raw`.
        Ok(Self { memory })
    }

    /// Returns a copy of what is in the buffer.
    ///
    /// Context: any.
    pub(crate) fn read(&self) -> [u8; N] {
        // Volatile, so that all uses of the copy see the same bytes.
        //
        // SAFETY: The memory is valid for reading and initialised, and any bytes are valid.
        unsafe { self.memory.as_ptr().read_volatile() }
    }
}

// SAFETY: The only segment is the memory of the box, which does not move with it, and which is
// `capacity` bytes long.
unsafe impl<const N: usize> Buffer for SmallBuffer<N> {
    fn describe(&self, segments: &mut Segments) -> Result {
        // SAFETY: The memory of a `KBox` is in the direct mapping, and is `N` bytes long.
        unsafe { segments.push_linear(self.memory.cast(), Self::LENGTH) }
    }

    fn capacity(&self) -> usize {
        N
    }

    unsafe fn into_raw(self) -> NonNull<c_void> {
        ManuallyDrop::new(self).memory.cast()
    }

    unsafe fn from_raw(token: NonNull<c_void>) -> Self {
        // INVARIANT: The token is from `into_raw`, by this function's safety requirements.
        Self {
            memory: token.cast(),
        }
    }
}

// SAFETY: The memory is only ever copied out, by a volatile access, and any bytes will do.
unsafe impl<const N: usize> DeviceWritable for SmallBuffer<N> {}

impl<const N: usize> Drop for SmallBuffer<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. No device uses the memory: a buffer that a device has is
        // a token.
        drop(unsafe { KBox::from_raw(self.memory.as_ptr()) });
    }
}

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
use kernel::prelude::*;

/// Memory that a virtqueue can carry.
///
/// # Safety
///
/// - [`describe`](Buffer::describe) must give segments that stay valid while the buffer exists as
///   a token: from a call of [`into_raw`](Buffer::into_raw) to that of
///   [`from_raw`](Buffer::from_raw).
/// - They must be memory of the buffer's own, or that it shares with nobody but readers.
/// - [`capacity`](Buffer::capacity) must be at most the length of all segments together.
pub(crate) unsafe trait Buffer: Send + Sized + 'static {
    /// Adds the buffer's segments, in the order in which the device is to see them.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` when they are more, or larger, than a virtqueue takes.
    fn describe(&self, segments: &mut Segments) -> Result;

    /// How many bytes a device can write to the buffer: 0 if it is only read.
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

/// A [`Buffer`] that a device may read.
///
/// # Safety
///
/// All bytes of its segments must be initialised, with data that the device may know.
pub(crate) unsafe trait DeviceReadable: Buffer {}

/// A [`Buffer`] that a device may write to.
///
/// # Safety
///
/// Nothing may rely on what its segments contain, or on that they do not change: not even after the
/// device has given up the buffer, as devices need not keep to the rules. So no Rust reference to
/// their bytes may exist.
pub(crate) unsafe trait DeviceWritable: Buffer {}

/// The most segments that a buffer can have: a header, and a socket buffer's fragments.
const MAX_SEGMENTS: usize = 1 + bindings::MAX_SKB_FRAGS as usize;

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

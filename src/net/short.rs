// SPDX-License-Identifier: GPL-2.0

//! A few bytes from a program, on the stack.

use super::message::SendMessage;
use crate::bindings;
use core::{
    mem::MaybeUninit,
    slice, //
};

/// Up to `N` bytes that were read from a program. `N` bytes of the stack are what it takes.
///
/// # Invariants
///
/// The first `len` of `bytes` are initialised.
pub(crate) struct ShortBytes<const N: usize> {
    bytes: [MaybeUninit<u8>; N],
    len: usize,
}

impl<const N: usize> ShortBytes<N> {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        // INVARIANT: None are to be initialised.
        ShortBytes {
            bytes: [MaybeUninit::uninit(); N],
            len: 0,
        }
    }

    /// Reads up to `at_most` bytes of what is to be sent, and up to `N`, in place of what was there. Gives
    /// what was read: less where the message ends, and where its memory cannot be read without
    /// sleeping. [`SendMessage::unread`] takes it back.
    ///
    /// Any context.
    pub(crate) fn read(&mut self, message: &mut SendMessage<'_>, at_most: usize) -> &[u8] {
        let source = message.source();
        let room = at_most.min(N).min(source.len());
        // SAFETY: The buffer has room for so many bytes, and the source is valid. Page faults are off
        // meanwhile, so this does not sleep.
        self.len = unsafe {
            bindings::rvsock_copy_present_from_iter(
                self.bytes.as_mut_ptr().cast(),
                room,
                source.as_raw().cast(),
            )
        };
        // INVARIANT: So many bytes were just written.
        // SAFETY: By the type invariants, so many are initialised.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }
}

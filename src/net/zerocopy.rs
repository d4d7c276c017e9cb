// SPDX-License-Identifier: GPL-2.0

//! Sending from the caller's own memory (`MSG_ZEROCOPY`), and how the caller learns that it is
//! its own again.
//!
//! Each call has a number, and a completion on the socket's error queue when the last buffer with
//! its memory is freed, wherever that is. io_uring brings something of its own that is told.
//!
//! Documentation: [`Documentation/networking/msg_zerocopy.rst`]; C source:
//! [`net/core/skbuff.c`](srctree/net/core/skbuff.c)
//!
//! [`Documentation/networking/msg_zerocopy.rst`]: srctree/Documentation/networking/msg_zerocopy.rst

use super::{
    guard::Owned,
    message::{
        ReceiveMessage,
        SendMessage, //
    },
    skb::SkBuff,
    sock::{
        Protocol,
        Sock, //
    },
};
use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// What tells the caller of a send that its memory is its own again: when this is dropped, and all
/// buffers that it is [attached](Completion::attach) to are freed.
///
/// Unless [`Completion::mark_sent`] was called, the caller is told nothing, and the number of the
/// call is given back. That is right only if the socket was owned all the time.
///
/// # Invariants
///
/// `ubuf` is valid, and this value has a reference to it. It was made for this call if it is
/// `counted`.
pub(crate) struct Completion {
    ubuf: NonNull<bindings::ubuf_info>,
    counted: bool,
    sent: bool,
}

impl Completion {
    /// The completion is to wait until `buffer` is freed. Its memory must be the caller's.
    pub(crate) fn attach(&self, buffer: &mut SkBuff) {
        // SAFETY: By the type invariants, both are valid, and the buffer is nobody else's. It takes a
        // reference of its own.
        unsafe { bindings::rvsock_zerocopy_attach(self.ubuf.as_ptr(), buffer.as_raw().as_ptr()) };
    }

    /// Whether any completion waits until `buffer` is freed.
    pub(crate) fn waits_for(buffer: &SkBuff) -> bool {
        // SAFETY: The buffer is valid, and is only looked at.
        unsafe { bindings::rvsock_zerocopy_is_attached(buffer.as_raw().as_ptr()) }
    }

    /// The completion is to say that bytes were copied, so that lending them was of no use
    /// (`SO_EE_CODE_ZEROCOPY_COPIED`).
    pub(crate) fn mark_copied(&self) {
        // SAFETY: By the type invariants, `ubuf` is valid.
        unsafe { bindings::rvsock_zerocopy_copied(self.ubuf.as_ptr()) };
    }

    /// Bytes of the call were sent, so there is something to tell.
    pub(crate) fn mark_sent(&mut self) {
        self.sent = true;
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let abort = self.counted && !self.sent;
        // SAFETY: By the type invariants, the reference is ours, and is given up here. The call's
        // number is given back only if it has one.
        unsafe { bindings::rvsock_zerocopy_put(self.ubuf.as_ptr(), abort) };
    }
}

impl<P: Protocol> Sock<P> {
    /// Sets whether `MSG_ZEROCOPY` has an effect (`SO_ZEROCOPY`). The caller owns the socket.
    pub(crate) fn set_zerocopy(&self, _owner: &Owned<'_, P>, on: bool) {
        // SAFETY: By the type invariants, `sk` is valid; its flags are changed by its owner only.
        unsafe { bindings::rvsock_sock_set_zerocopy(self.as_raw(), on) };
    }

    /// Whether the caller of a send wants to lend its memory, and is to be told when it is its own
    /// again. Process context.
    pub(crate) fn lends(&self, message: &SendMessage<'_>) -> bool {
        // SAFETY: Both are valid by their type invariants.
        unsafe { bindings::rvsock_zerocopy_wanted(self.as_raw(), message.as_raw()) }
    }

    /// What tells the caller of a send of `len` bytes that its memory is its own again, if it wants
    /// to lend it. Process context; the caller owns the socket.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: so many completions are outstanding, or so much of the caller's memory is lent, as
    /// it may have.
    pub(crate) fn completion(
        &self,
        _owner: &Owned<'_, P>,
        message: &SendMessage<'_>,
        len: usize,
    ) -> Result<Option<Completion>> {
        let mut counted = false;
        let mut error = 0;
        // SAFETY: Both are valid by their type invariants, and the socket is owned. `counted` and
        // `error` are valid for writes.
        let ubuf = unsafe {
            bindings::rvsock_zerocopy_get(
                self.as_raw(),
                message.as_raw(),
                len,
                &mut counted,
                &mut error,
            )
        };
        kernel::error::to_result(error)?;
        // INVARIANT: The reference is new.
        Ok(NonNull::new(ubuf).map(|ubuf| Completion {
            ubuf,
            counted,
            sent: false,
        }))
    }

    /// Takes the first entry off the error queue: `recvmsg(2)` with `MSG_ERRQUEUE`. What it says is
    /// in a control message of `level` and `kind`, as a `struct sock_extended_err`. Process context.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is none, `EFAULT`.
    pub(crate) fn receive_error(
        &self,
        message: &mut ReceiveMessage<'_>,
        len: usize,
        level: u32,
        kind: u32,
    ) -> Result<usize> {
        let len = c_int::try_from(len).unwrap_or(c_int::MAX);
        // SAFETY: Both are valid by their type invariants.
        let result = unsafe {
            bindings::sock_recv_errqueue(
                self.as_raw(),
                message.as_raw(),
                len,
                level as c_int,
                kind as c_int,
            )
        };
        kernel::error::to_result(result)?;
        Ok(usize::try_from(result).unwrap_or(0))
    }

    /// Whether there is something on the error queue. Any context.
    pub(crate) fn has_queued_error(&self) -> bool {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_error_queued(self.as_raw()) }
    }
}

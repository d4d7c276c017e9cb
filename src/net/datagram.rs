// SPDX-License-Identifier: GPL-2.0

//! Datagrams: whole messages, each with its sender.
//!
//! C headers: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h); C source:
//! [`net/core/datagram.c`](srctree/net/core/datagram.c)

use super::{
    gfp,
    message::ReceiveMessage,
    skb_queue::{
        Buffer,
        SkBuffQueue, //
    },
    sock::{
        Protocol,
        Sock, //
    },
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::NonNull, //
};
use kernel::{
    alloc::Flags,
    error::to_result,
    iov::IovIterSource,
    prelude::*, //
};

/// What is kept of the sender of a datagram, in the control block of its buffer.
pub(crate) trait Sender: Copy + Send + Sync + 'static {}

impl<S: Copy + Send + Sync + 'static> Sender for S {}

/// A whole message and its sender, in a socket buffer of its own. Dropping it frees it; any
/// context but a hard interrupt.
///
/// # Invariants
///
/// - `skb` is a valid `struct sk_buff` that this value owns: nobody else has a reference to it or
///   to its data.
/// - All of its payload is initialised.
/// - Its control block begins with a valid `S`.
#[repr(transparent)]
pub(crate) struct Datagram<S: Sender> {
    skb: NonNull<bindings::sk_buff>,
    _sender: PhantomData<S>,
}

// SAFETY: A socket buffer can be used and freed by any thread, and `S` is `Send`.
unsafe impl<S: Sender> Send for Datagram<S> {}

// SAFETY: Shared references only read what nobody changes, and `S` is `Sync`.
unsafe impl<S: Sender> Sync for Datagram<S> {}

// SAFETY: A transparent wrapper around the pointer to a buffer that it owns.
unsafe impl<S: Sender> Buffer for Datagram<S> {}

impl<S: Sender> Datagram<S> {
    /// Copies a message of `len` bytes.
    ///
    /// Process context if the source is in user space.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if the length is absurd; `EFAULT` if the source is shorter, or cannot be
    /// read.
    pub(crate) fn copied_from(
        source: &mut IovIterSource<'_>,
        len: usize,
        sender: S,
        flags: Flags,
    ) -> Result<Self> {
        const {
            // Behind this, the control block has a word of the socket layer's.
            assert!(size_of::<S>() <= bindings::SOCK_SKB_CB_OFFSET);
            assert!(offset_of!(bindings::sk_buff, cb) % align_of::<S>() == 0);
            assert!(align_of::<S>() <= align_of::<bindings::sk_buff>());
        }

        // SAFETY: Just an FFI call.
        let skb = unsafe { bindings::rvsock_datagram_alloc(len, gfp::into_raw(flags)) };
        let skb = NonNull::new(skb).ok_or(ENOMEM)?;
        // SAFETY: The buffer is new, and has `len` bytes of payload. The source is valid.
        let filled = to_result(unsafe {
            bindings::rvsock_datagram_fill(skb.as_ptr(), source.as_raw().cast(), len)
        });
        if let Err(error) = filled {
            // SAFETY: The buffer is ours.
            unsafe { bindings::consume_skb(skb.as_ptr()) };
            return Err(error);
        }
        // SAFETY: The buffer is ours, and its control block is large enough and aligned for an
        // `S`, as was checked above.
        unsafe { (&raw mut (*skb.as_ptr()).cb).cast::<S>().write(sender) };
        // INVARIANT: The buffer is new, all of its payload was copied, and the control block was
        // written.
        Ok(Self {
            skb,
            _sender: PhantomData,
        })
    }

    /// How many bytes the message has.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: By the type invariants, `skb` is valid.
        unsafe { self.skb.as_ref() }.len as usize
    }

    /// Who sent it.
    pub(crate) fn sender(&self) -> S {
        // SAFETY: By the type invariants, the control block begins with an `S`; its alignment was
        // checked when it was written.
        unsafe { (&raw const (*self.skb.as_ptr()).cb).cast::<S>().read() }
    }

    /// How much memory it takes, in bytes with all overhead.
    pub(crate) fn memory(&self) -> usize {
        // SAFETY: By the type invariants, `skb` is valid.
        unsafe { bindings::rvsock_datagram_memory(self.skb.as_ptr()) }
    }

    /// Notes what `sock`, which takes the datagram in now, is to tell its reader with it: when it
    /// came (`SO_TIMESTAMP` and its like), and how many others were dropped by then
    /// (`SO_RXQ_OVFL`). Any context.
    pub(crate) fn arrived_at<P: Protocol>(&mut self, sock: &Sock<P>) {
        // SAFETY: By the type invariants, `skb` is valid and nobody else's, and so is `sk`.
        unsafe { bindings::rvsock_datagram_arrived(self.skb.as_ptr(), sock.as_raw()) };
    }

    /// Copies the first `len` bytes, or all if there are fewer, to a reader of `sock`, with the
    /// control messages that it asked for. Gives how many bytes were copied.
    ///
    /// Process context if the destination is in user space.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the reader's memory cannot be written to.
    pub(crate) fn copy_to<P: Protocol>(
        &mut self,
        sock: &Sock<P>,
        message: &mut ReceiveMessage<'_>,
        len: usize,
    ) -> Result<usize> {
        let len = len.min(self.len());
        let dest = message.dest().as_raw();
        // SAFETY: By the type invariants, `skb` is valid, and `len` is within its payload. The
        // destination is valid.
        to_result(unsafe {
            bindings::rvsock_datagram_copy_to(self.skb.as_ptr(), dest.cast(), len)
        })?;
        // SAFETY: The message and `sk` are valid, and so is `skb`, whose time stamp may be written:
        // nobody else has access to it.
        unsafe {
            bindings::rvsock_datagram_put_control(
                self.skb.as_ptr(),
                message.as_raw(),
                sock.as_raw(),
            )
        };
        Ok(len)
    }
}

impl<S: Sender> Drop for Datagram<S> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the buffer is ours.
        unsafe { bindings::consume_skb(self.skb.as_ptr()) };
    }
}

/// A first-in, first-out queue of datagrams, that has no lock of its own and does not allocate.
pub(crate) struct DatagramQueue<S: Sender> {
    buffers: SkBuffQueue<Datagram<S>>,
    len: usize,
}

impl<S: Sender> DatagramQueue<S> {
    /// How many datagrams are queued.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a datagram at the end.
    pub(crate) fn push(&mut self, datagram: Datagram<S>) {
        self.buffers.push_back(datagram);
        self.len += 1;
    }

    /// The first datagram.
    pub(crate) fn front(&self) -> Option<&Datagram<S>> {
        self.buffers.front()
    }

    /// Calls `f` with the first datagram, which stays where it is, if there is one.
    pub(crate) fn with_front<R>(&mut self, f: impl FnOnce(&mut Datagram<S>) -> R) -> Option<R> {
        let mut datagram = self.buffers.pop_front()?;
        let result = f(&mut datagram);
        self.buffers.push_front(datagram);
        Some(result)
    }

    /// Takes the first datagram off.
    pub(crate) fn pop(&mut self) -> Option<Datagram<S>> {
        let datagram = self.buffers.pop_front()?;
        self.len -= 1;
        Some(datagram)
    }

    /// Moves all datagrams of `other` to the end of this queue.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.buffers.append(&mut other.buffers);
        self.len += core::mem::take(&mut other.len);
    }
}

impl<S: Sender> Default for DatagramQueue<S> {
    fn default() -> Self {
        Self {
            buffers: SkBuffQueue::default(),
            len: 0,
        }
    }
}

impl<P: Protocol> Sock<P> {
    /// Counts a datagram that was dropped for want of room (`sk_drops`). Any context.
    pub(crate) fn count_dropped_datagram(&self) {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_count_drop(self.as_raw()) };
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A queue of sockets that does not allocate.

use super::sock::{
    Protocol,
    Sock, //
};
use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};
use kernel::sync::{
    aref::ARef,
    atomic::{
        Atomic,
        Full,
        Release, //
    },
};

/// How many queues a socket can be in at the same time.
pub(super) const PLACES: usize = 2;

/// A socket's place in a [`SockQueue`].
///
/// # Invariants
///
/// `next` is accessed only by the queue that set `queued`, or by whoever is about to give it up.
pub(super) struct Link<P: Protocol> {
    queued: Atomic<bool>,
    next: UnsafeCell<Option<NonNull<Sock<P>>>>,
}

impl<P: Protocol> Link<P> {
    pub(super) const fn new() -> Self {
        Self {
            queued: Atomic::new(false),
            next: UnsafeCell::new(None),
        }
    }
}

/// A first-in, first-out queue of references to sockets: the connections that a listener has
/// ready, for example.
///
/// It links the sockets themselves, so adding to it cannot fail for want of memory, and any
/// context that can have it exclusively can use it. `PLACE`, 0 or 1, is the link of a socket that
/// it uses: a socket is in at most one queue of either place at a time.
///
/// # Invariants
///
/// The sockets from `head` on, linked by `next`, number `len` and end with `tail`. The queue owns
/// a reference to each of them and has set `queued` in each.
pub(crate) struct SockQueue<P: Protocol, const PLACE: usize = 0> {
    head: Option<NonNull<Sock<P>>>,
    tail: Option<NonNull<Sock<P>>>,
    len: usize,
}

// SAFETY: The queue is a number of `ARef<Sock<P>>`, which are `Send`.
unsafe impl<P: Protocol, const PLACE: usize> Send for SockQueue<P, PLACE> {}

impl<P: Protocol, const PLACE: usize> SockQueue<P, PLACE> {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        const { assert!(PLACE < PLACES) };

        // INVARIANT: There are no sockets.
        Self {
            head: None,
            tail: None,
            len: 0,
        }
    }

    /// How many sockets are queued.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether none is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a socket at the end. One that is in a queue already, this or another, is given back.
    pub(crate) fn push(&mut self, sock: ARef<Sock<P>>) -> Result<(), ARef<Sock<P>>> {
        if sock.links[PLACE].queued.xchg(true, Full) {
            return Err(sock);
        }
        // SAFETY: `queued` was just set by this queue, so `next` is its own.
        unsafe { *sock.links[PLACE].next.get() = None };

        // INVARIANT: The reference becomes the queue's, and the socket its new end.
        let sock = ARef::into_raw(sock);
        match self.tail.replace(sock) {
            // SAFETY: By the type invariants, the queue has a reference to `tail`, and `next` of
            // it is the queue's.
            Some(tail) => unsafe { *tail.as_ref().links[PLACE].next.get() = Some(sock) },
            None => self.head = Some(sock),
        }
        self.len += 1;
        Ok(())
    }

    /// Takes the first socket off.
    pub(crate) fn pop(&mut self) -> Option<ARef<Sock<P>>> {
        let sock = self.head?;
        // INVARIANT: The second is the head now; without it, there is no end either.
        //
        // SAFETY: By the type invariants, the queue has a reference to each of its sockets, and
        // `next` of them is the queue's.
        self.head = unsafe { *sock.as_ref().links[PLACE].next.get() };
        if self.head.is_none() {
            self.tail = None;
        }
        self.len -= 1;

        // SAFETY: The queue's reference, which it does not use any more, becomes the caller's.
        let sock = unsafe { ARef::from_raw(sock) };
        sock.links[PLACE].queued.store(false, Release);
        Some(sock)
    }
}

impl<P: Protocol, const PLACE: usize> Default for SockQueue<P, PLACE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Protocol, const PLACE: usize> Drop for SockQueue<P, PLACE> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

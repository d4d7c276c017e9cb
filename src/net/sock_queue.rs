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
        Relaxed,
        Release, //
    },
};

/// How many queues a socket can be in at the same time.
pub(super) const PLACES: usize = 2;

/// The number of the last queue that was given one.
static LAST_QUEUE: Atomic<u64> = Atomic::new(0);

/// What a socket's place says when it is in no queue.
const NO_QUEUE: u64 = 0;

/// A socket's place in a [`SockQueue`].
///
/// # Invariants
///
/// `queue` is the number of the queue that the socket is in by this place, or [`NO_QUEUE`]. A queue
/// alone writes its own number there, and alone takes it away. The other fields are accessed only by
/// the queue whose number is there.
pub(super) struct Link<P: Protocol> {
    queue: Atomic<u64>,
    next: UnsafeCell<Option<NonNull<Sock<P>>>>,
    previous: UnsafeCell<Option<NonNull<Sock<P>>>>,
}

impl<P: Protocol> Link<P> {
    pub(super) const fn new() -> Self {
        Self {
            queue: Atomic::new(NO_QUEUE),
            next: UnsafeCell::new(None),
            previous: UnsafeCell::new(None),
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
/// The sockets from `head` on, linked by `next`, number `len` and end with `tail`; backwards they are
/// linked by `previous`. The queue owns a reference to each of them, and they are all those whose
/// place has its `number`, which no other queue has.
pub(crate) struct SockQueue<P: Protocol, const PLACE: usize = 0> {
    /// [`NO_QUEUE`] as long as it had no socket.
    number: u64,
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
            number: NO_QUEUE,
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
        if self.number == NO_QUEUE {
            // INVARIANT: Nobody else gets that number: there are more than can be counted through.
            self.number = LAST_QUEUE.fetch_add(1, Relaxed).wrapping_add(1);
        }
        let link = &sock.links[PLACE];
        if link.queue.cmpxchg(NO_QUEUE, self.number, Full).is_err() {
            return Err(sock);
        }
        // SAFETY: This queue has just written its number, so the fields are its own.
        unsafe {
            *link.next.get() = None;
            *link.previous.get() = self.tail;
        }

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
        // SAFETY: By the type invariants, the head is in this queue.
        Some(unsafe { self.unlink(sock) })
    }

    /// Whether `sock` is in this queue.
    pub(crate) fn contains(&self, sock: &Sock<P>) -> bool {
        // Another queue may be changing it, but not to or from the number of this one.
        let queue = sock.links[PLACE].queue.load(Relaxed);
        queue != NO_QUEUE && queue == self.number
    }

    /// Takes `sock` off, wherever it stands; `None` if it is not in this queue.
    pub(crate) fn remove(&mut self, sock: &Sock<P>) -> Option<ARef<Sock<P>>> {
        if !self.contains(sock) {
            return None;
        }
        // SAFETY: By the type invariants, a socket whose place has this queue's number is in it.
        Some(unsafe { self.unlink(NonNull::from(sock)) })
    }

    /// Takes a socket off.
    ///
    /// # Safety
    ///
    /// `sock` must be in this queue.
    unsafe fn unlink(&mut self, sock: NonNull<Sock<P>>) -> ARef<Sock<P>> {
        // INVARIANT: Its neighbours are linked to each other; where it has none, the queue begins or
        // ends with the other one.
        //
        // SAFETY: By the requirements and the type invariants, the queue has a reference to the
        // socket and to its neighbours, and the fields of their places are the queue's.
        unsafe {
            let link = &sock.as_ref().links[PLACE];
            let (next, previous) = (*link.next.get(), *link.previous.get());
            match previous {
                Some(previous) => *previous.as_ref().links[PLACE].next.get() = next,
                None => self.head = next,
            }
            match next {
                Some(next) => *next.as_ref().links[PLACE].previous.get() = previous,
                None => self.tail = previous,
            }
        }
        self.len -= 1;

        // SAFETY: The queue's reference, which it does not use any more, becomes the caller's.
        let sock = unsafe { ARef::from_raw(sock) };
        sock.links[PLACE].queue.store(NO_QUEUE, Release);
        sock
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

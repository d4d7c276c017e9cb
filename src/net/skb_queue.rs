// SPDX-License-Identifier: GPL-2.0

//! A queue of socket buffers that has no lock of its own.

use super::skb::{
    SkBuff,
    SkBuffMut, //
};
use crate::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// A kind of owned buffer that can be queued.
///
/// # Safety
///
/// To be implemented by transparent wrappers around a `NonNull<sk_buff>` that own a valid buffer,
/// and do not use its `next`.
pub(crate) unsafe trait Buffer: Send + Sync {}

// SAFETY: It is such a wrapper.
unsafe impl Buffer for SkBuff {}

/// Gives a buffer away; [`from_raw`] takes it back.
fn into_raw<B: Buffer>(buffer: B) -> NonNull<bindings::sk_buff> {
    raw_of::<B>(&ManuallyDrop::new(buffer))
}

/// The `struct sk_buff` of a buffer.
fn raw_of<B: Buffer>(buffer: &B) -> NonNull<bindings::sk_buff> {
    // SAFETY: A `Buffer` is a transparent wrapper around a value of this type.
    unsafe {
        core::ptr::from_ref(buffer)
            .cast::<NonNull<bindings::sk_buff>>()
            .read()
    }
}

/// Takes a buffer over.
///
/// # Safety
///
/// `skb` must come from [`into_raw`] of the same `B`, and must not be used otherwise.
unsafe fn from_raw<B: Buffer>(skb: NonNull<bindings::sk_buff>) -> B {
    // SAFETY: A `Buffer` is a transparent wrapper around a value of this type, and it is the
    // caller's.
    unsafe { (&raw const skb).cast::<B>().read() }
}

/// A first-in, first-out queue of socket buffers.
///
/// The buffers are linked through their `next`, so adding to it cannot fail. Unlike a
/// `struct sk_buff_head` it can be moved; whatever it is part of has the lock.
///
/// # Invariants
///
/// The buffers from `head` on, linked by `next`, are owned by the queue, and end with `tail`, whose
/// `next` is null.
pub(crate) struct SkBuffQueue<B: Buffer = SkBuff> {
    head: Option<B>,
    tail: Option<NonNull<bindings::sk_buff>>,
}

// SAFETY: The queue is a number of `B`, which are `Send`.
unsafe impl<B: Buffer> Send for SkBuffQueue<B> {}

// SAFETY: The queue is a number of `B`, which are `Sync`; shared references change nothing.
unsafe impl<B: Buffer> Sync for SkBuffQueue<B> {}

/// The field that links the buffers of a queue.
///
/// # Safety
///
/// `skb` must be valid.
unsafe fn next(skb: NonNull<bindings::sk_buff>) -> *mut *mut bindings::sk_buff {
    // SAFETY: `skb` is valid by the requirements. `next` is the first field of all the unions it
    // is in.
    unsafe { bindings::rvsock_skb_next(skb.as_ptr()) }
}

impl<B: Buffer> SkBuffQueue<B> {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        // INVARIANT: There are no buffers.
        Self {
            head: None,
            tail: None,
        }
    }

    /// Whether none is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds a buffer at the end.
    pub(crate) fn push_back(&mut self, skb: B) {
        let skb = into_raw(skb);
        // INVARIANT: `skb` is the new end, with nothing behind it.
        //
        // SAFETY: The queue owns `skb`, and `tail` if there is one; `head` takes the former over
        // if it is the only one.
        unsafe {
            *next(skb) = core::ptr::null_mut();
            match self.tail.replace(skb) {
                Some(tail) => *next(tail) = skb.as_ptr(),
                None => self.head = Some(from_raw(skb)),
            }
        }
    }

    /// Adds a buffer at the head.
    pub(crate) fn push_front(&mut self, skb: B) {
        let skb = into_raw(skb);
        // What was the head stays in the queue, behind `skb`.
        let head = self.head.take().map(into_raw);
        let rest = head.map_or(core::ptr::null_mut(), NonNull::as_ptr);
        // INVARIANT: `skb` is the new head; it is the end as well if there was nothing.
        //
        // SAFETY: The queue owns `skb`.
        unsafe {
            *next(skb) = rest;
            self.head = Some(from_raw(skb));
        }
        self.tail.get_or_insert(skb);
    }

    /// Takes the first buffer off.
    pub(crate) fn pop_front(&mut self) -> Option<B> {
        let skb = into_raw(self.head.take()?);
        // INVARIANT: The second is the head now; without it, there is no end either.
        //
        // SAFETY: The queue owns `skb` and what it is linked to.
        unsafe {
            let rest = next(skb).replace(core::ptr::null_mut());
            self.head = NonNull::new(rest).map(|rest| from_raw(rest));
        }
        if self.head.is_none() {
            self.tail = None;
        }
        // SAFETY: The queue does not use it any more.
        Some(unsafe { from_raw(skb) })
    }

    /// The first buffer.
    pub(crate) fn front(&self) -> Option<&B> {
        self.head.as_ref()
    }

    /// Moves all buffers of `other` to the end of this queue.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let Some(head) = other.head.take() else {
            return;
        };
        let tail = other.tail.take();
        // INVARIANT: The buffers of `other` stand behind the end, and end as they did.
        match self.tail {
            // SAFETY: The queue owns its end, and what is linked to it now.
            Some(end) => unsafe { *next(end) = into_raw(head).as_ptr() },
            None => self.head = Some(head),
        }
        self.tail = tail;
    }

    /// The buffers, from the first on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &B> {
        core::iter::successors(self.head.as_ref(), |skb: &&B| {
            // SAFETY: By the type invariants, `next` is null or a buffer of this queue, which is
            // borrowed. A `Buffer` is a transparent wrapper around a pointer that is not null.
            unsafe {
                let link = next(raw_of::<B>(skb));
                (!(*link).is_null()).then(|| &*link.cast::<B>())
            }
        })
    }
}

impl SkBuffQueue {
    /// The last buffer, to be changed in place.
    pub(crate) fn back_mut(&mut self) -> Option<SkBuffMut<'_>> {
        // SAFETY: By the type invariants, the queue owns it, and the queue is borrowed.
        Some(unsafe { SkBuffMut::from_raw(self.tail?) })
    }
}

impl<B: Buffer> Default for SkBuffQueue<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Buffer> Drop for SkBuffQueue<B> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

// SPDX-License-Identifier: GPL-2.0

//! A queue of socket buffers that has no lock of its own.

use super::skb::{
    SkBuff,
    SkBuffMut, //
};
use crate::bindings;
use core::ptr::NonNull;

/// A first-in, first-out queue of socket buffers.
///
/// The buffers are linked through their `next`, so adding to it cannot fail. Unlike a
/// `struct sk_buff_head` it can be moved; whatever it is part of has the lock.
///
/// # Invariants
///
/// The buffers from `head` on, linked by `next`, are owned by the queue, and end with `tail`, whose
/// `next` is null.
pub(crate) struct SkBuffQueue {
    head: Option<SkBuff>,
    tail: Option<NonNull<bindings::sk_buff>>,
}

// SAFETY: The queue is a number of `SkBuff`, which are `Send`.
unsafe impl Send for SkBuffQueue {}

// SAFETY: The queue is a number of `SkBuff`, which are `Sync`; shared references change nothing.
unsafe impl Sync for SkBuffQueue {}

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

impl SkBuffQueue {
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
    pub(crate) fn push_back(&mut self, skb: SkBuff) {
        // SAFETY: The buffer goes to the queue.
        let skb = unsafe { skb.into_raw() };
        // INVARIANT: `skb` is the new end, with nothing behind it.
        //
        // SAFETY: The queue owns `skb`, and `tail` if there is one; `head` takes the former over
        // if it is the only one.
        unsafe {
            *next(skb) = core::ptr::null_mut();
            match self.tail.replace(skb) {
                Some(tail) => *next(tail) = skb.as_ptr(),
                None => self.head = Some(SkBuff::from_raw(skb)),
            }
        }
    }

    /// Adds a buffer at the head.
    pub(crate) fn push_front(&mut self, skb: SkBuff) {
        // SAFETY: The buffer goes to the queue.
        let skb = unsafe { skb.into_raw() };
        let rest = self.head.take().map_or(core::ptr::null_mut(), |head| {
            // SAFETY: The buffer stays in the queue, behind `skb`.
            unsafe { head.into_raw() }.as_ptr()
        });
        // INVARIANT: `skb` is the new head; it is the end as well if there was nothing.
        //
        // SAFETY: The queue owns `skb`.
        unsafe {
            *next(skb) = rest;
            self.head = Some(SkBuff::from_raw(skb));
        }
        self.tail.get_or_insert(skb);
    }

    /// Takes the first buffer off.
    pub(crate) fn pop_front(&mut self) -> Option<SkBuff> {
        // SAFETY: The buffer leaves the queue as a `SkBuff` again.
        let skb = unsafe { self.head.take()?.into_raw() };
        // INVARIANT: The second is the head now; without it, there is no end either.
        //
        // SAFETY: The queue owns `skb` and what it is linked to.
        unsafe {
            let rest = next(skb).replace(core::ptr::null_mut());
            self.head = NonNull::new(rest).map(|rest| SkBuff::from_raw(rest));
        }
        if self.head.is_none() {
            self.tail = None;
        }
        // SAFETY: The queue does not use it any more.
        Some(unsafe { SkBuff::from_raw(skb) })
    }

    /// The first buffer.
    pub(crate) fn front(&self) -> Option<&SkBuff> {
        self.head.as_ref()
    }

    /// The last buffer, to be changed in place.
    pub(crate) fn back_mut(&mut self) -> Option<SkBuffMut<'_>> {
        // SAFETY: By the type invariants, the queue owns it, and the queue is borrowed.
        Some(unsafe { SkBuffMut::from_raw(self.tail?) })
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
            Some(end) => unsafe { *next(end) = head.into_raw().as_ptr() },
            None => self.head = Some(head),
        }
        self.tail = tail;
    }

    /// The buffers, from the first on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &SkBuff> {
        core::iter::successors(self.head.as_ref(), |skb| {
            // SAFETY: By the type invariants, `next` is null or a buffer of this queue, which is
            // borrowed. `SkBuff` is a transparent wrapper around a pointer that is not null.
            unsafe {
                let link = next(skb.as_raw());
                (!(*link).is_null()).then(|| &*link.cast::<SkBuff>())
            }
        })
    }
}

impl Default for SkBuffQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SkBuffQueue {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}

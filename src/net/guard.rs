// SPDX-License-Identifier: GPL-2.0

//! The two ways to hold a socket's lock.
//!
//! A task owns a socket (`lock_sock()`), may sleep meanwhile, and has its state. A bottom half
//! holds the spinlock below that lock; it has the state if no task owns the socket, else the
//! backlog, whose contents the owner takes over when it lets go.
//!
//! C source: [`net/core/sock.c`](srctree/net/core/sock.c)

use super::sock::{
    Holder,
    Protocol,
    Sock, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
};
use kernel::{
    sync::atomic::Relaxed,
    types::{
        NotThreadSafe,
        ScopeGuard, //
    },
};

/// A task's ownership of a socket. Gives access to its state.
///
/// Dropping it runs [`Protocol::drain`], gives the socket up (`release_sock()`), and then runs
/// [`Protocol::deliver`] if there is something to deliver.
///
/// # Invariants
///
/// The socket is owned by the task that has this value.
#[must_use = "the socket is given up at once if the guard is unused"]
pub(crate) struct Owned<'a, P: Protocol> {
    sock: &'a Sock<P>,
    _not_send: NotThreadSafe,
}

impl<'a, P: Protocol> Owned<'a, P> {
    pub(super) fn new(sock: &'a Sock<P>) -> Self {
        // SAFETY: By the type invariants of `Sock`, `sk` is valid.
        unsafe { bindings::lock_sock_nested(sock.as_raw(), 0) };
        // INVARIANT: The socket was just locked.
        let mut this = Self {
            sock,
            _not_send: NotThreadSafe,
        };
        this.mark(Holder::Guard);
        this
    }

    /// Notes that the owner is a guard, which delivers what is pending when it gives the socket up.
    /// Generic code that owns a socket does not.
    fn mark(&mut self, holder: Holder) {
        // SAFETY: By the type invariants, this task owns the socket, and with it the mark.
        unsafe { *self.sock.holder.get() = holder };
    }

    /// The socket that is owned.
    pub(crate) fn sock(&self) -> &'a Sock<P> {
        self.sock
    }

    /// The state, and the proof that the socket's spinlock is free.
    ///
    /// For what takes the spinlock of another socket: two are never held together.
    pub(crate) fn split(&mut self) -> (&mut P::State, SpinlockFree<'_>) {
        (&mut *self, SpinlockFree(PhantomData))
    }

    /// Gives the socket up, calls `f`, and takes the socket again. The state may be another one
    /// after that.
    pub(crate) fn unlocked<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let sk = self.sock.as_raw();

        // SAFETY: By the type invariants, this task owns the socket; nothing borrows the state,
        // since `self` is borrowed mutably.
        unsafe { bindings::release_sock(sk) };
        let sock = self.sock;
        let _relock = ScopeGuard::new(|| {
            // SAFETY: `sk` is valid for `'a`. This restores the type invariant.
            unsafe { bindings::lock_sock_nested(sk, 0) };
            self.mark(Holder::Guard);
        });
        after_release(sock);
        f()
    }

    /// Runs [`Protocol::drain`] now, without giving the socket up (`__sk_flush_backlog()`).
    ///
    /// For a long operation that wants to see what arrived meanwhile. What arrives at this moment may be
    /// drained by the next one, or when the socket is given up.
    pub(crate) fn flush_backlog(&mut self) {
        if !self.sock.deferred.load(Relaxed) {
            return;
        }
        self.mark(Holder::Flushing);
        // SAFETY: By the type invariants, this task owns the socket; nothing borrows the state,
        // since `self` is borrowed mutably. The function takes the spinlock and calls
        // `release_cb`.
        unsafe { bindings::__sk_flush_backlog(self.sock.as_raw()) };
        self.mark(Holder::Guard);
    }
}

impl<P: Protocol> Deref for Owned<'_, P> {
    type Target = P::State;

    #[inline]
    fn deref(&self) -> &P::State {
        // SAFETY: By the type invariants, this task owns the socket, and with it the state.
        unsafe { &*self.sock.state.get() }
    }
}

impl<P: Protocol> DerefMut for Owned<'_, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut P::State {
        // SAFETY: By the type invariants, this task owns the socket, and with it the state.
        unsafe { &mut *self.sock.state.get() }
    }
}

impl<P: Protocol> Drop for Owned<'_, P> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this task owns the socket; nothing borrows the state any
        // more.
        unsafe { bindings::release_sock(self.sock.as_raw()) };
        after_release(self.sock);
    }
}

/// Tells that whoever owns a socket does not hold its spinlock: it has an [`Owned`], and is not in
/// [`Protocol::drain`]. What takes the spinlock of another socket asks for it.
#[derive(Clone, Copy)]
pub(crate) struct SpinlockFree<'a>(PhantomData<&'a ()>);

/// A guard has given up what it held of `sock`.
#[inline]
fn after_release<P: Protocol>(sock: &Sock<P>) {
    if P::has_pending(sock) {
        P::deliver(sock);
    }
}

/// Delivers, when it is dropped, what is pending.
struct AfterRelease<'a, P: Protocol>(&'a Sock<P>);

impl<P: Protocol> Drop for AfterRelease<'_, P> {
    #[inline]
    fn drop(&mut self) {
        after_release(self.0);
    }
}

/// A socket whose spinlock is held. What it gives depends on whether a task owns the socket.
#[must_use = "the socket is unlocked at once if the guard is unused"]
pub(crate) enum Bh<'a, P: Protocol> {
    /// No task owns the socket: its state can be changed here and now.
    Free(Free<'a, P>),
    /// A task owns the socket: what is to be done has to be left in the backlog.
    Busy(Busy<'a, P>),
}

impl<'a, P: Protocol> Bh<'a, P> {
    pub(super) fn new(sock: &'a Sock<P>) -> Self {
        let slock = Slock::new(sock);

        // SAFETY: By the type invariants of `Sock`, `sk` is valid; the spinlock is held.
        if unsafe { bindings::rvsock_sock_owned_by_user(sock.as_raw()) } {
            sock.deferred.store(true, Relaxed);
            // INVARIANT: The spinlock is held.
            Self::Busy(Busy(slock))
        } else {
            // INVARIANT: The spinlock is held and the socket is not owned; a task needs the
            // spinlock to become its owner.
            Self::Free(Free {
                slock,
                _after: AfterRelease(sock),
            })
        }
    }
}

/// A held spinlock of a socket.
///
/// # Invariants
///
/// The spinlock of `sock` is held, with bottom halves off, by whoever has this value.
struct Slock<'a, P: Protocol> {
    sock: &'a Sock<P>,
    _not_send: NotThreadSafe,
}

impl<'a, P: Protocol> Slock<'a, P> {
    #[inline]
    fn new(sock: &'a Sock<P>) -> Self {
        // SAFETY: By the type invariants of `Sock`, `sk` is valid.
        unsafe { bindings::rvsock_sock_slock_bh(sock.as_raw()) };
        // INVARIANT: The spinlock was just taken.
        Self {
            sock,
            _not_send: NotThreadSafe,
        }
    }
}

impl<P: Protocol> Drop for Slock<'_, P> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the spinlock is held.
        unsafe { bindings::rvsock_sock_sunlock_bh(self.sock.as_raw()) };
    }
}

/// The state of a socket that no task owns.
///
/// When it is dropped, and the spinlock with it, [`Protocol::deliver`] runs if there is something
/// to deliver.
///
/// # Invariants
///
/// The spinlock is held, and the socket was not owned when it was taken.
pub(crate) struct Free<'a, P: Protocol> {
    slock: Slock<'a, P>,
    // Dropped after the spinlock.
    _after: AfterRelease<'a, P>,
}

impl<P: Protocol> Deref for Free<'_, P> {
    type Target = P::State;

    #[inline]
    fn deref(&self) -> &P::State {
        // SAFETY: By the type invariants, no task owns the socket and none can become its owner
        // while the spinlock is held, so the state belongs to the holder of the spinlock.
        unsafe { &*self.slock.sock.state.get() }
    }
}

impl<P: Protocol> DerefMut for Free<'_, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut P::State {
        // SAFETY: As in `deref`.
        unsafe { &mut *self.slock.sock.state.get() }
    }
}

/// The backlog of a socket that a task owns.
///
/// # Invariants
///
/// The spinlock is held.
pub(crate) struct Busy<'a, P: Protocol>(Slock<'a, P>);

impl<P: Protocol> Deref for Busy<'_, P> {
    type Target = P::Backlog;

    #[inline]
    fn deref(&self) -> &P::Backlog {
        // SAFETY: By the type invariants, the spinlock is held, and with it the backlog.
        unsafe { &*self.0.sock.backlog.get() }
    }
}

impl<P: Protocol> DerefMut for Busy<'_, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut P::Backlog {
        // SAFETY: As in `deref`.
        unsafe { &mut *self.0.sock.backlog.get() }
    }
}

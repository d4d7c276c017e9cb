// SPDX-License-Identifier: GPL-2.0

//! Sleeping until a stated need is met.
//!
//! An ordinary wait queue wakes its sleepers whenever something happens, and each finds out for
//! itself whether that was enough. Here each sleeper says how much it needs, and is woken when that
//! is there: one wake-up for one satisfied request. Sleepers are served one after the other, in the
//! order in which they came: the second is woken when the first has taken what it needs and left.
//!
//! C source: [`kernel/sched/wait.c`](srctree/kernel/sched/wait.c); C header:
//! [`include/linux/wait.h`](srctree/include/linux/wait.h)

use super::{
    guard::Owned,
    sock::Protocol,
    timeout::Timeout, //
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ptr::addr_of_mut, //
};
use kernel::{
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        LockClassKey, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use pin_init::stack_pin_init;

/// What the sleepers of a [`NeedQueue`] wait for.
///
/// It is read with interrupts off and under a spinlock that is not to be named: implementations
/// read atomics, and take no locks.
pub(crate) trait Supply: Send + Sync {
    /// How much is there.
    fn available(&self) -> usize;

    /// Whether no more will come, or something happened that everyone has to know: all sleepers
    /// are to wake, whatever they need.
    fn ended(&self) -> bool;
}

/// A queue of sleepers, each with a need.
///
/// # Invariants
///
/// The entries of the wait queue are those of [`Turn`]s whose `queue` this is.
#[pin_data]
pub(crate) struct NeedQueue<S: Supply> {
    supply: S,
    /// How often sleepers were told to think again.
    round: Atomic<u32>,
    #[pin]
    head: Opaque<bindings::wait_queue_head_t>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `S` is `Send`, and a wait queue can be used from any thread.
unsafe impl<S: Supply> Send for NeedQueue<S> {}

// SAFETY: `S` is `Sync`, and a wait queue is protected by its own spinlock.
unsafe impl<S: Supply> Sync for NeedQueue<S> {}

impl<S: Supply> NeedQueue<S> {
    /// A queue without sleepers.
    pub(crate) fn new(
        supply: S,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            supply,
            round: Atomic::new(0),
            // SAFETY: `slot` is valid while the closure is called, and both `name` and `key` live
            // for ever.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    /// What the sleepers wait for. After a change, call [`NeedQueue::wake`].
    #[inline]
    pub(crate) fn supply(&self) -> &S {
        &self.supply
    }

    /// Wakes the first sleeper if its need is met; all of them when the supply has ended.
    ///
    /// Any context.
    pub(crate) fn wake(&self) {
        self.walk(false);
    }

    /// Walks along the sleepers, if there are any: past the first only with `to_the_end`, or when
    /// the supply has ended.
    fn walk(&self, to_the_end: bool) {
        if self.has_sleepers() {
            let mut walk = Walk {
                queue: self,
                first: true,
                to_the_end,
            };
            // SAFETY: The queue is initialised. By the type invariants, all its entries are those
            // of turns of this queue, whose wake function takes a `Walk<S>`; it is not used after
            // the call.
            unsafe {
                bindings::__wake_up(
                    self.head.get(),
                    bindings::TASK_INTERRUPTIBLE,
                    0,
                    (&raw mut walk).cast(),
                )
            };
        }
    }

    /// Wakes all sleepers, whatever they need: something changed by which they measure it. Each
    /// finds its turn ready until it has called [`Turn::set_need`] again.
    ///
    /// Any context. Where sleepers measure under a lock, such as their socket's, the change has to
    /// be made under it as well: one who has measured and not yet said so would not notice.
    pub(crate) fn reconsider(&self) {
        self.round.fetch_add(1, Relaxed);
        self.walk(true);
    }

    /// Whether anyone sleeps, or is on the way from sleep. Whoever comes now stands behind them.
    ///
    /// Any context. Ordered after all changes of the supply that the caller made, by a full barrier
    /// (in `wq_has_sleeper()`). The sleeper's is in `rvsock_add_wait_queue_tail()`, by which it
    /// enters the queue before it looks at the supply. So either this sees a sleeper, or the sleeper
    /// sees the change.
    pub(crate) fn has_sleepers(&self) -> bool {
        // SAFETY: The queue is initialised.
        unsafe { bindings::rvsock_wq_has_sleeper(self.head.get()) }
    }

    /// Calls `f` with a turn at the end of the queue, which needs `need`. The turn is given up
    /// when `f` returns, and what it did not take is there for those behind it.
    ///
    /// One turn at a time for a task: a second one on the same queue would stand behind the first,
    /// and wait for its own task to go on.
    ///
    /// Process context.
    pub(crate) fn with_turn<R>(&self, need: usize, f: impl FnOnce(&Turn<'_, S>) -> R) -> R {
        stack_pin_init!(let turn = Turn::new(self, need));
        f(&turn)
    }
}

/// One walk along the sleepers.
struct Walk<'a, S: Supply> {
    queue: &'a NeedQueue<S>,
    /// Whether the next sleeper is the first.
    first: bool,
    /// Whether to go on behind the first.
    to_the_end: bool,
}

/// What a sleeper needs.
#[derive(Clone, Copy)]
struct Need {
    amount: usize,
    /// The round in which it was thought out.
    round: u32,
}

/// A place in a [`NeedQueue`].
///
/// It stays while the task sleeps, wakes up, and takes what it needs, so that nobody who came
/// later takes that first.
///
/// # Invariants
///
/// - `entry` is in the wait queue of `queue` from the end of `new` until it is dropped, and
///   belongs to the task that made it.
/// - `need` is accessed only under the spinlock of that wait queue.
#[pin_data(PinnedDrop)]
pub(crate) struct Turn<'q, S: Supply> {
    #[pin]
    entry: Opaque<bindings::wait_queue_entry_t>,
    need: UnsafeCell<Need>,
    queue: &'q NeedQueue<S>,
    #[pin]
    _pin: PhantomPinned,
    // `wait_woken()` has to be called by the task that the entry was made for.
    _not_send: NotThreadSafe,
}

/// How a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The need is met, or the supply has ended.
    Ready,
    /// A signal is pending.
    Signal,
    /// The time is up.
    TimedOut,
}

impl<'q, S: Supply> Turn<'q, S> {
    fn new(queue: &'q NeedQueue<S>, need: usize) -> impl PinInit<Self> {
        pin_init!(&this in Self {
            // SAFETY: `slot` is valid while the closure is called.
            entry <- Opaque::ffi_init(|slot| unsafe {
                bindings::rvsock_init_wait_entry(slot, Some(wake_up::<S>))
            }),
            need: UnsafeCell::new(queue.now(need)),
            queue,
            _pin: PhantomPinned,
            _not_send: NotThreadSafe,
            _: {
                // SAFETY: The queue and the entry are initialised, and so are all other fields
                // that the wake function reads. The entry is pinned, and `drop` takes it out.
                unsafe {
                    bindings::rvsock_add_wait_queue_tail(
                        queue.head.get(),
                        Opaque::cast_into(addr_of_mut!((*this.as_ptr()).entry)),
                    )
                };
            },
        })
    }

    /// Whether this turn is the first and its need is met, or the supply has ended.
    pub(crate) fn ready(&self) -> bool {
        let head = self.queue.head.get();
        self.queue.locked(|| {
            // SAFETY: The queue's spinlock is held, so that its list is consistent; the entry is
            // in it by the type invariants. Only this task changes its need.
            let (first, need) = unsafe {
                let own = &raw mut (*self.entry.get()).entry;
                ((*head).head.next == own, *self.need.get())
            };
            self.queue.is_due(first, need)
        })
    }

    /// Changes what this turn needs. Whom that lets through is woken.
    pub(crate) fn set_need(&self, need: usize) {
        self.queue.locked(|| {
            // SAFETY: The queue's spinlock is held, and only this task changes its need.
            unsafe { *self.need.get() = self.queue.now(need) };
        });
        self.queue.wake();
    }

    /// Sleeps until the need is met, the supply has ended, a signal is pending, or the time is up;
    /// looked at in that order.
    ///
    /// The socket is given up meanwhile, at which moment its backlog is drained, and owned again
    /// on return. Nothing that comes in between is missed, since the turn is in the queue already.
    /// Does not sleep if there is a reason not to.
    pub(crate) fn sleep<P: Protocol>(
        &self,
        guard: &mut Owned<'_, P>,
        timeout: &mut Timeout,
    ) -> Woken {
        self.sleep_at_most(guard, timeout, Timeout::NONE)
    }

    /// As [`Turn::sleep`], and also ends with [`Woken::TimedOut`] after `limit`, which is taken off
    /// `timeout`.
    pub(crate) fn sleep_at_most<P: Protocol>(
        &self,
        guard: &mut Owned<'_, P>,
        timeout: &mut Timeout,
        limit: Timeout,
    ) -> Woken {
        let mut limit = limit;
        loop {
            let woken = guard.unlocked(|| self.sleep_unlocked(timeout, &mut limit));
            // Someone who did not queue may have been quicker with the lock.
            if woken != Woken::Ready || self.ready() {
                return woken;
            }
        }
    }

    fn sleep_unlocked(&self, timeout: &mut Timeout, limit: &mut Timeout) -> Woken {
        loop {
            if self.ready() {
                return Woken::Ready;
            }
            if kernel::current!().signal_pending() {
                return Woken::Signal;
            }
            let sleep = timeout.min(*limit);
            if sleep.is_zero() {
                return Woken::TimedOut;
            }
            // SAFETY: By the type invariants, the entry is in a queue and belongs to this task,
            // since a turn does not leave the thread that made it.
            let left = unsafe {
                bindings::wait_woken(
                    self.entry.get(),
                    bindings::TASK_INTERRUPTIBLE,
                    sleep.into_raw(),
                )
            };
            let left = Timeout::from_raw(left);
            timeout.spend(sleep, left);
            limit.spend(sleep, left);
        }
    }
}

#[pinned_drop]
impl<S: Supply> PinnedDrop for Turn<'_, S> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants, the entry is in this queue. Afterwards no wake function
        // runs on it: those run under the spinlock that this takes.
        unsafe { bindings::remove_wait_queue(self.queue.head.get(), self.entry.get()) };
        // What was claimed is there for others now.
        self.queue.wake();
    }
}

impl<S: Supply> NeedQueue<S> {
    /// A need that was thought out now.
    fn now(&self, amount: usize) -> Need {
        Need {
            amount,
            round: self.round.load(Relaxed),
        }
    }

    /// Whether a sleeper with this need is to be woken.
    fn is_due(&self, first: bool, need: Need) -> bool {
        self.supply.ended()
            || need.round != self.round.load(Relaxed)
            || (first && self.supply.available() >= need.amount)
    }

    /// Calls `f` under the queue's spinlock, with interrupts off.
    fn locked<R>(&self, f: impl FnOnce() -> R) -> R {
        let head = self.head.get();
        // SAFETY: The queue is initialised.
        let flags = unsafe { bindings::rvsock_wait_queue_lock(head) };
        let result = f();
        // SAFETY: The spinlock was taken above.
        unsafe { bindings::rvsock_wait_queue_unlock(head, flags) };
        result
    }

    /// The turn that an entry of the queue is part of.
    ///
    /// # Safety
    ///
    /// `entry` must be that of a [`Turn`] of a queue of this type.
    unsafe fn turn_of<'q>(entry: *mut bindings::wait_queue_entry_t) -> *const Turn<'q, S>
    where
        S: 'q,
    {
        let entry: *mut Opaque<bindings::wait_queue_entry_t> = entry.cast();
        // SAFETY: By the requirements, so that both pointers are into one object.
        unsafe { kernel::container_of!(entry, Turn<'q, S>, entry) }
    }
}

/// The wake function of a turn: called for each entry from the head on, under the queue's spinlock.
///
/// Returns a negative number to end the walk.
///
/// # Safety
///
/// `entry` must be that of a turn of a `NeedQueue<S>`, and `key` the `Walk<S>` of this walk.
unsafe extern "C" fn wake_up<S: Supply>(
    entry: *mut bindings::wait_queue_entry_t,
    mode: c_uint,
    flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: By the requirements; the walk is not accessed elsewhere during the call.
    let walk = unsafe { &mut *key.cast::<Walk<'_, S>>() };
    // SAFETY: By the requirements.
    let turn = unsafe { NeedQueue::<S>::turn_of(entry) };
    // SAFETY: The queue's spinlock is held, and a turn in the queue is valid.
    let need = unsafe { *UnsafeCell::raw_get(&raw const (*turn).need) };

    if walk.queue.is_due(walk.first, need) {
        // SAFETY: The entry was made for a task that waits with `wait_woken()`.
        unsafe { bindings::woken_wake_function(entry, mode, flags, core::ptr::null_mut()) };
    }
    walk.first = false;
    if walk.to_the_end || walk.queue.supply.ended() {
        0
    } else {
        -1
    }
}

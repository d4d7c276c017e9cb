// SPDX-License-Identifier: GPL-2.0

//! Sleeping until a stated need is met.
//!
//! An ordinary wait queue wakes its sleepers whenever something happens, and each finds out for
//! itself whether that was enough. Here each sleeper says how much it needs, and is woken when that
//! is there: one wake-up for one satisfied request. Sleepers are served one after the other, in the
//! order in which they came: the second is woken when the first has taken what it needs and left.
//!
//! Whoever wakes a sleeper leaves the reason with it, and each wake-up is told to the queue's
//! [`Supply`] with that reason when the sleeper runs again ([`Supply::woke`]).
//!
//! C source: [`kernel/sched/wait.c`](srctree/kernel/sched/wait.c); C header:
//! [`include/linux/wait.h`](srctree/include/linux/wait.h)

use super::{
    guard::Owned,
    sock::{
        Protocol,
        Sock, //
    },
    task,
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
/// But for [`Supply::woke`], it is called with interrupts off and under a spinlock that is not to
/// be named: implementations read atomics, and take no locks.
pub(crate) trait Supply: Send + Sync {
    /// Whose sockets' calls sleep here.
    type Protocol: Protocol;

    /// What a sleeper asks for.
    type Need: Copy + Send;

    /// Why a sleeper was woken.
    type Reason: Copy + Send;

    /// Why the first sleeper is to wake, if there is enough for it.
    fn met(&self, need: &Self::Need) -> Option<Self::Reason>;

    /// Why all sleepers are to wake, whatever they need: no more will come, or something happened
    /// that everyone has to know.
    fn ended(&self) -> Option<Self::Reason>;

    /// A call that slept for `need` runs again, and owns its socket. Told once for each time that
    /// the kernel took the task off the processor here. Process context.
    fn woke(
        &self,
        sock: &Sock<Self::Protocol>,
        state: &<Self::Protocol as Protocol>::State,
        need: &Self::Need,
        by: WokenBy<Self::Reason>,
    );
}

/// Who woke a sleeper.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WokenBy<R> {
    /// The supply, for this reason.
    Supply(R),
    /// A signal, or what the kernel delivers as one does.
    Signal,
    /// The time is up.
    Timeout,
}

/// A queue of sleepers, each with a need.
///
/// # Invariants
///
/// The entries of the wait queue are those of [`Turn`]s whose `queue` this is.
#[pin_data]
pub(crate) struct NeedQueue<S: Supply> {
    supply: S,
    /// Whether to wake the first sleeper when the socket is given up.
    due: Atomic<bool>,
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
            due: Atomic::new(false),
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
        self.walk(None);
    }

    /// As [`NeedQueue::wake`], when the task that owns the socket gives it up: whoever was woken
    /// before would only sleep again, for the lock. At once if no task owns it.
    ///
    /// With the socket's lock held, in any of its forms.
    pub(crate) fn wake_when_free(&self, sock: &Sock<S::Protocol>) {
        if sock.is_owned() {
            self.due.store(true, Relaxed);
        } else {
            self.wake();
        }
    }

    /// The task that owns the socket gives it up: wakes whom [`NeedQueue::wake_when_free`] was to
    /// wake. For [`Protocol::released`].
    pub(crate) fn wake_due(&self) {
        if self.due.load(Relaxed) {
            self.due.store(false, Relaxed);
            self.wake();
        }
    }

    /// Changes what the sleepers need, in place. Wakes nobody.
    ///
    /// Any context. Where sleepers make up their need under a lock, such as their socket's, this
    /// has to be called under it as well: one who has made it up and not yet said so would not be
    /// reached.
    pub(crate) fn revise(&self, change: &Change<'_, S::Need>) {
        self.walk(Some(change));
    }

    /// Walks along the sleepers, if there are any: to change what each needs, or to wake the first
    /// or, when the supply has ended, all.
    fn walk(&self, change: Option<&Change<'_, S::Need>>) {
        if self.has_sleepers() {
            let mut walk = Walk {
                queue: self,
                first: true,
                change,
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
    /// when `f` returns, and what it did not take is there for those behind it: the next one is
    /// woken when the caller gives up the socket, which it has to own now and when `f` returns.
    ///
    /// One turn at a time for a task: a second one on the same queue would stand behind the first,
    /// and wait for its own task to go on.
    ///
    /// Process context.
    pub(crate) fn with_turn<R>(
        &self,
        need: impl Into<S::Need>,
        f: impl FnOnce(&Turn<'_, S>) -> R,
    ) -> R {
        stack_pin_init!(let turn = Turn::new(self, need.into()));
        f(&turn)
    }
}

/// What is to become of a need.
type Change<'a, N> = dyn Fn(&mut N) + 'a;

/// One walk along the sleepers.
struct Walk<'a, S: Supply> {
    queue: &'a NeedQueue<S>,
    /// Whether the next sleeper is the first.
    first: bool,
    /// What becomes of what they need. Nobody is woken then.
    change: Option<&'a Change<'a, S::Need>>,
}

/// What the queue knows of a sleeper.
struct Claim<S: Supply> {
    need: S::Need,
    /// Why it was woken, if it was since it slept last.
    woken: Option<S::Reason>,
}

/// By whom a sleeper was woken, and what it needed.
type Slept<S> = (WokenBy<<S as Supply>::Reason>, <S as Supply>::Need);

/// A place in a [`NeedQueue`].
///
/// It stays while the task sleeps, wakes up, and takes what it needs, so that nobody who came
/// later takes that first.
///
/// # Invariants
///
/// - `entry` is in the wait queue of `queue` from the end of `new` until it is dropped, and
///   belongs to the task that made it.
/// - `claim` is accessed only under the spinlock of that wait queue.
#[pin_data(PinnedDrop)]
pub(crate) struct Turn<'q, S: Supply> {
    #[pin]
    entry: Opaque<bindings::wait_queue_entry_t>,
    claim: UnsafeCell<Claim<S>>,
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
    fn new(queue: &'q NeedQueue<S>, need: S::Need) -> impl PinInit<Self> {
        pin_init!(&this in Self {
            // SAFETY: `slot` is valid while the closure is called.
            entry <- Opaque::ffi_init(|slot| unsafe {
                bindings::rvsock_init_wait_entry(slot, Some(wake_up::<S>))
            }),
            claim: UnsafeCell::new(Claim { need, woken: None }),
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

    /// Calls `f` with the claim, and with whether this turn is the first.
    fn with_claim<R>(&self, f: impl FnOnce(&mut Claim<S>, bool) -> R) -> R {
        let head = self.queue.head.get();
        self.queue.locked(|| {
            // SAFETY: The queue's spinlock is held, so that its list is consistent; the entry is
            // in it by the type invariants.
            let first = unsafe { (*head).head.next == &raw mut (*self.entry.get()).entry };
            // SAFETY: By the type invariants, whoever holds the spinlock has the claim to itself.
            f(unsafe { &mut *self.claim.get() }, first)
        })
    }

    /// Whether this turn is the first and its need is met, or the supply has ended.
    pub(crate) fn ready(&self) -> bool {
        self.look().0
    }

    /// [`Turn::ready`], and what this turn needs: what was said last, or what [`NeedQueue::revise`] made of
    /// it.
    pub(crate) fn look(&self) -> (bool, S::Need) {
        self.with_claim(|claim, first| {
            let due = self.queue.due(first, &claim.need).is_some();
            (due, claim.need)
        })
    }

    /// Changes what this turn needs.
    pub(crate) fn set_need(&self, need: impl Into<S::Need>) {
        let need = need.into();
        self.with_claim(|claim, _| claim.need = need);
    }

    /// Sleeps until the need is met, the supply has ended, a signal is pending, or the time is up;
    /// looked at in that order.
    ///
    /// The socket is given up meanwhile, at which moment its backlog is drained, and owned again
    /// on return. Nothing that comes in between is missed, since the turn is in the queue already.
    /// Does not sleep if there is a reason not to.
    pub(crate) fn sleep(&self, guard: &mut Owned<'_, S::Protocol>, timeout: &mut Timeout) -> Woken {
        loop {
            let (woken, slept) = guard.unlocked(|| self.sleep_once(timeout));
            if let Some((by, need)) = slept {
                let sock = guard.sock();
                self.queue.supply.woke(sock, guard, &need, by);
            }
            match woken {
                // Someone who did not queue may have been quicker with the lock.
                Some(Woken::Ready) if !self.ready() => {}
                Some(woken) => return woken,
                None => {}
            }
        }
    }

    /// Sleeps once, if there is no reason not to. Returns how the sleep is to end, if it is, and
    /// by whom the task was woken, and with which need, if it was taken off the processor.
    fn sleep_once(&self, timeout: &mut Timeout) -> (Option<Woken>, Option<Slept<S>>) {
        // What has come since the turn entered the queue has woken it, and then it does not sleep. So
        // only what wakes nobody is looked at.
        if timeout.is_zero() || kernel::current!().signal_pending() {
            return (self.over(*timeout), None);
        }
        let before = task::voluntary_switches();
        // SAFETY: By the type invariants, the entry is in a queue and belongs to this task, since
        // a turn does not leave the thread that made it.
        let left = unsafe {
            bindings::wait_woken(
                self.entry.get(),
                bindings::TASK_INTERRUPTIBLE,
                timeout.into_raw(),
            )
        };
        *timeout = Timeout::from_raw(left);
        let (woken, need) = self.with_claim(|claim, _| (claim.woken.take(), claim.need));
        if task::voluntary_switches() == before {
            // It was woken before it slept.
            return (self.over(*timeout), None);
        }
        let by = match woken {
            Some(reason) => WokenBy::Supply(reason),
            None if timeout.is_zero() && !kernel::current!().signal_pending() => WokenBy::Timeout,
            None => WokenBy::Signal,
        };
        let over = match by {
            // Whether that is so still is found out with the socket owned.
            WokenBy::Supply(_) => Some(Woken::Ready),
            WokenBy::Signal | WokenBy::Timeout => self.over(*timeout),
        };
        (over, Some((by, need)))
    }

    /// How a sleep is to end, if there is no reason to sleep.
    fn over(&self, timeout: Timeout) -> Option<Woken> {
        if self.ready() {
            Some(Woken::Ready)
        } else if kernel::current!().signal_pending() {
            Some(Woken::Signal)
        } else if timeout.is_zero() {
            Some(Woken::TimedOut)
        } else {
            None
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
        self.queue.due.store(true, Relaxed);
    }
}

impl<S: Supply> NeedQueue<S> {
    /// Why a sleeper with this need is to be woken, if it is.
    fn due(&self, first: bool, need: &S::Need) -> Option<S::Reason> {
        self.supply
            .ended()
            .or_else(|| if first { self.supply.met(need) } else { None })
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
    // SAFETY: The queue's spinlock is held, with which the claim of a turn in the queue, which is
    // valid, belongs to the caller.
    let claim = unsafe { &mut *UnsafeCell::raw_get(&raw const (*turn).claim) };

    if let Some(change) = walk.change {
        change(&mut claim.need);
        return 0;
    }
    if let Some(reason) = walk.queue.due(walk.first, &claim.need) {
        claim.woken = Some(reason);
        // SAFETY: The entry was made for a task that waits with `wait_woken()`.
        unsafe { bindings::woken_wake_function(entry, mode, flags, core::ptr::null_mut()) };
    }
    walk.first = false;
    if walk.queue.supply.ended().is_some() {
        0
    } else {
        -1
    }
}

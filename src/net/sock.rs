// SPDX-License-Identifier: GPL-2.0

//! The socket object: a `struct sock` with Rust data behind it.
//!
//! C headers: [`include/net/sock.h`](srctree/include/net/sock.h); C source:
//! [`net/core/sock.c`](srctree/net/core/sock.c)

use super::{
    guard::{
        Bh,
        Owned, //
    },
    series::initialise,
    sock_list::{
        Place,
        SockList, //
    },
    sock_queue::{
        Link,
        PLACES, //
    },
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ptr::{
        addr_of_mut,
        NonNull, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        aref::AlwaysRefCounted,
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// What a socket of a family consists of beside its `struct sock`, and what happens when its lock
/// is given up and when its timer expires.
///
/// The three kinds of data differ in who may reach them, which the types enforce:
/// [`Shared`](Self::Shared) by anyone who has a reference, [`State`](Self::State) by the owner of
/// the socket's lock, [`Backlog`](Self::Backlog) by a bottom half that found the socket owned.
///
/// They are dropped when the last reference is gone and a grace period of RCU has passed, in the
/// order shared, state, backlog. That is in a softirq: their destructors must not sleep.
pub(crate) trait Protocol: Sized + 'static {
    /// Readable by anyone with a reference to the socket, at any time and in any context.
    type Shared: Send + Sync;

    /// Behind the lock: reachable only through a guard.
    type State: Send;

    /// What arrives while a task owns the socket, until that task lets go of it. Behind the
    /// socket's spinlock.
    type Backlog: Send + Default;

    /// Moves into the state what was deferred to the backlog.
    ///
    /// Called when a task gives the socket's lock up (`release_cb` of `struct proto`), if a bottom half
    /// found it owned; with the socket still owned and its spinlock held: must not sleep, and must not
    /// take a lock of this socket again.
    fn drain(sock: &Sock<Self>, state: &mut Self::State, backlog: &mut Self::Backlog);

    /// The task that owns the socket gives it up: whom it was to wake is to be woken now.
    ///
    /// Called after [`Protocol::drain`], unless the owner only looks what arrived and goes on; with
    /// the socket still owned and its spinlock held. So who is woken finds the lock free.
    fn released(sock: &Sock<Self>);

    /// Whether something is pending for [`Protocol::deliver`].
    ///
    /// Any context.
    fn has_pending(sock: &Sock<Self>) -> bool;

    /// Delivers what came up for other sockets while this one was locked.
    ///
    /// Called by a guard that has just given the socket up, with no spinlock of a socket held;
    /// process context or BH, must not sleep. Where it was generic code that gave the socket up,
    /// the timer is made to expire instead, whose [`Protocol::timer`] uses a guard. Somebody else
    /// may have delivered it by then.
    fn deliver(sock: &Sock<Self>);

    /// The socket's timer, armed by [`Sock::arm_timer`], has expired.
    ///
    /// Called in a softirq with no lock held.
    fn timer(sock: &Sock<Self>);

    /// Memory that was charged to the socket by [`Sock::charge`] was given back.
    ///
    /// Called in any context but a hard interrupt, with whatever locks held under which the buffer
    /// was freed: must not sleep, and must not take a lock of a socket.
    fn write_space(sock: &Sock<Self>);
}

/// How the task that owns a socket holds it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Holder {
    /// Generic code took the lock, and gives it up.
    #[default]
    Generic,
    /// There is an [`Owned`].
    Guard,
    /// There is one, and it looks what arrived without letting go.
    Flushing,
}

/// A socket: a `struct sock` and the data of its protocol in one allocation.
///
/// It is reference-counted by `sk_refcnt`: an [`ARef`](kernel::sync::aref::ARef) holds a
/// reference.
///
/// # Invariants
///
/// - `sk` was allocated by `sk_alloc()` with a `struct proto` whose `obj_size` is the size of this
///   type and whose `release_cb` is [`super::proto::release_cb`] of this `P`, and was initialised
///   by `sock_init_data_uid()`. That `struct proto` is the one in the tables of a
///   [`Slot`](super::registration::Slot) of this `P`.
/// - Its `sk_timer` was set up with [`super::timer::expired`] of this `P`.
/// - `state` is accessed only by whoever owns the socket: a task for which `sk_lock.owned` is set,
///   or the holder of `sk_lock.slock` while it is not set.
/// - `holder` is accessed only by whoever owns the socket, as the state is.
/// - `backlog` is accessed only by the holder of `sk_lock.slock`.
/// - It is linked in the list of its `place`, from the end of `construct` to the beginning of
///   `destruct`.
/// - Whoever has a `&Sock` has it while `sk_refcnt` is above zero. But for [`SockList::after`],
///   which looks at the place of any socket of its list, and goes on from one whose count is zero.
#[repr(C)]
pub(crate) struct Sock<P: Protocol> {
    sk: Opaque<bindings::sock>,
    pub(super) links: [Link<P>; PLACES],
    /// In the list of all sockets of its namespace.
    pub(super) place: Place<P>,
    /// Bytes of payload that are charged to the socket.
    pub(super) unsent: Atomic<usize>,
    shared: P::Shared,
    pub(super) state: UnsafeCell<P::State>,
    pub(super) backlog: UnsafeCell<P::Backlog>,
    /// Set once the socket has been given to a `struct socket`, which happens once in its life.
    attached: Atomic<bool>,
    /// How the task that owns the socket holds it.
    pub(super) holder: UnsafeCell<Holder>,
    /// Whether a bottom half had access to the backlog since it was drained last.
    ///
    /// Written with the spinlock held.
    pub(super) deferred: Atomic<bool>,
    _pin: PhantomPinned,
}

// SAFETY: A reference count may be given up by any thread; the last one drops `P::Shared`,
// `P::State` and `P::Backlog`, all of which are `Send`. `struct sock` is made for that.
unsafe impl<P: Protocol> Send for Sock<P> {}

// SAFETY: `P::Shared` is `Sync`; the state, the backlog and the links are handed out to one thread
// at a time by the type invariants, and are `Send`; fields of `struct sock` are accessed as the
// socket layer prescribes.
unsafe impl<P: Protocol> Sync for Sock<P> {}

// SAFETY: `sk_refcnt` counts all references, and the object lives until it drops to zero. All
// instances are made by `sk_alloc()`, so all are counted.
unsafe impl<P: Protocol> AlwaysRefCounted for Sock<P> {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: By the type invariants, `sk` is valid and its count is above zero.
        unsafe { bindings::rvsock_sock_hold(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference, so `sk` is valid; it is the first field.
        unsafe { bindings::rvsock_sock_put(obj.as_ptr().cast()) };
    }
}

impl<P: Protocol> Sock<P> {
    /// The size of the whole object: `obj_size` of the `struct proto`.
    pub(super) const SIZE: usize = {
        // The slab that `proto_register()` makes aligns to the cache line, but at the least to
        // the machine word.
        assert!(align_of::<Self>() <= align_of::<u64>());
        size_of::<Self>()
    };

    /// Makes the Rust part of a socket whose C part stands.
    ///
    /// On success, the caller's reference to `sk` is one to a [`Sock`]; on failure it still is one
    /// to a bare `struct sock`.
    ///
    /// # Safety
    ///
    /// - `sk` was made by `sk_alloc()` with a `struct proto` as the type invariants of [`Sock`]
    ///   say, and by `sock_init_data_uid()`; nobody else can reach it.
    /// - `destruct` calls [`Sock::destruct`] when it is called as `sk_destruct`.
    pub(super) unsafe fn construct(
        sk: NonNull<bindings::sock>,
        list: Arc<SockList<P>>,
        shared: impl PinInit<P::Shared, Error>,
        state: P::State,
        destruct: unsafe extern "C" fn(*mut bindings::sock),
    ) -> Result<NonNull<Self>> {
        let this = sk.cast::<Self>();
        let slot = this.as_ptr();

        // SAFETY: By the requirements, `slot` points to an allocation of the size of `Self` that
        // nobody else accesses and that never moves. Its fields behind `sk` are uninitialised and
        // are each written once.
        unsafe {
            initialise(addr_of_mut!((*slot).shared), shared)?;
            addr_of_mut!((*slot).attached).write(Atomic::new(false));
            addr_of_mut!((*slot).place).write(Place::new(list));
            addr_of_mut!((*slot).unsent).write(Atomic::new(0));
            addr_of_mut!((*slot).links).write([const { Link::new() }; PLACES]);
            addr_of_mut!((*slot).state).write(UnsafeCell::new(state));
            addr_of_mut!((*slot).holder).write(UnsafeCell::new(Holder::Generic));
            addr_of_mut!((*slot).backlog).write(UnsafeCell::new(P::Backlog::default()));
            addr_of_mut!((*slot).deferred).write(Atomic::new(false));
        }

        // SAFETY: Nobody else can reach `sk` yet, and it is initialised.
        unsafe {
            bindings::rvsock_sock_setup(sk.as_ptr(), Some(super::timer::expired::<P>));
            (*sk.as_ptr()).sk_destruct = Some(destruct);
            (*sk.as_ptr()).sk_write_space = Some(super::charge::write_space::<P>);
        }
        // SAFETY: All of it was initialised by now. Before it is freed, `destruct` is called.
        unsafe { this.as_ref().place.link(this) };
        Ok(this)
    }

    /// Drops the Rust part: the work of `sk_destruct`.
    ///
    /// # Safety
    ///
    /// To be called once, by `sk_destruct` of a `sk` that [`Sock::construct`] succeeded on: its
    /// count has dropped to zero, and nobody else can reach it.
    pub(super) unsafe fn destruct(sk: *mut bindings::sock) {
        let this = sk.cast::<Self>();

        // SAFETY: `construct` linked it. From here on the list does not find it either.
        unsafe { (*addr_of_mut!((*this).place)).unlink() };
        // SAFETY: By the requirements, this is the only access, and each field was initialised by
        // `construct` and is dropped once. The others have nothing to drop.
        unsafe {
            core::ptr::drop_in_place(addr_of_mut!((*this).place));
            core::ptr::drop_in_place(addr_of_mut!((*this).shared));
            core::ptr::drop_in_place(addr_of_mut!((*this).state));
            core::ptr::drop_in_place(addr_of_mut!((*this).backlog));
        }
        // SAFETY: `sk` is valid until `sk_destruct` returns, and was set up by `construct`.
        unsafe { bindings::rvsock_sock_teardown(sk) };
    }

    /// Takes a reference out of C.
    ///
    /// # Safety
    ///
    /// `sk` must be a socket that [`Sock::construct`] of this `P` succeeded on, with a count that
    /// stays above zero for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(sk: *mut bindings::sock) -> &'a Self {
        // SAFETY: `sk` is the first field of a `Self` by the requirements, which is valid for
        // `'a`.
        unsafe { &*sk.cast() }
    }

    /// The `struct sock`.
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::sock {
        self.sk.get()
    }

    /// Claims the right to give this socket to a `struct socket`. It is given once: false if that
    /// has happened before.
    pub(super) fn claim_attachment(&self) -> bool {
        !self.attached.xchg(true, Full)
    }

    /// What may be read without the lock.
    #[inline]
    pub(crate) fn shared(&self) -> &P::Shared {
        &self.shared
    }

    /// Takes the socket's lock and becomes its owner (`lock_sock()`).
    ///
    /// Process context; sleeps while another task owns the socket. While it is owned, bottom
    /// halves defer what they have to the backlog.
    #[inline]
    pub(crate) fn lock(&self) -> Owned<'_, P> {
        Owned::new(self)
    }

    /// Takes the socket's spinlock (`bh_lock_sock()` with bottom halves off).
    ///
    /// Process context or BH. The caller must not hold the spinlock of any socket of the family,
    /// and gets the state if no task owns the socket, its backlog otherwise.
    #[inline]
    pub(crate) fn lock_bh(&self) -> Bh<'_, P> {
        Bh::new(self)
    }

    /// Whether a task owns the socket. With its lock held, in any of its forms.
    pub(crate) fn is_owned(&self) -> bool {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_owned_by_user(self.as_raw()) }
    }
}

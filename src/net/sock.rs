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
    poll::PollEvents,
    sock_list::{
        Place,
        SockList, //
    },
    sock_queue::{
        Link,
        PLACES, //
    },
    timeout::Timeout,
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
            atomic_load,
            atomic_store,
            Atomic,
            Full,
            Relaxed, //
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
    /// Called whenever a task gives the socket's lock up (`release_cb` of `struct proto`), with
    /// the socket still owned and its spinlock held: must not sleep, and must not take a lock of
    /// this socket again.
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
///   [`Slot`](super::family::Slot) of this `P`.
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
    /// Set once the socket has been given to a `struct socket`, which happens once in its life.
    attached: Atomic<bool>,
    pub(super) links: [Link<P>; PLACES],
    /// In the list of all sockets of its namespace.
    pub(super) place: Place<P>,
    /// Bytes of payload that are charged to the socket.
    pub(super) unsent: Atomic<usize>,
    shared: P::Shared,
    pub(super) state: UnsafeCell<P::State>,
    /// How the task that owns the socket holds it.
    pub(super) holder: UnsafeCell<Holder>,
    pub(super) backlog: UnsafeCell<P::Backlog>,
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

/// The type of a socket: the second argument of `socket(2)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketKind(u16);

impl SocketKind {
    /// A stream of bytes.
    pub(crate) const STREAM: Self = Self(bindings::sock_type_SOCK_STREAM as u16);
    /// Single messages without a connection.
    pub(crate) const DGRAM: Self = Self(bindings::sock_type_SOCK_DGRAM as u16);
    /// A connection that keeps the boundaries of messages.
    pub(crate) const SEQPACKET: Self = Self(bindings::sock_type_SOCK_SEQPACKET as u16);

    /// Takes C's number.
    pub(super) fn from_raw(kind: u16) -> Self {
        Self(kind)
    }
}

/// `sk_state`: the state of a socket for generic code and for diagnostics.
///
/// The socket layer knows no others than those of TCP.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SkState {
    /// Both directions are open.
    Established = bindings::TCP_ESTABLISHED as u8,
    /// A connection was asked for.
    SynSent = bindings::TCP_SYN_SENT as u8,
    /// No connection.
    Close = bindings::TCP_CLOSE as u8,
    /// Accepts connections.
    Listen = bindings::TCP_LISTEN as u8,
    /// The connection is coming to its end.
    Closing = bindings::TCP_CLOSING as u8,
}

/// Which directions of a socket are shut down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shutdown {
    /// Nothing more is received.
    pub(crate) receive: bool,
    /// Nothing more is sent.
    pub(crate) send: bool,
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
            shared.__pinned_init(addr_of_mut!((*slot).shared))?;
            addr_of_mut!((*slot).attached).write(Atomic::new(false));
            addr_of_mut!((*slot).place).write(Place::new(list));
            addr_of_mut!((*slot).unsent).write(Atomic::new(0));
            addr_of_mut!((*slot).links).write([const { Link::new() }; PLACES]);
            addr_of_mut!((*slot).state).write(UnsafeCell::new(state));
            addr_of_mut!((*slot).holder).write(UnsafeCell::new(Holder::Generic));
            addr_of_mut!((*slot).backlog).write(UnsafeCell::new(P::Backlog::default()));
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

    /// The number of the socket's family (`sk_family`).
    pub(crate) fn family(&self) -> u16 {
        // SAFETY: By the type invariants, `sk` is valid; `sk_family` is constant.
        unsafe { (*self.as_raw()).__sk_common.skc_family }
    }

    /// The type of the socket (`sk_type`).
    pub(crate) fn kind(&self) -> SocketKind {
        // SAFETY: By the type invariants, `sk` is valid; `sk_type` is constant.
        SocketKind::from_raw(unsafe { (*self.as_raw()).sk_type })
    }

    /// How many bytes make the socket readable (`SO_RCVLOWAT`), at least 1.
    pub(crate) fn receive_low_water(&self) -> usize {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        let value = unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_rcvlowat), Relaxed) };
        usize::try_from(value).unwrap_or(1).max(1)
    }

    /// Sets what [`Sock::receive_low_water`] reads. Zero means 1.
    pub(crate) fn set_receive_low_water(&self, value: i32) {
        let value = value.max(1);
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_store(addr_of_mut!((*self.as_raw()).sk_rcvlowat), value, Relaxed) };
    }

    /// Sets what `SO_RCVBUF` reads. The socket layer keeps twice of what a program asks for.
    pub(crate) fn set_receive_buffer(&self, bytes: u32) {
        let value = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_store(addr_of_mut!((*self.as_raw()).sk_rcvbuf), value, Relaxed) };
    }

    /// Where the next `MSG_PEEK` begins, in bytes from the first that was not read: `None` if each
    /// begins there (`SO_PEEK_OFF`).
    pub(crate) fn peek_offset(&self) -> Option<usize> {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        let value = unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_peek_off), Relaxed) };
        usize::try_from(value).ok()
    }

    /// Sets what [`Sock::peek_offset`] reads: `None` if `value` is below zero.
    pub(crate) fn set_peek_offset(&self, value: i32) {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_store(addr_of_mut!((*self.as_raw()).sk_peek_off), value, Relaxed) };
    }

    /// Sets where the next `MSG_PEEK` begins, if `SO_PEEK_OFF` is in use. The caller owns the socket.
    pub(crate) fn move_peek_offset(&self, offset: usize) {
        if self.peek_offset().is_some() {
            self.set_peek_offset(i32::try_from(offset).unwrap_or(i32::MAX));
        }
    }

    /// How long a receive may sleep (`SO_RCVTIMEO`).
    pub(crate) fn receive_timeout(&self, nonblocking: bool) -> Timeout {
        if nonblocking {
            return Timeout::ZERO;
        }
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        let value = unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_rcvtimeo), Relaxed) };
        Timeout::from_raw(value)
    }

    /// How long a send may sleep (`SO_SNDTIMEO`).
    pub(crate) fn send_timeout(&self, nonblocking: bool) -> Timeout {
        if nonblocking {
            return Timeout::ZERO;
        }
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        let value = unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_sndtimeo), Relaxed) };
        Timeout::from_raw(value)
    }

    /// How long the calling task is to wait in `close(2)` for what it sent (`SO_LINGER`): not at all
    /// unless it was asked for, and not when it exits. Process context.
    pub(crate) fn linger(&self) -> Timeout {
        // SAFETY: By the type invariants, `sk` is valid.
        Timeout::from_raw(unsafe { bindings::rvsock_sock_linger(self.as_raw()) })
    }

    /// Leaves an error for the next call or for `SO_ERROR` (`sk_err`). Any context.
    pub(crate) fn set_error(&self, error: Error) {
        let errno = error.to_errno().saturating_neg();
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_store(addr_of_mut!((*self.as_raw()).sk_err), errno, Relaxed) };
    }

    /// Takes the error that was left, if any: it is reported once (`sock_error()`). Any context.
    pub(crate) fn take_error(&self) -> Result {
        // SAFETY: By the type invariants, `sk` is valid.
        kernel::error::to_result(unsafe { bindings::rvsock_sock_error(self.as_raw()) })
    }

    /// Whether an error was left. Any context.
    pub(crate) fn has_error(&self) -> bool {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic.
        unsafe { atomic_load(addr_of_mut!((*self.as_raw()).sk_err), Relaxed) != 0 }
    }

    /// Publishes to generic code which directions are shut down (`sk_shutdown`).
    pub(crate) fn set_shutdown(&self, shutdown: Shutdown) {
        let mut bits = 0;
        if shutdown.receive {
            bits |= bindings::RCV_SHUTDOWN as u8;
        }
        if shutdown.send {
            bits |= bindings::SEND_SHUTDOWN as u8;
        }
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic, and `u8` and `i8`
        // have one representation.
        unsafe {
            let field = addr_of_mut!((*self.as_raw()).sk_shutdown).cast::<i8>();
            atomic_store(field, bits as i8, Relaxed);
        }
    }

    /// Publishes the state to generic code and diagnostics (`sk_state`).
    pub(crate) fn publish_state(&self, state: SkState) {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic, and `u8` and `i8`
        // have one representation.
        unsafe {
            let field: *const u8 = &raw const (*self.as_raw()).__sk_common.skc_state;
            atomic_store(field.cast_mut().cast::<i8>(), state as i8, Relaxed);
        }
    }

    /// What [`Sock::publish_state`] published last, as C's number. Any context.
    pub(crate) fn published_state(&self) -> u8 {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic, and `u8` and `i8`
        // have one representation.
        unsafe {
            let field: *const u8 = &raw const (*self.as_raw()).__sk_common.skc_state;
            atomic_load(field.cast_mut().cast::<i8>(), Relaxed) as u8
        }
    }

    /// What [`Sock::set_shutdown`] published last, as C's bits. Any context.
    pub(crate) fn published_shutdown(&self) -> u8 {
        // SAFETY: By the type invariants, `sk` is valid; all accesses are atomic, and `u8` and `i8`
        // have one representation.
        unsafe {
            let field = addr_of_mut!((*self.as_raw()).sk_shutdown).cast::<i8>();
            atomic_load(field, Relaxed) as u8
        }
    }

    /// The type of the socket, as C's number (`sk_type`).
    pub(crate) fn type_number(&self) -> u8 {
        // SAFETY: By the type invariants, `sk` is valid; `sk_type` is constant.
        unsafe { (*self.as_raw()).sk_type as u8 }
    }

    /// The number of the inode of the socket's file; zero without a file. Any context.
    pub(crate) fn inode(&self) -> u64 {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_ino(self.as_raw()) }
    }

    /// A number that no other socket has, ever: its lower half first. Process context.
    pub(crate) fn cookie(&self) -> [u32; 2] {
        let mut cookie = [0; 2];
        // SAFETY: By the type invariants, `sk` is valid, and there is room for two words.
        unsafe { bindings::sock_diag_save_cookie(self.as_raw(), cookie.as_mut_ptr()) };
        cookie
    }

    /// Whether a program had the socket and has closed it. Any context.
    pub(crate) fn is_dead(&self) -> bool {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_is_dead(self.as_raw()) }
    }

    /// Tells those who poll the socket that `events` happened, and sends `SIGIO` to who asked for
    /// it (`sk_wq`). Returns whether anybody polls.
    ///
    /// Any context. What the events announce must have been published before: pollers are looked
    /// for behind a full barrier.
    pub(crate) fn wake_poll(&self, events: PollEvents) -> bool {
        // SAFETY: By the type invariants, `sk` is valid.
        unsafe { bindings::rvsock_sock_wake_poll(self.as_raw(), events.into_raw()) }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! All sockets of a family in one network namespace, in the order in which they were made.

use super::{
    lock::SpinLockBh,
    sock::{
        Protocol,
        Sock, //
    },
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        static_lock_class,
        Arc, //
    },
};

/// The list of the sockets that there are, for diagnostics.
///
/// A socket is in it from the moment in which it is complete until its last reference is gone and
/// a grace period has passed: being there is being listed. The list links the sockets themselves
/// and holds no references, so entering and leaving it takes the same short time however many
/// there are, and cannot fail.
///
/// # Invariants
///
/// The sockets from `first` on, linked by their [`Place`]s both ways, end with `last`. Each has a
/// reference to this list and is not freed while it is linked.
#[pin_data]
pub(crate) struct SockList<P: Protocol> {
    #[pin]
    ends: SpinLockBh<Ends<P>>,
}

struct Ends<P: Protocol> {
    first: Option<NonNull<Sock<P>>>,
    last: Option<NonNull<Sock<P>>>,
}

// SAFETY: These are pointers to sockets, which are `Send` and `Sync`.
unsafe impl<P: Protocol> Send for Ends<P> {}

/// The place of a socket in the list of its namespace.
///
/// # Invariants
///
/// `links` is accessed only with the lock of `list` held, or before the socket is in it.
pub(super) struct Place<P: Protocol> {
    list: Arc<SockList<P>>,
    links: UnsafeCell<Links<P>>,
}

struct Links<P: Protocol> {
    previous: Option<NonNull<Sock<P>>>,
    next: Option<NonNull<Sock<P>>>,
}

impl<P: Protocol> Place<P> {
    /// A place in `list` for a socket that is not linked yet.
    pub(super) fn new(list: Arc<SockList<P>>) -> Self {
        Self {
            list,
            links: UnsafeCell::new(Links {
                previous: None,
                next: None,
            }),
        }
    }

    /// The list that the socket belongs to.
    pub(super) fn list(&self) -> &Arc<SockList<P>> {
        &self.list
    }

    /// Links a socket at the end of its list. Process context or BH.
    ///
    /// # Safety
    ///
    /// `sock` is valid, this is its place, and it was not linked before. [`Place::unlink`] is
    /// called before it is freed.
    pub(super) unsafe fn link(&self, sock: NonNull<Sock<P>>) {
        let mut ends = self.list.ends.lock();
        let last = ends.last.replace(sock);

        // SAFETY: The lock is held, and by the type invariants of the list `last` is valid.
        unsafe {
            (*self.links.get()).previous = last;
            match last {
                Some(last) => (*last.as_ref().place.links.get()).next = Some(sock),
                None => ends.first = Some(sock),
            }
        }
    }

    /// Takes a socket off its list. Process context or BH.
    ///
    /// # Safety
    ///
    /// This is the place of a socket that was linked, and not taken off since.
    pub(super) unsafe fn unlink(&self) {
        let mut ends = self.list.ends.lock();

        // SAFETY: The lock is held, and by the type invariants of the list the neighbours are
        // valid.
        unsafe {
            let Links { previous, next } = *self.links.get();
            match previous {
                Some(previous) => (*previous.as_ref().place.links.get()).next = next,
                None => ends.first = next,
            }
            match next {
                Some(next) => (*next.as_ref().place.links.get()).previous = previous,
                None => ends.last = previous,
            }
        }
    }
}

impl<P: Protocol> SockList<P> {
    /// An empty list. Process context. `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        let ends = Ends {
            first: None,
            last: None,
        };
        Arc::pin_init(
            pin_init!(Self {
                ends <- SpinLockBh::new(ends, c"rvsock list", static_lock_class!()),
            }),
            GFP_KERNEL,
        )
    }

    /// The socket behind `sock`, or the first one; `None` at the end, and if `sock` is not of this
    /// list. Process context or BH.
    ///
    /// Whoever goes on from what this gave sees each socket once that is there all the while, and
    /// those that are made meanwhile at the end. A step takes the same time wherever it is.
    pub(crate) fn after(&self, sock: Option<&Sock<P>>) -> Option<ARef<Sock<P>>> {
        let ends = self.ends.lock();
        let mut place = match sock {
            None => ends.first,
            Some(sock) if !core::ptr::eq(&raw const **sock.place.list(), self) => None,
            // SAFETY: The lock is held. The caller has a reference to the socket, so it is still
            // in this list.
            Some(sock) => unsafe { (*sock.place.links.get()).next },
        };
        while let Some(next) = place {
            // SAFETY: By the type invariants, sockets in the list are valid. One whose count has
            // dropped to zero is left alone.
            unsafe {
                if bindings::rvsock_sock_hold_unless_zero(next.as_ref().as_raw()) {
                    return Some(ARef::from_raw(next));
                }
                place = (*next.as_ref().place.links.get()).next;
            }
        }
        None
    }
}

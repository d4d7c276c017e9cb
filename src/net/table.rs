// SPDX-License-Identifier: GPL-2.0

//! Finding sockets by a key.
//!
//! C headers: [`include/linux/rhashtable.h`](srctree/include/linux/rhashtable.h); C source:
//! [`lib/rhashtable.c`](srctree/lib/rhashtable.c)

use super::sock::{
    Protocol,
    Sock, //
};
use crate::bindings;
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    mem::offset_of,
    ptr::NonNull, //
};
use kernel::{
    alloc::Flags,
    error::to_result,
    prelude::*,
    sync::{
        aref::ARef,
        rcu,
        Arc, //
    },
    types::Opaque, //
};
use zerocopy::{
    Immutable,
    IntoBytes, //
};

/// What sockets are found by. Two keys are the same if their bytes are; so there is no padding.
pub(crate) trait Key: Copy + IntoBytes + Immutable + Send + Sync + 'static {}

impl<K: Copy + IntoBytes + Immutable + Send + Sync + 'static> Key for K {}

/// A hash table of sockets, which grows and shrinks with their number. Each key is there once; a
/// socket may be in several tables, and in one under several keys.
///
/// Look-ups run under RCU and take no lock. An [`Entry`] is a socket's membership: the table is
/// changed by [`Table::insert`] and by dropping entries.
///
/// Dropping the table itself waits for a grace period: the last reference to it must go in process
/// context. Entries hold references.
///
/// # Invariants
///
/// The elements of the table are the `head` of [`Node`]s of this `K` and `P`, each of which belongs
/// to one [`Entry`] with a reference to this table, and is freed a grace period after it has left.
#[pin_data(PinnedDrop)]
pub(crate) struct Table<K: Key, P: Protocol> {
    #[pin]
    raw: Opaque<bindings::rhashtable>,
    #[pin]
    _pin: PhantomPinned,
    _nodes: PhantomData<Node<K, P>>,
}

// SAFETY: A hash table has its own locks; the nodes hold a key, which is `Send`, and a reference to
// a socket, which is as well.
unsafe impl<K: Key, P: Protocol> Send for Table<K, P> {}

// SAFETY: As above; keys are `Sync`, and so are sockets.
unsafe impl<K: Key, P: Protocol> Sync for Table<K, P> {}

/// An element of a table.
#[repr(C)]
struct Node<K: Key, P: Protocol> {
    head: bindings::rhash_head,
    rcu: bindings::callback_head,
    sock: ARef<Sock<P>>,
    key: K,
}

impl<K: Key, P: Protocol> Table<K, P> {
    const PARAMETERS: bindings::rhashtable_params = {
        assert!(size_of::<K>() <= u16::MAX as usize);
        // The hash function reads a key of whole 32-bit words as such.
        assert!(size_of::<K>() % 4 != 0 || align_of::<K>() % 4 == 0);
        // SAFETY: All fields are integers, booleans or optional functions, for which zero is valid.
        let mut parameters: bindings::rhashtable_params =
            unsafe { core::mem::MaybeUninit::zeroed().assume_init() };
        parameters.key_len = size_of::<K>() as u16;
        parameters.key_offset = offset_of!(Node<K, P>, key) as u16;
        parameters.head_offset = offset_of!(Node<K, P>, head) as u16;
        parameters.automatic_shrinking = true;
        parameters
    };

    /// An empty table. Process context. `ENOMEM` if there is no memory for it.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: `slot` is valid while the closure is called, and will not move.
            raw <- Opaque::try_ffi_init(|slot| to_result(unsafe {
                bindings::rvsock_rhashtable_init(slot, &Self::PARAMETERS)
            })),
            _pin: PhantomPinned,
            _nodes: PhantomData,
        })
    }

    /// Adds a socket, for as long as the entry lives.
    ///
    /// The entry holds a reference to the socket. So a socket that keeps its own entries has to
    /// drop them when it is closed; it does not go away before.
    ///
    /// Process context or BH, according to `flags`.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the key is there already; `ENOMEM`; `E2BIG` and `EBUSY` if the table cannot grow
    /// as fast as it is filled.
    pub(crate) fn insert(
        table: &Arc<Self>,
        key: K,
        sock: ARef<Sock<P>>,
        flags: Flags,
    ) -> Result<Entry<K, P>> {
        let node = KBox::new(
            Node {
                head: bindings::rhash_head::default(),
                rcu: bindings::callback_head::default(),
                sock,
                key,
            },
            flags,
        )?;
        let node = NonNull::from(Box::leak(node));

        // SAFETY: The table is initialised with the parameters of this node, which is initialised
        // and will not be freed before it has left the table.
        let result = to_result(unsafe {
            bindings::rvsock_rhashtable_insert(table.raw.get(), &raw mut (*node.as_ptr()).head)
        });
        if let Err(error) = result {
            // SAFETY: The node was leaked above, and did not get into the table.
            drop(unsafe { KBox::from_raw(node.as_ptr()) });
            return Err(error);
        }
        // INVARIANT: The node was just put into the table.
        Ok(Entry {
            table: table.clone(),
            node,
        })
    }

    /// The socket with this key. Any context.
    pub(crate) fn find(&self, key: &K) -> Option<ARef<Sock<P>>> {
        let _rcu = rcu::read_lock();

        // SAFETY: The table is initialised with the length of a `K`, and the RCU read lock is held.
        let node =
            unsafe { bindings::rvsock_rhashtable_lookup(self.raw.get(), (&raw const *key).cast()) };
        // SAFETY: By the type invariants, what is found is a node, which is freed, and with it its
        // reference given up, only after a grace period.
        let node = unsafe { node.cast::<Node<K, P>>().as_ref() }?;
        Some(node.sock.clone())
    }

    /// Calls `f` for each socket. Process context; `f` may sleep.
    ///
    /// Sockets that are added or taken off meanwhile may be seen or not. While the table is being
    /// resized, one may be seen more than once.
    pub(crate) fn for_each(&self, mut f: impl FnMut(ARef<Sock<P>>)) {
        let mut walk = core::pin::pin!(Opaque::<bindings::rhashtable_iter>::uninit());
        let iter = walk.as_mut().get();

        // SAFETY: The table is initialised, and `iter` is valid for writes and pinned.
        unsafe { bindings::rhashtable_walk_enter(self.raw.get(), iter) };
        loop {
            let mut batch = [const { None }; 16];
            let mut ended = false;

            // SAFETY: The walk was entered.
            unsafe { bindings::rvsock_rhashtable_walk_start(iter) };
            for place in &mut batch {
                // SAFETY: The walk was started, which takes the RCU read lock. By the type
                // invariants, what is found is a node.
                let node = unsafe {
                    bindings::rvsock_rhashtable_walk_next(iter)
                        .cast::<Node<K, P>>()
                        .as_ref()
                };
                match node {
                    Some(node) => *place = Some(node.sock.clone()),
                    None => {
                        ended = true;
                        break;
                    }
                }
            }
            // SAFETY: The walk was started.
            unsafe { bindings::rhashtable_walk_stop(iter) };

            batch.into_iter().flatten().for_each(&mut f);
            if ended {
                break;
            }
        }
        // SAFETY: The walk was entered, and is not started.
        unsafe { bindings::rhashtable_walk_exit(iter) };
    }
}

#[pinned_drop]
impl<K: Key, P: Protocol> PinnedDrop for Table<K, P> {
    fn drop(self: Pin<&mut Self>) {
        // Entries have references to the table, so all have left it; their nodes may still wait to
        // be freed, by a function of this module.
        //
        // SAFETY: Just an FFI call; process context.
        unsafe { bindings::rcu_barrier() };
        // SAFETY: The table is initialised and empty.
        unsafe { bindings::rhashtable_destroy(self.raw.get()) };
    }
}

/// A socket's membership in a [`Table`]. Dropping it is the only way out.
///
/// That may be in any context, as long as there is another reference to the table: where this one
/// can be the last, only in process context.
///
/// # Invariants
///
/// `node` is in `table`, and belongs to this entry.
#[must_use = "the socket leaves the table at once if the entry is unused"]
pub(crate) struct Entry<K: Key, P: Protocol> {
    table: Arc<Table<K, P>>,
    node: NonNull<Node<K, P>>,
}

// SAFETY: The entry is a reference to a table and the right to take a node off, which any thread
// may do.
unsafe impl<K: Key, P: Protocol> Send for Entry<K, P> {}

// SAFETY: Shared references give nothing.
unsafe impl<K: Key, P: Protocol> Sync for Entry<K, P> {}

impl<K: Key, P: Protocol> Drop for Entry<K, P> {
    fn drop(&mut self) {
        let node = self.node.as_ptr();

        // SAFETY: By the type invariants, the node is in the table. Look-ups under way may still
        // see it, so it is freed a grace period later.
        unsafe {
            bindings::rvsock_rhashtable_remove(self.table.raw.get(), &raw mut (*node).head);
            bindings::call_rcu(&raw mut (*node).rcu, Some(free_node::<K, P>));
        }
    }
}

/// Frees a node, and gives its reference to the socket up.
///
/// # Safety
///
/// `rcu` must be that of a node that was made by `KBox::new`, that has left its table, and that a
/// grace period has passed since.
unsafe extern "C" fn free_node<K: Key, P: Protocol>(rcu: *mut bindings::callback_head) {
    // SAFETY: By the requirements, `rcu` is a field of a node.
    let node = unsafe { kernel::container_of!(rcu, Node<K, P>, rcu) };
    // SAFETY: By the requirements, nobody else has access to the node.
    drop(unsafe { KBox::from_raw(node) });
}

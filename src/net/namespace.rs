// SPDX-License-Identifier: GPL-2.0

//! What a family keeps for each network namespace.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h); C source:
//! [`net/core/net_namespace.c`](srctree/net/core/net_namespace.c)

use super::{
    family::Family,
    sock_list::SockList,
    sysctl, //
};
use crate::bindings;
use kernel::{
    alloc::KBox,
    error::from_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc,
        ArcBorrow, //
    },
};

/// What a family has in one network namespace.
pub(super) struct PerNamespace<F: Family> {
    /// What the family's sockets there share.
    pub(super) family: Arc<F::Namespace>,
    /// The family's sockets there.
    pub(super) sockets: Arc<SockList<F>>,
}

/// What goes when the namespace goes.
struct Owned<F: Family> {
    _per_namespace: Arc<PerNamespace<F>>,
    _sysctls: sysctl::Registration<F::Namespace>,
}

/// The memory that the kernel keeps for the family in each namespace, and clears at first.
///
/// # Invariants
///
/// - `owned` is null, or a pointer from `KBox::into_raw` that belongs to this cell.
/// - `visible` is null, or points to what an `Arc` points to that `owned` has. That one is dropped a
///   grace period of RCU after `visible` was set to null.
#[repr(C)]
struct Cell<F: Family> {
    visible: Atomic<*mut PerNamespace<F>>,
    owned: Atomic<*mut Owned<F>>,
}

/// Makes the `struct pernet_operations` of a family. `id` is where the kernel writes the number of
/// the family's memory.
pub(super) fn operations<F: Family>(id: *mut c_uint) -> bindings::pernet_operations {
    bindings::pernet_operations {
        init: Some(init::<F>),
        pre_exit: Some(pre_exit::<F>),
        exit: Some(exit::<F>),
        id,
        size: size_of::<Cell<F>>(),
        ..Default::default()
    }
}

impl<F: Family> PerNamespace<F> {
    /// What the family has in `net`; `None` while the namespace comes or goes. Any context.
    ///
    /// # Safety
    ///
    /// `net` must be valid, and the operations of `F` registered, for `net` by now.
    pub(super) unsafe fn of(net: *const bindings::net) -> Option<Arc<Self>> {
        let _rcu = rcu::read_lock();

        // SAFETY: By the requirements, there is a cell.
        let visible = unsafe { cell_of::<F>(net).visible.load(Acquire) };
        if visible.is_null() {
            return None;
        }
        // SAFETY: By the invariants of the cell, and since the RCU read lock is held, there is
        // an `Arc` for as long as this takes.
        Some(unsafe { ArcBorrow::from_raw(visible.cast_const()) }.into())
    }
}

/// The family's cell in a namespace.
///
/// # Safety
///
/// `net` must be valid for `'a`, and the operations of `F` registered for it.
unsafe fn cell_of<'a, F: Family>(net: *const bindings::net) -> &'a Cell<F> {
    // SAFETY: By the requirements, the kernel has memory of the size of a cell, which was
    // cleared: that is a cell of null pointers.
    unsafe { &*bindings::rvsock_net_generic(net, F::slot().net_id()).cast::<Cell<F>>() }
}

/// `init` of `struct pernet_operations`: a namespace comes, or is there already when the family
/// does.
///
/// # Safety
///
/// To be called by the kernel, for operations of `F` that its slot has, once for each namespace.
unsafe extern "C" fn init<F: Family>(net: *mut bindings::net) -> c_int {
    from_result(|| {
        let slot = F::slot();
        // SAFETY: The operations are being registered or stand, so the tables are complete.
        let (context, path) = unsafe { slot.namespace_parts() }.ok_or(ENODEV)?;

        // SAFETY: Process context; a task that makes a namespace is in one.
        let creator = unsafe { bindings::rvsock_current_net() };
        let creator = if slot.is_registered() {
            // SAFETY: The task is in that namespace, which keeps it, and the operations have
            // been registered for it, like for all that there were by then.
            unsafe { PerNamespace::<F>::of(creator) }
        } else {
            // The namespaces that are there when the family comes have no such past.
            None
        };
        let creator = creator.as_ref().map(|creator| &*creator.family);
        let family = F::namespace(context, creator)?;
        let per_namespace = Arc::new(
            PerNamespace {
                family: family.clone(),
                sockets: SockList::new()?,
            },
            GFP_KERNEL,
        )?;
        let visible = Arc::as_ptr(&per_namespace).cast_mut();
        let owned = KBox::new(
            Owned {
                _per_namespace: per_namespace,
                // SAFETY: `net` is valid until `exit`, where this is dropped.
                _sysctls: unsafe { sysctl::Registration::new(net, path, family)? },
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The kernel has made the cell before it calls.
        let cell = unsafe { cell_of::<F>(net) };
        // INVARIANT: `visible` is what the `Arc` in `owned` points to.
        cell.owned.store(KBox::into_raw(owned), Relaxed);
        cell.visible.store(visible, Release);
        Ok(0)
    })
}

/// `pre_exit` of `struct pernet_operations`: nobody finds the family's part any more. The kernel
/// waits for a grace period before it calls `exit`.
///
/// # Safety
///
/// To be called by the kernel, for operations of `F` that are registered for `net`.
unsafe extern "C" fn pre_exit<F: Family>(net: *mut bindings::net) {
    // SAFETY: By the requirements.
    let cell = unsafe { cell_of::<F>(net) };
    cell.visible.store(core::ptr::null_mut(), Relaxed);
}

/// `exit` of `struct pernet_operations`. The sockets of user space are gone: they hold their
/// namespace. Those of the kernel have what they share with them.
///
/// # Safety
///
/// To be called by the kernel, once, after `pre_exit` and a grace period.
unsafe extern "C" fn exit<F: Family>(net: *mut bindings::net) {
    // SAFETY: By the requirements.
    let cell = unsafe { cell_of::<F>(net) };
    let owned = cell.owned.xchg(core::ptr::null_mut(), Relaxed);
    if !owned.is_null() {
        // SAFETY: By the invariants of the cell, it belongs to that, which has forgotten it by
        // now; a grace period has passed since nobody finds it any more.
        drop(unsafe { KBox::from_raw(owned) });
    }
}

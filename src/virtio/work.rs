// SPDX-License-Identifier: GPL-2.0

//! Deferred work: what [`kernel::workqueue`] lacks.
//!
//! Above all that is to take back what was enqueued. A driver needs it: before its device is gone,
//! and before its module is unloaded, no work of its own may be left.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use kernel::{
    container_of,
    sync::Arc,
    workqueue::{
        HasDelayedWork,
        HasWork,
        Queue,
        Work,
        WorkItem, //
    },
};

/// Returns the system's default workqueue (`system_dfl_wq`): process context, on no particular CPU.
///
/// The kernel warns of work that is enqueued on [`kernel::workqueue::system`] and
/// [`kernel::workqueue::system_unbound`], whose C counterparts are deprecated.
pub(crate) fn system_dfl() -> &'static Queue {
    // SAFETY: `system_dfl_wq` is a C global, set at boot and valid for ever.
    unsafe { Queue::from_raw(bindings::system_dfl_wq) }
}

/// Cancels work item `ID` of `item`, and waits until it is not running any more.
///
/// For one that is not delayed. A delayed work item is a work item as well, so this compiles for it,
/// but spins until its time has come: that is what [`cancel_delayed`] is for.
///
/// Returns whether it was pending; the reference to `item` that was enqueued is then dropped.
/// Afterwards the work item neither is pending nor runs, unless it was enqueued again meanwhile.
///
/// Must not be called by the work item itself, nor with a lock held that the work item takes: that
/// is a deadlock.
///
/// Context: process; may sleep.
pub(crate) fn cancel<T, const ID: u64>(item: &Arc<T>) -> bool
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasWork<T, ID> + Send + Sync,
{
    let item = Arc::as_ptr(item).cast_mut();

    // SAFETY: `item` is valid.
    let work = unsafe { Work::raw_get(T::raw_get_work(item)) };

    // SAFETY: The work item was initialised when `item` was.
    let pending = unsafe { bindings::cancel_work_sync(work) };
    if pending {
        // SAFETY: Enqueueing an `Arc<T>` keeps its reference for the work function, by way of
        // `Arc::into_raw`. The work item was pending, and the work function will not be called for
        // it, so that the reference is owned by nobody.
        drop(unsafe { Arc::from_raw(item.cast_const()) });
    }
    pending
}

/// Cancels delayed work item `ID` of `item`, as [`cancel`] does with one that is not delayed.
///
/// Context: process; may sleep.
pub(crate) fn cancel_delayed<T, const ID: u64>(item: &Arc<T>) -> bool
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasDelayedWork<T, ID> + Send + Sync,
{
    let item = Arc::as_ptr(item).cast_mut();

    // SAFETY: `item` is valid.
    let work = unsafe { Work::raw_get(T::raw_get_work(item)) };

    // SAFETY: The work item is part of a delayed one, as `T: HasDelayedWork` says.
    let delayed = unsafe { container_of!(work, bindings::delayed_work, work) };

    // SAFETY: The delayed work item was initialised when `item` was.
    let pending = unsafe { bindings::cancel_delayed_work_sync(delayed) };
    if pending {
        // SAFETY: As in `cancel`; the work item was pending in its timer or in its workqueue.
        drop(unsafe { Arc::from_raw(item.cast_const()) });
    }
    pending
}

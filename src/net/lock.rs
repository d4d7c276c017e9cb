// SPDX-License-Identifier: GPL-2.0

//! A spinlock that keeps bottom halves out.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use crate::bindings;
use kernel::{
    prelude::*,
    sync::lock::{
        Backend,
        Lock, //
    },
};

/// A spinlock for state that process context and BH share.
///
/// Bottom halves of this CPU are off while it is held, so that a bottom half that wants the lock
/// cannot interrupt its holder. It may be taken in process context and in BH, not in a hard
/// interrupt and not with interrupts off. Made with
/// `SpinLockBh::new(value, c"name", static_lock_class!())`.
pub(crate) type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// The backend of [`SpinLockBh`]: `spin_lock_bh()` and `spin_unlock_bh()`.
pub(crate) struct SpinLockBhBackend;

// SAFETY: A kernel `spinlock_t` ensures mutual exclusion: one owner at a time, and the same
// functions are used to lock and to relock.
unsafe impl Backend for SpinLockBhBackend {
    type State = bindings::spinlock_t;
    type GuardState = ();

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: The safety requirements ensure that `ptr` is valid for writes, and that `name`
        // and `key` are valid for ever.
        unsafe { bindings::rvsock_spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The safety requirements ensure that `ptr` was initialised by `init`.
        unsafe { bindings::rvsock_spin_lock_bh(ptr) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        // SAFETY: The safety requirements ensure that `ptr` was initialised by `init`.
        unsafe { bindings::rvsock_spin_trylock_bh(ptr) }.then_some(())
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &Self::GuardState) {
        // SAFETY: The safety requirements ensure that the caller owns the lock.
        unsafe { bindings::rvsock_spin_unlock_bh(ptr) }
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The safety requirements ensure that `ptr` was initialised by `init`.
        unsafe { bindings::rvsock_spin_assert_is_held(ptr) }
    }
}

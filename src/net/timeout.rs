// SPDX-License-Identifier: GPL-2.0

//! How long a system call may still sleep.
//!
//! C headers: [`include/linux/sched.h`](srctree/include/linux/sched.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h)

use crate::bindings;
use kernel::{
    prelude::*,
    time::Jiffies, //
};

/// What is left of the time that a call may sleep.
///
/// One value serves a whole call: each sleep takes its time off, so that a call that sleeps many
/// times ends when its time is up, and not later with each wake-up.
///
/// # Invariants
///
/// The number of jiffies is within `0..=MAX_SCHEDULE_TIMEOUT`, the latter meaning no limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeout(c_long);

impl Timeout {
    /// No limit: only an event or a signal ends the sleep.
    pub(crate) const NONE: Self = Self(bindings::MAX_SCHEDULE_TIMEOUT);
    /// No sleep at all.
    pub(crate) const ZERO: Self = Self(0);

    /// A limit of so many jiffies. What C cannot express becomes no limit.
    pub(crate) fn from_jiffies(jiffies: Jiffies) -> Self {
        // INVARIANT: A number that fits into a `c_long` is at most `MAX_SCHEDULE_TIMEOUT`, which
        // is the largest `c_long`.
        Self(c_long::try_from(jiffies).unwrap_or(bindings::MAX_SCHEDULE_TIMEOUT))
    }

    /// Takes C's `long timeo`. What is negative counts as nothing left, as in
    /// `schedule_timeout()`.
    pub(super) fn from_raw(jiffies: c_long) -> Self {
        // INVARIANT: `max` keeps it from being negative.
        Self(jiffies.max(0))
    }

    /// The number in C's representation.
    pub(super) fn into_raw(self) -> c_long {
        self.0
    }

    /// Whether nothing is left: the caller may not sleep (again).
    pub(crate) const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// What a call interrupted by a signal fails with: `ERESTARTSYS` if there is no limit, so that
    /// it may be restarted, `EINTR` otherwise (`sock_intr_errno()`).
    pub(crate) fn interrupted_error(self) -> Error {
        if self == Self::NONE {
            ERESTARTSYS
        } else {
            EINTR
        }
    }
}

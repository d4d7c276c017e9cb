// SPDX-License-Identifier: GPL-2.0

//! The events of `poll(2)` and `epoll(7)`.
//!
//! C header: [`include/uapi/linux/eventpoll.h`](srctree/include/uapi/linux/eventpoll.h)

use crate::bindings;
use core::ops::{
    BitOr,
    BitOrAssign, //
};

/// A set of poll events: what a socket is ready for, or what just happened to it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct PollEvents(bindings::__poll_t);

impl PollEvents {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);
    /// Data can be read (`EPOLLIN`).
    pub(crate) const IN: Self = Self(bindings::EPOLLIN);
    /// Data can be written (`EPOLLOUT`).
    pub(crate) const OUT: Self = Self(bindings::EPOLLOUT);
    /// An error waits to be read (`EPOLLERR`).
    pub(crate) const ERR: Self = Self(bindings::EPOLLERR);
    /// Both directions have ended (`EPOLLHUP`).
    pub(crate) const HUP: Self = Self(bindings::EPOLLHUP);
    /// Normal data can be read (`EPOLLRDNORM`): set wherever `IN` is.
    pub(crate) const RDNORM: Self = Self(bindings::EPOLLRDNORM);
    /// Normal data can be written (`EPOLLWRNORM`): set wherever `OUT` is.
    pub(crate) const WRNORM: Self = Self(bindings::EPOLLWRNORM);
    /// Priority data can be written (`EPOLLWRBAND`): set wherever `OUT` is, by custom.
    pub(crate) const WRBAND: Self = Self(bindings::EPOLLWRBAND);
    /// The peer writes no more (`EPOLLRDHUP`).
    pub(crate) const RDHUP: Self = Self(bindings::EPOLLRDHUP);

    /// Whether this set is empty.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The mask in C's representation.
    pub(super) const fn into_raw(self) -> bindings::__poll_t {
        self.0
    }
}

impl BitOr for PollEvents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for PollEvents {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

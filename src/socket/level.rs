// SPDX-License-Identifier: GPL-2.0

//! How much there is for the calls that sleep on a socket, and why each of them was woken.

use super::{
    state::State,
    Vsock, //
};
use crate::net::{
    sock::Sock,
    trace,
    wait::{
        Supply,
        WokenBy, //
    },
};
use crate::protocol::wake::{
    Ask,
    WakeReason, //
};
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Full,
    Relaxed,
    Release, //
};

/// What a call sleeps for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Call {
    /// Bytes that can be read; for a listener, connections that can be accepted.
    Receive,
    /// Credit, and room for what it lets pass.
    Send,
    /// The answer to a request for a connection.
    Connect,
}

impl Call {
    /// A name for each, in the order of their numbers.
    pub(super) const NAMES: [&'static str; 3] = ["receive", "send", "connect"];
}

/// What calls of one kind find, published for their wake function.
pub(super) struct Level {
    call: Call,
    available: Atomic<u32>,
    /// The most that can be expected to be available at once.
    window: Atomic<u32>,
    /// Why no more will come: a [`WakeReason`] above 0, or 0 while more may come.
    end: Atomic<i8>,
    /// What is available cannot be used at the moment.
    blocked: Atomic<bool>,
    /// Nothing has come for a while: the first sleeper is to take what there is.
    stalled: Atomic<bool>,
    /// How often a call slept and was woken.
    woken: [Atomic<u32>; WakeReason::COUNT],
}

impl Supply for Level {
    type Protocol = Vsock;
    type Need = Ask;
    type Reason = WakeReason;

    fn met(&self, ask: &Ask) -> Option<WakeReason> {
        let (available, window) = (self.usable(), self.window());
        if available >= ask.need(window) {
            Some(ask.reason(window))
        } else if available > 0 && ask.peek.is_none() && self.stalled.load(Relaxed) {
            Some(WakeReason::Stalled)
        } else {
            None
        }
    }

    fn ended(&self) -> Option<WakeReason> {
        let number = self.end.load(Acquire) as usize;
        WakeReason::ALL.get(number.checked_sub(1)?).copied()
    }

    fn woke(&self, sock: &Sock<Vsock>, state: &State, ask: &Ask, by: WokenBy<WakeReason>) {
        let reason = match by {
            WokenBy::Supply(reason) => reason,
            WokenBy::Signal => WakeReason::Signal,
            WokenBy::Timeout => WakeReason::Timeout,
        };
        if let Some(count) = self.woken.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
        sock.shared().context.count_woken(self.call, reason);
        let (local, peer) = state.ports();
        trace::woke(
            sock,
            &trace::Woke {
                local_port: local.0,
                peer_port: peer.0,
                call: self.call as u32,
                len: ask.len,
                target: ask.target,
                done: ask.done,
                available: self.available.load(Relaxed) as usize,
                reason: reason as u32,
            },
        );
    }
}

impl Level {
    /// That of a new socket: so much is there, and whether nothing more will come.
    pub(super) fn new(call: Call, available: usize, ended: bool) -> Self {
        let end = if ended {
            Self::end_by(WakeReason::Shutdown)
        } else {
            0
        };
        Level {
            call,
            available: Atomic::new(Self::count(available)),
            window: Atomic::new(1),
            end: Atomic::new(end),
            blocked: Atomic::new(false),
            stalled: Atomic::new(false),
            woken: [const { Atomic::new(0) }; WakeReason::COUNT],
        }
    }

    /// What is told of so much, which no window is above.
    fn count(available: usize) -> u32 {
        u32::try_from(available).unwrap_or(u32::MAX)
    }

    /// What [`Level::end`] is after the end by `reason`.
    fn end_by(reason: WakeReason) -> i8 {
        reason as i8 + 1
    }

    /// What is available, as far as it can be used at the moment. Any context.
    pub(super) fn usable(&self) -> usize {
        if self.blocked.load(Relaxed) {
            0
        } else {
            self.available.load(Relaxed) as usize
        }
    }

    /// The most that can be expected to be available at once. Any context.
    pub(super) fn window(&self) -> u32 {
        self.window.load(Relaxed)
    }

    /// Publishes what there is, and why no more will come, if none will; `arrived` tells that
    /// something new came. Returns whether a sleeper may find its need met by the change.
    ///
    /// With the socket's lock held, in any of its forms.
    pub(super) fn publish(
        &self,
        available: usize,
        window: u32,
        arrived: bool,
        end: Option<WakeReason>,
    ) -> bool {
        let ends = end.is_some() && self.ended().is_none();
        let wider = window != self.window();
        self.window.store(window, Relaxed);
        let more = self.publish_level(available, arrived) || wider || ends;
        match end {
            None => self.end.store(0, Release),
            // The first reason stays.
            Some(reason) if ends => self.end.store(Self::end_by(reason), Release),
            Some(_) => {}
        }
        more
    }

    /// [`Level::publish`] where there is only more or less of it.
    pub(super) fn publish_level(&self, available: usize, arrived: bool) -> bool {
        if arrived {
            self.stalled.store(false, Relaxed);
        }
        let available = Self::count(available);
        let more = available > self.available.load(Relaxed);
        self.available.store(available, Relaxed);
        more
    }

    /// Nothing has come for a while. To be followed by a wake-up. With the socket's lock held, in
    /// any of its forms.
    pub(super) fn stall(&self) {
        self.stalled.store(true, Relaxed);
    }

    /// Whether nothing had come for a while; not any longer, after this. With the socket's lock
    /// held, in any of its forms.
    pub(super) fn take_stall(&self) -> bool {
        let stalled = self.stalled.load(Relaxed);
        self.stalled.store(false, Relaxed);
        stalled
    }

    /// What is available cannot be used. A full barrier.
    pub(super) fn block(&self) {
        self.blocked.xchg(true, Full);
    }

    /// It can be used again. Returns whether it could not. A full barrier.
    pub(super) fn unblock(&self) -> bool {
        self.blocked.xchg(false, Full)
    }

    /// Whether what is available cannot be used. Any context.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    /// How often a call slept and was woken, by reason. Any context.
    pub(super) fn woken(&self) -> [u32; WakeReason::COUNT] {
        let mut counts = [0; WakeReason::COUNT];
        for (count, woken) in counts.iter_mut().zip(&self.woken) {
            *count = woken.load(Relaxed);
        }
        counts
    }
}

// SPDX-License-Identifier: GPL-2.0

//! How many bytes a sleeping reader needs, and when the peer is to hear of free buffer space.
//!
//! A reader is woken once, when its request can be met. That works only if the peer may send as
//! much, so both questions belong together: nobody sleeps for bytes that the peer is not allowed
//! to send.

use super::credit::{empty_limit, ReceiveCredit};

/// Why a call that slept was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WakeReason {
    /// What it wants is there: all of it, or the rest of what is more than the window.
    Target,
    /// It wants more than the window, and as much as is to be waited for at once is there.
    Window,
    /// Much is there, and nothing has come for a while.
    Stalled,
    /// No more will come, in order: an end was shut down or closed.
    Shutdown,
    /// No more will come: the connection was lost, or not made.
    Error,
    /// A signal.
    Signal,
    /// The time is up.
    Timeout,
}

impl WakeReason {
    /// How many reasons there are.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [WakeReason; 7] = [
        WakeReason::Target,
        WakeReason::Window,
        WakeReason::Stalled,
        WakeReason::Shutdown,
        WakeReason::Error,
        WakeReason::Signal,
        WakeReason::Timeout,
    ];

    /// A name for each reason, in the order of their numbers.
    pub(crate) const NAMES: [&'static str; Self::COUNT] = [
        "target", "window", "stalled", "shutdown", "error", "signal", "timeout",
    ];
}

/// What a call that sleeps asks for, in bytes, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// What the caller has room for, or has to send.
    pub(crate) len: usize,
    /// The least that the whole call wants, as [`target`] has it.
    pub(crate) target: usize,
    /// What it has by now.
    pub(crate) done: usize,
    /// Whether it wants all of `len`, whatever `SO_RCVLOWAT` is (`MSG_WAITALL`).
    pub(crate) wait_all: bool,
    /// Where it begins, if it leaves in the queue what it sees, and so cannot make room (`MSG_PEEK`):
    /// so many bytes behind the first.
    pub(crate) peek: Option<usize>,
}

impl From<usize> for Ask {
    /// So many, all at once.
    fn from(len: usize) -> Self {
        Ask {
            len,
            target: len,
            done: 0,
            wait_all: true,
            peek: None,
        }
    }
}

impl Ask {
    /// What is left of the target.
    pub(crate) fn wanted(&self) -> usize {
        self.target.saturating_sub(self.done)
    }

    /// How much has to be queued before it is worth to go on. At least 1.
    pub(crate) fn need(&self, window: u32) -> usize {
        match self.peek {
            // It waits for what the queue can hold behind that place.
            Some(skip) => {
                let most = (window as usize).saturating_sub(skip).max(1);
                skip.saturating_add(self.wanted().clamp(1, most))
            }
            None => need(self.wanted(), window),
        }
    }

    /// Why it is to be woken when its need is met: because nothing is left to be waited for, or
    /// because the window holds no more.
    pub(crate) fn reason(&self, window: u32) -> WakeReason {
        if self.peek.unwrap_or(0).saturating_add(self.wanted()) > window as usize {
            WakeReason::Window
        } else {
            WakeReason::Target
        }
    }

    /// Takes note of `bytes` that another call has taken out of the queue.
    pub(crate) fn taken(&mut self, bytes: usize) {
        if let Some(skip) = &mut self.peek {
            *skip = skip.saturating_sub(bytes);
        }
    }

    /// Takes note of a changed `SO_RCVLOWAT`: a lower one binds a call that sleeps already, a
    /// higher one does not.
    pub(crate) fn lower(&mut self, low_water: usize) {
        self.target = self.target.min(target(self.len, self.wait_all, low_water));
    }
}

/// The most that can be expected to be queued at once: a peer keeps within the buffer it was
/// told of, and many (the C implementation among them) within their own as well. At least 1.
pub(crate) fn window(own_buf_alloc: u32, peer_buf_alloc: u32) -> u32 {
    own_buf_alloc.min(peer_buf_alloc).max(1)
}

/// The least that a call wants before it returns, as `sock_rcvlowat` has it: all of `len` for
/// `MSG_WAITALL`, otherwise `SO_RCVLOWAT` as far as `len` goes. At least 1 byte.
pub(crate) fn target(len: usize, wait_all: bool, low_water: usize) -> usize {
    if wait_all { len } else { low_water.min(len) }.max(1)
}

/// How many queued bytes wake a reader that still wants `wanted` bytes.
///
/// What fits the window is waited for as a whole: one wake-up. Beyond it the reader wakes at
/// half of the window, drains it and waits again, so that the peer can refill one half while the
/// other is being read.
pub(crate) fn need(wanted: usize, window: u32) -> usize {
    let window = window as usize;
    if wanted <= window {
        wanted.max(1)
    } else {
        (window / 2).max(1)
    }
}

/// How many queued bytes make a socket readable for poll: `SO_RCVLOWAT`, as far as the window
/// can hold it.
pub(crate) fn readable_at(low_water: usize, window: u32) -> usize {
    low_water.clamp(1, window.max(1) as usize)
}

/// Tells whether the peer may be waiting, if nothing arrives for a while: when so much is queued, or
/// was read without its knowledge, it may have a limit of its own that it does not tell.
pub(crate) fn may_stall(outstanding: usize, window: u32) -> bool {
    outstanding >= (window as usize / 4).max(1)
}

/// Tells whether the peer is to hear of free space before a reader sleeps for `need` bytes.
///
/// It is, if what is queued and what the peer knows it may send do not make up the need.
pub(crate) fn announce_before_sleep(credit: &ReceiveCredit, window: u32, need: usize) -> bool {
    let reachable = credit.queued().saturating_add(credit.known_free(window));
    credit.unannounced() > 0 && (reachable as usize) < need
}

/// Tells whether the peer is to hear of free space after a read.
///
/// Half of the window keeps a stream flowing with few updates. And whoever polls for `low_water` bytes
/// does not call again, so the peer must already be allowed to send these.
pub(crate) fn announce_after_read(credit: &ReceiveCredit, window: u32, low_water: usize) -> bool {
    credit.unannounced() >= (window / 2).max(1)
        || announce_before_sleep(credit, window, readable_at(low_water, window))
}

/// Tells whether the peer of a message socket is to hear of free space. `drained` tells that no
/// whole message is queued, and `peer_waits` that the peer asked and may still want more.
///
/// A quarter of the window keeps messages flowing with few updates. But a message can be as large
/// as the window: a peer that waits for that much, and one that has sent a part of a message, must
/// not wait for a reader that has nothing to read.
pub(crate) fn announce_space_for_messages(
    credit: &ReceiveCredit,
    window: u32,
    drained: bool,
    peer_waits: bool,
) -> bool {
    let bytes = credit.unannounced();
    let empty = credit.empty_unannounced();
    let much =
        bytes >= (window / 4).max(1) || empty >= (empty_limit(credit.buf_alloc()) / 4).max(1);
    let waited_for = peer_waits || credit.queued() > 0;
    much || (drained && waited_for && (bytes > 0 || empty > 0))
}

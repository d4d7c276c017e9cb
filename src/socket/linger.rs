// SPDX-License-Identifier: GPL-2.0

//! A close that waits until all was handed on that was sent.
//!
//! Source: socket(7) (`SO_LINGER`).

use super::{
    state::State,
    Vsock, //
};
use crate::net::{
    guard::Owned,
    sock::Sock,
    wait::{
        NeedQueue,
        Supply,
        WokenBy, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        static_lock_class,
    },
};

/// Whether there is still something to wait for.
pub(super) struct Unsent {
    over: Atomic<bool>,
}

impl Supply for Unsent {
    type Protocol = Vsock;
    type Need = ();
    type Reason = ();

    fn met(&self, _need: &()) -> Option<()> {
        None
    }

    fn ended(&self) -> Option<()> {
        self.over.load(Acquire).then_some(())
    }

    fn woke(&self, _sock: &Sock<Vsock>, _state: &State, _need: &(), _by: WokenBy<()>) {}
}

/// Who lingers in a close: one task, the last that has the socket.
#[pin_data]
pub(super) struct Lingering {
    #[pin]
    queue: NeedQueue<Unsent>,
}

impl Lingering {
    pub(super) fn new() -> impl PinInit<Self> {
        let unsent = Unsent {
            over: Atomic::new(false),
        };
        pin_init!(Self {
            queue <- NeedQueue::new(unsent, c"rvsock lingering", static_lock_class!()),
        })
    }

    /// Nothing of what was sent is left with the device, or no connection that it was sent on: ends
    /// the wait, if there is one. Any context but a hard interrupt.
    pub(super) fn end(&self) {
        // Whoever comes later looks for itself before it sleeps.
        if self.queue.has_sleepers() {
            self.queue.supply().over.store(true, Release);
            self.queue.wake();
        }
    }
}

/// Waits, if `SO_LINGER` asks for it, until the device has taken all that was sent, or there is no
/// connection any more. What the peer has not read is not waited for.
pub(super) fn linger(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>) {
    let mut timeout = sock.linger();
    if timeout.is_zero() || !is_worth_it(sock, state) {
        return;
    }
    sock.shared().lingering.queue.with_turn((), |turn| {
        // Looked at again with the turn in the queue: who ends the wait from now on sees it.
        if is_worth_it(sock, state) {
            // However that ends, the socket is closed now.
            let _ = turn.sleep(state, &mut timeout);
        }
    });
}

fn is_worth_it(sock: &Sock<Vsock>, state: &mut State) -> bool {
    sock.unsent() > 0 && state.connected().is_ok_and(|link| !link.has_ended())
}

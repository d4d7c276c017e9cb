// SPDX-License-Identifier: GPL-2.0

//! What a socket's one timer is for.
//!
//! Three things can be waited for at the same time, each until a moment of its own. The timer is
//! set for the earliest; one that fires for something that is no longer due changes nothing.

use super::{
    state::{
        Stage,
        State, //
    },
    Vsock, //
};
use crate::net::sock::Sock;
use crate::protocol::{
    packet::{
        Control,
        SocketType, //
    },
    wake, //
};
use kernel::time::{
    msecs_to_jiffies,
    Delta,
    Instant,
    Monotonic,
    Msecs, //
};

/// How long nothing may arrive before a sleeping reader takes what is queued, in milliseconds. Long
/// enough for a peer that was only held up not to cost its reader another wake-up.
const STALL_MS: Msecs = 200;

/// How long the peer is given to answer a sender that has no credit before it is asked again: at
/// first, and at most, in milliseconds.
const ASK_MS: Msecs = 10;
const ASK_AT_MOST_MS: Msecs = 1000;

/// How often a peer is asked without delay, at the most, once it had to be asked before it told of
/// credit. Then it has another chance to do so by itself, which saves two packets.
const ASK_AT_ONCE: u8 = 16;

/// How much too early a timer may seem to fire, in milliseconds: jiffies are counted from their
/// beginning.
const EARLY_MS: i64 = 10;

type Moment = Option<Instant<Monotonic>>;

/// The moments that a socket waits for.
#[derive(Default)]
pub(super) struct Alarms {
    /// The answer to a request or to a close is overdue.
    answer: Moment,
    /// Nothing has arrived for a while, although much is queued and a reader sleeps; or the peer is to
    /// be told of what was read.
    stall: Moment,
    /// The peer is to be asked for credit.
    ask: Moment,
    /// How long after that it is to be asked again, in milliseconds.
    ask_interval: Msecs,
    /// It was asked since credit was last used up.
    asked: bool,
    /// For how many bytes, at the most.
    asked_for: usize,
    /// How many more times it is asked as soon as a sender has to wait.
    ask_at_once: u8,
    /// How many times it was since it last told of credit by itself, as far as is known.
    silent_for: u8,
    /// A sender waits for what the peer says by itself.
    listening: bool,
}

fn after(ms: Msecs) -> Moment {
    Some(Instant::now() + Delta::from_millis(i64::from(ms)))
}

/// Takes a moment out if it has come.
fn take_if_due(moment: &mut Moment) -> bool {
    let early = Delta::from_millis(EARLY_MS);
    moment
        .take_if(|at| !(Instant::now() - *at + early).is_negative())
        .is_some()
}

impl Alarms {
    /// Sets the timer for the earliest moment. One that has none goes on and finds nothing due.
    fn arm(&self, sock: &Sock<Vsock>) {
        let now = Instant::now();
        let earliest = [self.answer, self.stall, self.ask]
            .into_iter()
            .flatten()
            .map(|at| (at - now).as_millis().max(0))
            .min();
        if let Some(ms) = earliest {
            // At most the longest timeout that was set, which is a `Msecs`.
            sock.arm_timer(msecs_to_jiffies(Msecs::try_from(ms).unwrap_or(Msecs::MAX)));
        }
    }
}

impl State {
    /// Waits for the answer to a request or to a close.
    pub(super) fn await_answer(&mut self, sock: &Sock<Vsock>, ms: Msecs) {
        self.alarms.answer = after(ms);
        self.alarms.arm(sock);
    }

    /// The same for a call that is made again: it was limited when it was made first.
    pub(super) fn go_on_awaiting_answer(&mut self, sock: &Sock<Vsock>, ms: Msecs) {
        if self.alarms.answer.is_none() {
            self.await_answer(sock, ms);
        }
    }

    /// Nothing of what the timer was set for is waited for any longer.
    pub(super) fn end_alarms(&mut self, sock: &Sock<Vsock>) {
        self.alarms = Alarms::default();
        sock.stop_timer();
    }

    /// A sender has used up its credit. If none comes soon, the peer is asked for it: some announce
    /// free space only by a rule of their own, and whoever polls for it does not call again.
    pub(super) fn used_up_credit(&mut self, sock: &Sock<Vsock>) {
        if self.link_mut().is_none_or(|link| link.is_local()) {
            return;
        }
        self.alarms.asked = false;
        self.ask_soon(sock);
    }

    /// The peer is to be asked for credit, if none comes meanwhile.
    fn ask_soon(&mut self, sock: &Sock<Vsock>) {
        self.alarms.ask = after(ASK_MS);
        self.alarms.ask_interval = ASK_MS;
        self.alarms.arm(sock);
    }

    /// A sender is about to sleep until it may send `bytes`: if it may not now, the peer is asked for
    /// credit unless that comes soon, and again at growing intervals until there is as much. One that
    /// is known to say nothing by itself is asked at once.
    pub(super) fn ask_until_credit_comes(&mut self, sock: &Sock<Vsock>, bytes: usize) {
        self.alarms.asked_for = self.alarms.asked_for.max(bytes);
        if let Some(left) = self.alarms.ask_at_once.checked_sub(1) {
            self.alarms.ask_at_once = left;
            self.alarms.ask_interval = ASK_MS;
            self.ask_for_credit(sock);
            return;
        }
        if self.alarms.listening {
            // It had not to be asked the last time.
            self.alarms.silent_for = 0;
        }
        self.alarms.listening = true;
        if self.alarms.ask.is_none() {
            self.ask_soon(sock);
        }
    }

    /// The peer had to be asked for credit, for which a sender may have waited.
    fn had_to_ask(&mut self) {
        let alarms = &mut self.alarms;
        if core::mem::take(&mut alarms.listening) {
            alarms.silent_for = alarms.silent_for.saturating_mul(2).clamp(1, ASK_AT_ONCE);
            alarms.ask_at_once = alarms.silent_for;
        }
    }

    /// A message was sent: whoever has no room for the next one asks at once.
    pub(super) fn found_credit(&mut self) {
        self.alarms.asked = false;
    }

    /// A sender that does not wait found no credit: the peer is asked for it now, and again later;
    /// not with every call, which may come in any number.
    pub(super) fn found_no_credit(&mut self, sock: &Sock<Vsock>) {
        if !self.alarms.asked {
            self.alarms.ask_interval = ASK_MS;
            self.ask_for_credit(sock);
        }
    }

    /// Asks the peer for credit, and will again, unless there is as much as was wanted. Returns whether
    /// it was asked.
    fn ask_for_credit(&mut self, sock: &Sock<Vsock>) -> bool {
        self.alarms.ask = None;
        let wanted = self.writable_at.max(self.alarms.asked_for);
        let Stage::Connected(link) = &mut self.stage else {
            return false;
        };
        if !link.may_have_to_ask() || link.is_writable(wanted) || link.wire.send_ended() {
            self.alarms.asked_for = 0;
            return false;
        }
        link.send_control(sock, Control::CreditRequest);
        self.alarms.asked = true;
        let interval = self.alarms.ask_interval;
        self.alarms.ask = after(interval);
        self.alarms.ask_interval = interval.saturating_mul(2).min(ASK_AT_MOST_MS);
        self.alarms.arm(sock);
        true
    }

    /// Something arrived, or a reader is about to sleep: if it sleeps although much is queued, it is
    /// to be seen whether more comes.
    pub(super) fn watch_for_stall(&mut self, sock: &Sock<Vsock>) {
        if self.may_stall(sock) {
            self.alarms.stall = after(STALL_MS);
            self.alarms.arm(sock);
        }
    }

    fn may_stall(&self, sock: &Sock<Vsock>) -> bool {
        let Stage::Connected(link) = &self.stage else {
            return false;
        };
        // A part of a message is of no use to a reader.
        link.wire.kind() == SocketType::Stream
            && !link.is_local()
            && wake::may_stall(link.queue.len(), link.wire.window())
            && sock.shared().published.readers.has_sleepers()
    }

    /// Bytes were read of which the peer is not told yet: if they are many, it is in a while.
    pub(super) fn tell_later(&mut self, sock: &Sock<Vsock>) {
        if self.alarms.stall.is_none() && self.has_much_to_tell() {
            self.alarms.stall = after(STALL_MS);
            self.alarms.arm(sock);
        }
    }

    fn has_much_to_tell(&self) -> bool {
        let Stage::Connected(link) = &self.stage else {
            return false;
        };
        !link.is_local() && wake::may_stall(link.wire.untold() as usize, link.wire.window())
    }

    /// Nothing has arrived for a while, or not all that was to come.
    fn stalled(&mut self, sock: &Sock<Vsock>) {
        if self.has_much_to_tell() {
            if let Some(link) = self.link_mut() {
                link.send_control(sock, Control::CreditUpdate);
            }
        }
        if self.may_stall(sock) {
            let readers = &sock.shared().published.readers;
            readers.supply().stall();
            readers.wake_when_free(sock);
        }
    }

    /// The timer of the socket expired. BH, or when the owner lets go of the socket: the spinlock is
    /// held.
    pub(super) fn expired(&mut self, sock: &Sock<Vsock>) {
        if take_if_due(&mut self.alarms.answer) {
            if let Some(link) = self.link_mut() {
                if let Some(control) = link.wire.timeout() {
                    link.send_control(sock, control);
                }
            }
        }
        if take_if_due(&mut self.alarms.stall) {
            self.stalled(sock);
        }
        if take_if_due(&mut self.alarms.ask) && self.ask_for_credit(sock) {
            self.had_to_ask();
        }
        self.alarms.arm(sock);
        self.settle(sock, false);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Receiving from a stream: dequeue, wait, wake.
//!
//! A reader that finds less than it wants says how much it needs and sleeps until that is there.
//! What it takes is decided in one order: data, the end of the stream, an error, a signal, the
//! timeout.
//!
//! Source: recv(2), socket(7) (`SO_RCVLOWAT`, `SO_RCVTIMEO`).

use super::{
    level::Level,
    link::Link,
    state::State,
    Vsock, //
};
use crate::net::{
    control::Arrival,
    guard::Owned,
    message::{
        MsgFlags,
        ReceiveMessage, //
    },
    sock::Sock,
    timeout::Timeout,
    wait::{
        Turn,
        Woken, //
    },
};
use crate::protocol::wake::{
    self,
    Ask, //
};
use kernel::prelude::*;

/// What becomes of the bytes that a call receives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They are copied to the caller.
    Take,
    /// They are copied and stay in the queue (`MSG_PEEK`).
    Peek,
    /// They are not copied (`MSG_TRUNC`).
    Discard,
}

/// A `recv` under way.
struct Call<'a, 'm> {
    sock: &'a Sock<Vsock>,
    message: &'a mut ReceiveMessage<'m>,
    mode: Mode,
    /// `MSG_WAITALL`
    wait_all: bool,
    /// What the caller has room for, in bytes.
    len: usize,
    /// The least that it waits for, in bytes.
    target: usize,
    /// What it got so far, in bytes.
    done: usize,
    /// The caller's memory took less than was there.
    fault: bool,
    /// When the last of the bytes had arrived, if that is noted.
    arrival: Arrival,
}

/// `recv(2)` on a stream.
///
/// # Errors
///
/// `ENOTCONN`; `EAGAIN`, `EINTR`, `EFAULT` if there is no byte to return instead; once `ECONNRESET`
/// after a connection's last byte, if it did not end in order.
pub(super) fn receive(
    sock: &Sock<Vsock>,
    message: &mut ReceiveMessage<'_>,
    len: usize,
    flags: MsgFlags,
) -> Result<usize> {
    let mut timeout = sock.receive_timeout(flags.contains(MsgFlags::DONTWAIT));
    let wait_all = flags.contains(MsgFlags::WAITALL);
    let mut call = Call {
        wait_all,
        sock,
        message,
        mode: if flags.contains(MsgFlags::PEEK) {
            Mode::Peek
        } else if flags.contains(MsgFlags::TRUNC) {
            Mode::Discard
        } else {
            Mode::Take
        },
        len,
        target: wake::target(len, wait_all, sock.receive_low_water()),
        done: 0,
        fault: false,
        arrival: Arrival::NOT_NOTED,
    };
    let mut state = sock.lock();
    state.connected()?;
    if len == 0 {
        return Ok(0);
    }
    // Whoever sleeps already comes first, unless this call does not want to wait at all.
    if timeout.is_zero() || !sock.shared().published.readers.has_sleepers() {
        while !call.is_over() && call.is_met(&mut state)? {
            call.take(&mut state)?;
            if call.is_at_end(&mut state)? {
                break;
            }
        }
    }
    let ended = call.is_at_end(&mut state)?;
    let reason = if call.is_over() || ended {
        None
    } else if timeout.is_zero() {
        call.take(&mut state)?;
        Some(EAGAIN)
    } else {
        call.wait(&mut state, &mut timeout)?
    };
    call.help_next(&mut state)?;
    let received = call.result(reason)?;
    let (arrival, left) = (call.arrival, state.connected()?.queue.len());
    // The caller's memory is not touched with the socket owned for no reason.
    drop(state);
    if received > 0 {
        message.put_arrival(sock, arrival);
    }
    message.put_left(left, sock.shared().options.tells_what_is_left());
    Ok(received)
}

impl Call<'_, '_> {
    /// Whether the call has what it asked for, or can take no more.
    fn is_over(&self) -> bool {
        self.done >= self.target || self.fault
    }

    /// What it says that it asks for when it sleeps.
    fn ask(&self) -> Ask {
        Ask {
            len: self.len,
            target: self.target,
            done: self.done,
            wait_all: self.wait_all,
            peek: (self.mode == Mode::Peek).then(|| self.skip()),
        }
    }

    /// How many bytes it passes over: those of earlier looks, with `SO_PEEK_OFF`.
    fn skip(&self) -> usize {
        match self.mode {
            Mode::Peek => self.sock.peek_offset().unwrap_or(0),
            Mode::Take | Mode::Discard => 0,
        }
    }

    /// Whether nothing is queued and nothing more will come.
    fn is_at_end(&self, state: &mut State) -> Result<bool> {
        let link = state.connected()?;
        Ok(link.queue.len() <= self.skip() && link.wire.receive_ended())
    }

    /// How many bytes have to be queued before it is worth to go on.
    fn need(&self, link: &Link) -> usize {
        self.ask().need(link.wire.window())
    }

    /// Whether that is there, or nothing more will come.
    fn is_met(&self, state: &mut State) -> Result<bool> {
        let link = state.connected()?;
        Ok(link.queue.len() >= self.need(link) || link.wire.receive_ended())
    }

    /// Takes what is there.
    fn take(&mut self, state: &mut State) -> Result {
        let link = state.connected()?;
        let skip = self.skip();
        let queue = link.queue.bytes()?;
        let wanted = (self.len - self.done).min(queue.len().saturating_sub(skip));
        if wanted > 0 && self.sock.wants_arrival() {
            self.arrival = queue.arrival_of(skip + wanted - 1);
        }
        let taken = match self.mode {
            Mode::Take => queue.read(self.message.dest(), wanted),
            Mode::Peek => queue.peek(skip, self.message.dest(), wanted),
            Mode::Discard => queue.discard(wanted),
        };
        self.done += taken;
        self.fault = taken < wanted;
        if self.mode == Mode::Peek {
            // There is no second look: it would show the same bytes, or ones behind a gap.
            self.target = self.done;
            self.sock.move_peek_offset(skip + taken);
            return Ok(());
        }
        self.moved_peekers(taken);
        // The queue holds no more than the credit, which is a `u32`.
        if link.wire.read(taken as u32, self.sock.receive_low_water()) {
            link.send_credit(self.sock);
        } else {
            state.tell_later(self.sock);
        }
        state.settle(self.sock, false);
        Ok(())
    }

    /// `taken` bytes were taken out of the queue: whoever looks at what lies behind them has less to
    /// pass over.
    fn moved_peekers(&self, taken: usize) {
        if let Some(offset) = self.sock.peek_offset() {
            self.sock.move_peek_offset(offset.saturating_sub(taken));
            let readers = &self.sock.shared().published.readers;
            readers.revise(&|ask| ask.taken(taken));
            readers.wake_when_free(self.sock);
        }
    }

    /// Sleeps until the call is over. Returns what to fail with if there is no byte to return.
    fn wait(
        &mut self,
        state: &mut Owned<'_, Vsock>,
        timeout: &mut Timeout,
    ) -> Result<Option<Error>> {
        let readers = &self.sock.shared().published.readers;
        // It may have been lowered before the socket was this call's.
        let mut ask = self.ask();
        ask.lower(self.sock.receive_low_water());
        self.target = ask.target;
        readers.with_turn(ask, |turn| loop {
            if !self.is_met(state)? {
                // It may have come while the socket was owned.
                state.flush_backlog();
            }
            let (ready, ask) = turn.look();
            // A lower `SO_RCVLOWAT` binds calls that sleep; a higher one does not.
            self.target = self.target.min(ask.target);
            if ready {
                if self.mode != Mode::Peek && readers.supply().take_stall() {
                    self.sock.shared().context.count_stall();
                }
                self.take(state)?;
                if self.is_over() || self.is_at_end(state)? {
                    return Ok(None);
                }
                // By what it has now.
                turn.set_need(self.ask());
                continue;
            }
            let link = state.connected()?;
            if link.wire.before_sleep(self.need(link)) {
                link.send_credit(self.sock);
            }
            // Much may be queued already, and nothing more come.
            state.watch_for_stall(self.sock);
            let reason = match turn.sleep(state, timeout) {
                Woken::Ready => continue,
                Woken::Signal => timeout.interrupted_error(),
                Woken::TimedOut => EAGAIN,
            };
            // Data go before signals, and signals before timeouts.
            self.take_little(state, turn)?;
            return Ok(Some(reason));
        })
    }

    /// Takes what is there, if it is this call's turn and there is anything at all.
    fn take_little(&mut self, state: &mut State, turn: &Turn<'_, Level>) -> Result {
        turn.set_need(self.skip() + 1);
        if turn.ready() {
            self.take(state)?;
        }
        Ok(())
    }

    /// Who sleeps behind this call measured the peer's credit before this call took from the queue,
    /// and may need more than the peer now believes it may send.
    fn help_next(&self, state: &mut State) -> Result {
        if self.sock.shared().published.readers.has_sleepers() {
            let link = state.connected()?;
            let window = link.wire.window() as usize;
            if link.wire.before_sleep(window) {
                link.send_credit(self.sock);
            }
        }
        Ok(())
    }

    /// What the call returns. `reason` is why it stopped short, if it did.
    fn result(&self, reason: Option<Error>) -> Result<usize> {
        if self.done > 0 {
            return Ok(self.done);
        }
        if self.fault {
            return Err(EFAULT);
        }
        match reason {
            Some(reason) => Err(reason),
            None => self.sock.take_error().map(|()| 0),
        }
    }
}

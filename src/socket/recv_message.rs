// SPDX-License-Identifier: GPL-2.0

//! Receiving messages, one with each call.
//!
//! A message is there when its last packet is: until then there is nothing to read. What a call
//! takes is decided in the order that streams have, too: a message, the end of the connection, an
//! error, a signal, the timeout.
//!
//! Source: recv(2), socket(7); for the length of zero and what follows a fault, the practice of
//! AF_UNIX and of AF_VSOCK.

use super::{
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
    wait::Woken, //
};
use kernel::prelude::*;

/// A `recv` under way.
struct Call<'a, 'm> {
    sock: &'a Sock<Vsock>,
    message: &'a mut ReceiveMessage<'m>,
    flags: MsgFlags,
    /// What the caller has room for, in bytes.
    len: usize,
    /// When the end of the message had arrived, if that is noted.
    arrival: Arrival,
}

/// `recv(2)` on a socket that keeps the boundaries of messages.
///
/// `SO_RCVLOWAT` and `MSG_WAITALL` change nothing: a message is never waited for in vain, and never
/// put together with the next one. A length of zero takes a message as well.
///
/// # Errors
///
/// `ENOTCONN`; `EAGAIN`, `EINTR`; `EFAULT`, and the message is lost unless it was to stay; once
/// `ECONNRESET` after a connection's last message, if it did not end in order.
pub(super) fn receive(
    sock: &Sock<Vsock>,
    message: &mut ReceiveMessage<'_>,
    len: usize,
    flags: MsgFlags,
) -> Result<usize> {
    let mut timeout = sock.receive_timeout(flags.contains(MsgFlags::DONTWAIT));
    let mut call = Call {
        sock,
        message,
        flags,
        len,
        arrival: Arrival::NOT_NOTED,
    };
    let mut state = sock.lock();
    state.connected()?;
    // Whoever sleeps already comes first, unless this call does not want to wait at all.
    let now = if timeout.is_zero() || !sock.shared().published.readers.has_sleepers() {
        call.take(&mut state)?
    } else {
        None
    };
    let received = match now {
        Some(received) => received,
        None if call.is_at_end(&mut state)? => return sock.take_error().map(|()| 0),
        None if timeout.is_zero() => {
            call.make_room(&mut state)?;
            return Err(EAGAIN);
        }
        None => match call.wait(&mut state, &mut timeout)? {
            Some(received) => received,
            None => return sock.take_error().map(|()| 0),
        },
    };
    if sock.shared().published.readers.has_sleepers() {
        // What they need room for was measured before this message was taken.
        call.make_room(&mut state)?;
    }
    let arrival = call.arrival;
    // The caller's memory is not touched with the socket owned for no reason.
    drop(state);
    message.put_arrival(sock, arrival);
    Ok(received)
}

impl Call<'_, '_> {
    /// Whether no message is queued and none will come.
    fn is_at_end(&self, state: &mut State) -> Result<bool> {
        let link = state.connected()?;
        Ok(link.queue.available() == 0 && link.wire.receive_ended())
    }

    /// Takes the first message, or looks at it with `MSG_PEEK`. Returns what the call is to return;
    /// `None` if there is none.
    fn take(&mut self, state: &mut State) -> Result<Option<usize>> {
        let link = state.connected()?;
        let queue = link.queue.messages()?;
        let is_peek = self.flags.contains(MsgFlags::PEEK);
        let taken = if is_peek {
            queue.peek(self.message.dest(), self.len)
        } else {
            queue.take(self.message.dest(), self.len)
        };
        let Some(taken) = taken else {
            return Ok(None);
        };
        self.arrival = taken.arrival;
        if !is_peek {
            // The queue holds no more than the credit, which is a `u32`.
            link.wire.read_message(taken.len as u32, taken.empty_ends);
            let shared = self.sock.shared();
            shared.publish_empty_forwarded(link.wire.empty_forwarded());
            link.tell_of_space(self.sock);
            state.settle(self.sock, false);
        }
        if taken.fault {
            return Err(EFAULT);
        }
        if taken.record {
            self.message.add_flags(MsgFlags::EOR);
        }
        if taken.len > self.len {
            self.message.add_flags(MsgFlags::TRUNC);
        }
        Ok(Some(if self.flags.contains(MsgFlags::TRUNC) {
            taken.len
        } else {
            taken.copied
        }))
    }

    /// Tells the peer of all free space if there is nothing to read: a message may need all of it.
    fn make_room(&self, state: &mut State) -> Result {
        let link = state.connected()?;
        let window = link.wire.window() as usize;
        if link.queue.available() == 0 && link.wire.before_sleep(window) {
            link.send_credit(self.sock);
        }
        Ok(())
    }

    /// Sleeps until there is a message. `None` if none will come.
    fn wait(
        &mut self,
        state: &mut Owned<'_, Vsock>,
        timeout: &mut Timeout,
    ) -> Result<Option<usize>> {
        let readers = &self.sock.shared().published.readers;
        readers.with_turn(1_usize, |turn| {
            // It may have come while the socket was owned.
            state.flush_backlog();
            loop {
                if turn.ready() {
                    let received = self.take(state)?;
                    if received.is_some() || self.is_at_end(state)? {
                        return Ok(received);
                    }
                }
                self.make_room(state)?;
                let reason = match turn.sleep(state, timeout) {
                    Woken::Ready => continue,
                    Woken::Signal => timeout.interrupted_error(),
                    Woken::TimedOut => EAGAIN,
                };
                // Data go before signals, and signals before timeouts.
                if turn.ready() {
                    if let Some(received) = self.take(state)? {
                        return Ok(Some(received));
                    }
                }
                return Err(reason);
            }
        })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Sending on a stream: within the peer's credit, straight to the transport.
//!
//! Source: send(2); virtio specification, 5.10.6.3.

use super::{
    lend::Lent,
    link::Link,
    state::State,
    Vsock, //
};
use crate::net::{
    errno::{
        ECONNRESET,
        EISCONN,
        EOPNOTSUPP, //
    },
    guard::{
        Owned,
        SpinlockFree, //
    },
    message::{
        MsgFlags,
        SendMessage, //
    },
    short::ShortBytes,
    skb::SkBuff,
    sock::Sock,
    timeout::Timeout,
    wait::Woken, //
};
use crate::protocol::packet::HEADER_LEN;
use crate::transport::{
    Delivery,
    Incoming, //
};
use kernel::prelude::*;

/// `send(2)` on a stream.
///
/// # Errors
///
/// `ENOTCONN`; `EISCONN` with an address on a connected socket, `EOPNOTSUPP` on another one; `EPIPE`,
/// with `SIGPIPE`, when one of the ends has shut down, and before it once `ECONNRESET` when the
/// connection did not end in order; `EAGAIN`, `EINTR`, `EFAULT`, `ENOMEM` if no byte was sent. With
/// `MSG_ZEROCOPY`, `ENOMEM` if the caller can lend no more, or not this memory: then no byte was sent.
pub(super) fn send(sock: &Sock<Vsock>, message: &mut SendMessage<'_>, len: usize) -> Result<usize> {
    let flags = message.flags();
    let mut timeout = sock.send_timeout(flags.contains(MsgFlags::DONTWAIT));
    let mut state = sock.lock();
    check_destination(&mut state, message)?;
    let mut sent = 0;
    // What the caller lends, once that is known.
    let mut lent = None;
    let result = loop {
        let (inner, spinlock) = state.split();
        let link = inner.connected()?;
        if sent == len {
            break Ok(());
        }
        if link.wire.send_ended() {
            if sent > 0 {
                // The next call is told.
                break Ok(());
            }
            break sock.take_error().and_then(|()| Err(message.pipe_error()));
        }
        let result = match lent.as_mut().and_then(Lent::next) {
            // There was credit for all that is lent, and the socket was owned since.
            Some(buffer) => transmit(sock, link, spinlock, buffer),
            None => {
                let sendable = link.wire.sendable() as usize;
                if sendable == 0 || sock.shared().published.is_full(sock) {
                    match wait_for_credit(sock, &mut state, &mut timeout) {
                        Ok(()) => continue,
                        Err(error) => break Err(error),
                    }
                }
                if lent.is_none() && message.flags().contains(MsgFlags::ZEROCOPY) {
                    let limits = link.payload_limits();
                    match Lent::new(sock, &state, message, len, sendable, limits) {
                        Ok(new) => lent = Some(new),
                        Err(error) => break Err(error),
                    }
                    continue;
                }
                packet(sock, link, spinlock, message, sendable.min(len - sent))
            }
        };
        match result {
            Ok(0) => refused(sock, &mut state),
            Ok(bytes) => {
                sent += bytes;
                if let Some(lent) = &mut lent {
                    lent.mark_sent();
                }
            }
            Err(error) => break Err(error),
        }
        state.settle(sock, false);
    };
    let used_up = state
        .connected()
        .is_ok_and(|link| sent > 0 && link.wire.sendable() == 0 && !link.wire.send_ended());
    if used_up {
        state.used_up_credit(sock);
    }
    match result {
        // What was sent cannot be taken back, so it is what the caller is told of.
        Err(_) if sent > 0 => Ok(sent),
        Err(error) => Err(error),
        Ok(()) => Ok(sent),
    }
}

/// Whether there is a connection to send on, and no address beside it, which could not change that.
pub(super) fn check_destination(state: &mut State, message: &SendMessage<'_>) -> Result {
    let connection = state.connected().map(|_| ());
    if message.address().is_none() {
        return connection;
    }
    Err(if connection.is_ok() {
        EISCONN
    } else {
        EOPNOTSUPP
    })
}

/// Sends one packet with up to `at_most` bytes, which are within the credit. Returns how many; none if
/// that has shown that the peer is closed.
fn packet(
    sock: &Sock<Vsock>,
    link: &mut Link,
    spinlock: SpinlockFree<'_>,
    message: &mut SendMessage<'_>,
    at_most: usize,
) -> Result<usize> {
    let limits = link.payload_limits().at_most(at_most);
    let splices = message.flags().contains(MsgFlags::SPLICE_PAGES);
    if !splices && link.may_gather(at_most) {
        if let Some(sent) = short(sock, link, spinlock, message, at_most) {
            return Ok(sent);
        }
    }
    if splices {
        match SkBuff::lent(HEADER_LEN, message.source(), limits, GFP_KERNEL_ACCOUNT) {
            Ok(buffer) => return transmit(sock, link, spinlock, buffer),
            Err(error) if error == EOPNOTSUPP => {}
            Err(error) => return Err(error),
        }
    }
    let mut buffer = SkBuff::for_payload(HEADER_LEN, limits, GFP_KERNEL_ACCOUNT)?;
    let room = buffer.room().min(limits.len);
    let filled = buffer.fill_from(message.source(), limits.len);
    if filled > 0 && filled < room / 2 {
        // The caller's memory has ended early. Nobody is to hold so much for so little.
        buffer = shrunk(buffer);
    }
    transmit(sock, link, spinlock, buffer)
}

/// As [`packet`] for few bytes, which are gathered with those that the peer has not read yet. `None` if
/// that cannot be: nothing was sent then.
// Not inlined: what it needs of the stack the caller is not to have while it sleeps.
#[inline(never)]
fn short(
    sock: &Sock<Vsock>,
    link: &mut Link,
    spinlock: SpinlockFree<'_>,
    message: &mut SendMessage<'_>,
    at_most: usize,
) -> Option<usize> {
    let mut short = ShortBytes::<{ Incoming::SHORT }>::new();
    let bytes = short.read(message, at_most);
    let len = bytes.len();
    if len == at_most {
        match link.gather(sock, spinlock, bytes, None) {
            Delivery::Taken => return Some(len),
            Delivery::Closed => return Some(0),
            Delivery::NoRoom => {}
        }
    }
    message.unread(len);
    None
}

/// Sends one packet with the bytes in `buffer`, which are within the credit. Returns how many; none if
/// that has shown that the peer is closed.
fn transmit(
    sock: &Sock<Vsock>,
    link: &mut Link,
    spinlock: SpinlockFree<'_>,
    buffer: SkBuff,
) -> Result<usize> {
    let len = buffer.len();
    // The buffer holds no more than the credit, which is a `u32`.
    let header = link.wire.data(len as u32).ok_or(EFAULT)?;
    if link.send_payload(sock, spinlock, &header, buffer) {
        Ok(len)
    } else {
        Ok(0)
    }
}

/// The peer turned out to be closed: what was sent to it is lost, in order or not, and its word of
/// that is still under way. What it sent before is here already.
pub(super) fn refused(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>) {
    state.flush_backlog();
    if let Ok(link) = state.connected() {
        link.wire.payload_refused();
    }
    sock.set_error(ECONNRESET);
}

/// The same payload in a buffer of its size, if there is memory for one.
fn shrunk(buffer: SkBuff) -> SkBuff {
    let len = buffer.len();
    let Ok(mut small) = SkBuff::with_room(HEADER_LEN, len, GFP_KERNEL_ACCOUNT) else {
        return buffer;
    };
    if small.as_mut().append_range(&buffer, 0, len) {
        small
    } else {
        buffer
    }
}

/// Sleeps until there is credit, and room for what it lets pass, or the connection has ended.
///
/// The timer asks the peer for it meanwhile, again and again: some announce free space only by a
/// rule of their own, and a silent wait for such a one could last for ever.
fn wait_for_credit(
    sock: &Sock<Vsock>,
    state: &mut Owned<'_, Vsock>,
    timeout: &mut Timeout,
) -> Result {
    // It may have come while the socket was owned.
    state.flush_backlog();
    let published = &sock.shared().published;
    published.writers.with_turn(1_usize, |turn| loop {
        let link = state.connected()?;
        let has_credit = link.wire.sendable() > 0;
        if link.wire.send_ended() || (has_credit && !published.is_full(sock)) {
            return Ok(());
        }
        if timeout.is_zero() {
            state.found_no_credit(sock);
            return Err(EAGAIN);
        }
        if !has_credit {
            state.ask_until_credit_comes(sock, 1);
        }
        match turn.sleep(state, timeout) {
            Woken::Ready => return Ok(()),
            Woken::Signal => return Err(timeout.interrupted_error()),
            // What came at the last moment is seen above.
            Woken::TimedOut => {}
        }
    })
}

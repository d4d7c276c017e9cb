// SPDX-License-Identifier: GPL-2.0

//! Sending messages: whole, or not at all.
//!
//! The packets of a message are made first, so that the caller's memory cannot fail in the middle of
//! it, and are sent when the peer's credit covers all of them. So neither a signal nor a timeout ever
//! leaves the peer with half a message.
//!
//! Source: send(2); virtio specification, 5.10.6.3 and 5.10.6.7.

use super::{
    level::Level,
    link::Link,
    send::{
        check_destination,
        refused, //
    },
    Vsock, //
};
use crate::net::{
    errno::{
        EMSGSIZE,
        EOPNOTSUPP, //
    },
    guard::Owned,
    message::{
        MsgFlags,
        SendMessage, //
    },
    short::ShortBytes,
    skb::{
        PayloadLimits,
        SkBuff, //
    },
    skb_queue::SkBuffQueue,
    sock::Sock,
    timeout::Timeout,
    wait::{
        Turn,
        Woken, //
    },
};
use crate::protocol::{
    connection::Room,
    packet::{
        MessageEnd,
        HEADER_LEN, //
    },
};
use crate::transport::{
    Delivery,
    Incoming, //
};
use kernel::prelude::*;

/// A message whose packets are made.
struct Outgoing {
    packets: SkBuffQueue,
    /// Bytes of payload.
    len: usize,
    /// The caller is to be told when its memory is its own again (`MSG_ZEROCOPY`).
    lends: bool,
    /// Some of it was copied all the same.
    copied: bool,
    end: MessageEnd,
}

/// `send(2)` on a socket that keeps the boundaries of messages.
///
/// # Errors
///
/// `ENOTCONN`; `EISCONN` with an address on a connected socket, `EOPNOTSUPP` on another one;
/// `EMSGSIZE` for a message that is larger than the buffer of one of the ends; `EPIPE` when one of
/// the ends has shut down, without a signal, as in vsock and AF_UNIX, and before it once `ECONNRESET`
/// when the connection did not end in order; `EAGAIN`, `EINTR`, `EFAULT`, `ENOMEM`. Whatever fails,
/// nothing was sent, and nothing is read of the message.
pub(super) fn send(sock: &Sock<Vsock>, message: &mut SendMessage<'_>, len: usize) -> Result<usize> {
    let mut state = sock.lock();
    if let Err(error) = send_whole(sock, &mut state, message, len) {
        message.unread(len);
        return Err(error);
    }
    let used_up = state
        .connected()
        .is_ok_and(|link| link.wire.sendable() == 0 && !link.wire.send_ended());
    if used_up {
        state.used_up_credit(sock);
    }
    Ok(len)
}

fn send_whole(
    sock: &Sock<Vsock>,
    state: &mut Owned<'_, Vsock>,
    message: &mut SendMessage<'_>,
    len: usize,
) -> Result {
    let flags = message.flags();
    let mut timeout = sock.send_timeout(flags.contains(MsgFlags::DONTWAIT));
    check_destination(state, message)?;
    let mut fits = has_room(sock, state, len)?;
    if !fits && timeout.is_zero() {
        // It may have come while the socket was owned.
        state.flush_backlog();
        fits = has_room(sock, state, len)?;
        if !fits {
            return Err(would_block(sock, state, len));
        }
    }
    // Without anything to lend, the flag means nothing.
    let lends = len > 0 && sock.lends(message);
    let end = MessageEnd {
        record: flags.contains(MsgFlags::EOR),
    };
    let writers = &sock.shared().published.writers;
    // Whoever sleeps already comes first, unless this call does not want to wait at all.
    let is_next = |timeout: &Timeout| timeout.is_zero() || !writers.has_sleepers();
    let link = state.connected()?;
    let limits = link.payload_limits();
    let may_gather = len > 0 && !lends && link.may_gather(len);
    if fits && may_gather && is_next(&timeout) && short(sock, state, message, len, end)? {
        return Ok(());
    }
    let (packets, copied) = state.unlocked(|| packets(message, len, limits, lends))?;
    let mut outgoing = Outgoing {
        packets,
        len,
        lends,
        copied,
        end,
    };
    if has_room(sock, state, len)? && is_next(&timeout) {
        transmit(sock, state, message, &mut outgoing)
    } else if timeout.is_zero() {
        Err(would_block(sock, state, len))
    } else {
        let result = writers.with_turn(len.max(1), |turn| {
            wait_for_room(sock, state, turn, len, &mut timeout)?;
            transmit(sock, state, message, &mut outgoing)
        });
        ask_for_next(sock, state);
        result
    }
}

/// Makes the packets of a message: payload of `len` bytes, each within `limits`, and at least one.
/// Process context, without the socket's lock.
///
/// With `lends` they are the caller's own memory, as far as that can be: the second result tells
/// whether some of it was copied. Memory that is not there is `ENOMEM` then, as in vsock.
fn packets(
    message: &mut SendMessage<'_>,
    len: usize,
    limits: PayloadLimits,
    lends: bool,
) -> Result<(SkBuffQueue, bool)> {
    let mut packets = SkBuffQueue::new();
    let mut left = len;
    let mut copied = false;
    loop {
        let limits = limits.at_most(left);
        if lends {
            match SkBuff::lent(HEADER_LEN, message.source(), limits, GFP_KERNEL_ACCOUNT) {
                Ok(buffer) => {
                    left -= buffer.len();
                    packets.push_back(buffer);
                    if left == 0 {
                        return Ok((packets, copied));
                    }
                    continue;
                }
                Err(error) if error == EOPNOTSUPP => copied = true,
                Err(_) => return Err(ENOMEM),
            }
        }
        let mut buffer = SkBuff::for_payload(HEADER_LEN, limits, GFP_KERNEL_ACCOUNT)?;
        let wanted = buffer.room().min(limits.len);
        if buffer.fill_from(message.source(), wanted) < wanted {
            return Err(EFAULT);
        }
        packets.push_back(buffer);
        left -= wanted;
        if left == 0 {
            return Ok((packets, copied));
        }
    }
}

/// Whether a message of `len` bytes can be sent now.
fn has_room(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>, len: usize) -> Result<bool> {
    let link = state.connected()?;
    if link.wire.send_ended() {
        return sock.take_error().and(Err(EPIPE));
    }
    link.look_at_empty();
    match link.wire.room_for_message(len) {
        Room::Now => Ok(!sock.shared().published.is_full(sock)),
        Room::Later => Ok(false),
        Room::Never => Err(EMSGSIZE),
    }
}

/// What a call fails with that does not wait. Pollers are told when there is room for as much.
fn would_block(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>, len: usize) -> Error {
    state.writable_at = state.writable_at.max(len);
    state.settle(sock, false);
    state.found_no_credit(sock);
    EAGAIN
}

/// A turn has ended. The peer goes on being asked for what the next one waits for, if there is one.
fn ask_for_next(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>) {
    if sock.shared().published.writers.has_sleepers() {
        // How much that is is not known here, but no more than all that there can be.
        state.ask_until_credit_comes(sock, usize::MAX);
    }
}

/// Sleeps until it is this call's turn and there is room for its message.
///
/// The timer asks the peer for it meanwhile, again and again: it may regard what it has free as too
/// little to tell.
fn wait_for_room(
    sock: &Sock<Vsock>,
    state: &mut Owned<'_, Vsock>,
    turn: &Turn<'_, Level>,
    len: usize,
    timeout: &mut Timeout,
) -> Result {
    // It may have come while the socket was owned.
    state.flush_backlog();
    loop {
        let has_room = has_room(sock, state, len)?;
        // What was found may be more than was published.
        state.settle(sock, false);
        if has_room && (turn.ready() || len == 0) {
            return Ok(());
        }
        if timeout.is_zero() {
            return Err(EAGAIN);
        }
        state.ask_until_credit_comes(sock, len.max(1));
        match turn.sleep(state, timeout) {
            Woken::Ready => {}
            Woken::Signal => return Err(timeout.interrupted_error()),
            // What came at the last moment is seen above.
            Woken::TimedOut => {}
        }
    }
}

/// The peer turned out to be closed: what the call fails with.
fn lost(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>) -> Error {
    refused(sock, state);
    state.settle(sock, false);
    sock.take_error().err().unwrap_or(EPIPE)
}

/// Sends a message of few bytes, for which there is room, if it can be gathered with what the peer has not
/// read yet. Returns whether that was so; nothing was sent if not.
// Not inlined: what it needs of the stack the caller is not to have while it sleeps.
#[inline(never)]
fn short(
    sock: &Sock<Vsock>,
    state: &mut Owned<'_, Vsock>,
    message: &mut SendMessage<'_>,
    len: usize,
    end: MessageEnd,
) -> Result<bool> {
    let mut short = ShortBytes::<{ Incoming::SHORT }>::new();
    let bytes = short.read(message, len);
    if bytes.len() == len {
        let (inner, spinlock) = state.split();
        let link = inner.connected()?;
        match link.gather(sock, spinlock, bytes, Some(end)) {
            Delivery::Taken => {
                sent(sock, state);
                return Ok(true);
            }
            Delivery::Closed => return Err(lost(sock, state)),
            Delivery::NoRoom => {}
        }
    }
    message.unread(bytes.len());
    Ok(false)
}

/// A message was sent.
fn sent(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>) {
    state.writable_at = 1;
    state.found_credit();
    state.settle(sock, false);
}

/// Sends a message for which there is room.
fn transmit(
    sock: &Sock<Vsock>,
    state: &mut Owned<'_, Vsock>,
    message: &SendMessage<'_>,
    outgoing: &mut Outgoing,
) -> Result {
    let mut completion = None;
    if outgoing.lends {
        completion = sock.completion(state, message, outgoing.len)?;
    }
    if let Some(completion) = completion.as_ref().filter(|_| outgoing.copied) {
        completion.mark_copied();
    }
    state.writable_at = 1;
    state.found_credit();
    let mut left = outgoing.len;
    while let Some(mut packet) = outgoing.packets.pop_front() {
        if let Some(completion) = &completion {
            completion.attach(&mut packet);
        }
        left -= packet.len();
        let end = (left == 0).then_some(outgoing.end);
        let (inner, spinlock) = state.split();
        let link: &mut Link = inner.connected()?;
        // A packet holds no more than the credit, which is a `u32`.
        let header = link.wire.message(packet.len() as u32, end).ok_or(EPIPE)?;
        if !link.send_payload(sock, spinlock, &header, packet) {
            return Err(lost(sock, state));
        }
    }
    if let Some(completion) = &mut completion {
        completion.mark_sent();
    }
    state.settle(sock, false);
    Ok(())
}

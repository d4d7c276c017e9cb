// SPDX-License-Identifier: GPL-2.0

//! Receiving datagrams: one for each call, and one wake-up for each datagram.
//!
//! Source: recv(2); where it leaves it open, the practice of UDP and of `AF_UNIX`.

use super::{
    dgram_queue::Datagram,
    level::Level,
    state::State,
    Vsock, //
};
use crate::net::{
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
use crate::protocol::address::SockaddrVm;
use kernel::prelude::*;

/// What a call found.
enum Found {
    /// A datagram, which is its own now.
    Taken(Datagram),
    /// A datagram, which is still the first in the queue.
    Peeked,
    /// Nothing, and nothing will come.
    End,
}

/// `recv(2)` on a datagram socket. What the caller has no room for is lost, and `MSG_TRUNC` set;
/// with `MSG_TRUNC` in `flags` the result is the length of the datagram nevertheless. A datagram
/// that cannot be copied is lost as well.
///
/// # Errors
///
/// `EAGAIN`, `EINTR`, `EFAULT`.
pub(super) fn receive(
    sock: &Sock<Vsock>,
    message: &mut ReceiveMessage<'_>,
    len: usize,
    flags: MsgFlags,
) -> Result<usize> {
    let mut timeout = sock.receive_timeout(flags.contains(MsgFlags::DONTWAIT));
    let mut state = sock.lock();
    let mut give = |datagram: &mut Datagram| give(sock, message, datagram, len, flags);
    match next(
        sock,
        &mut state,
        &mut timeout,
        flags.contains(MsgFlags::PEEK),
    )? {
        Found::Taken(mut datagram) => {
            // Others need not wait for this caller's memory.
            drop(state);
            give(&mut datagram)
        }
        Found::Peeked => {
            let queue = state.endpoint()?.queue();
            queue.with_front(give).unwrap_or(Err(EAGAIN))
        }
        Found::End => Ok(0),
    }
}

/// Gives a datagram to the caller, who has room for `len` bytes.
fn give(
    sock: &Sock<Vsock>,
    message: &mut ReceiveMessage<'_>,
    datagram: &mut Datagram,
    len: usize,
    flags: MsgFlags,
) -> Result<usize> {
    let copied = datagram.copy_to(sock, message, len)?;
    let sender = SockaddrVm::new(sock.family(), datagram.sender());
    message.set_address(sender.as_bytes())?;
    if copied < datagram.len() {
        message.add_flags(MsgFlags::TRUNC);
    }
    Ok(if flags.contains(MsgFlags::TRUNC) {
        datagram.len()
    } else {
        copied
    })
}

/// Finds what the call receives, and sleeps until there is something.
fn next(
    sock: &Sock<Vsock>,
    state: &mut Owned<'_, Vsock>,
    timeout: &mut Timeout,
    peek: bool,
) -> Result<Found> {
    let readers = &sock.shared().published.readers;
    // Whoever sleeps already comes first, unless this call does not want to wait at all.
    if timeout.is_zero() || !readers.has_sleepers() {
        if let Some(found) = look(sock, state, peek)? {
            return Ok(found);
        }
    }
    if timeout.is_zero() {
        return Err(EAGAIN);
    }
    // The turn lasts until the datagram is taken, so that who is woken next is woken for another.
    readers.with_turn(1, |turn| loop {
        if let Some(found) = look_in_turn(sock, state, turn, peek)? {
            return Ok(found);
        }
        let error = match turn.sleep(state, timeout) {
            Woken::Ready => continue,
            Woken::Signal => timeout.interrupted_error(),
            Woken::TimedOut => EAGAIN,
        };
        // Data go before signals, and signals before timeouts.
        return look_in_turn(sock, state, turn, peek)?.ok_or(error);
    })
}

/// As [`look`], if it is this call's turn.
fn look_in_turn(
    sock: &Sock<Vsock>,
    state: &mut State,
    turn: &Turn<'_, Level>,
    peek: bool,
) -> Result<Option<Found>> {
    if turn.ready() {
        look(sock, state, peek)
    } else {
        Ok(None)
    }
}

/// Takes what is there.
fn look(sock: &Sock<Vsock>, state: &mut State, peek: bool) -> Result<Option<Found>> {
    let endpoint = state.endpoint()?;
    if endpoint.queue().front().is_none() {
        return Ok(endpoint.receive_ended().then_some(Found::End));
    }
    if peek {
        return Ok(Some(Found::Peeked));
    }
    Ok(state.take_datagram(sock).map(Found::Taken))
}

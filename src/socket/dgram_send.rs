// SPDX-License-Identifier: GPL-2.0

//! Sending datagrams: into the queue of the receiver, in one step.
//!
//! Source: send(2).

use super::{
    dgram,
    dgram_queue::{
        Datagram,
        DatagramQueue, //
    },
    Vsock, //
};
use crate::net::{
    errno::{
        ECONNREFUSED,
        EDESTADDRREQ,
        EMSGSIZE, //
    },
    guard::Bh,
    message::SendMessage,
    sock::Sock, //
};
use crate::protocol::address::{
    Address,
    Cid, //
};
use kernel::prelude::*;

/// The largest datagram, in bytes.
const LARGEST: usize = 64 * 1024;

/// `send(2)` on a datagram socket. Never sleeps for room: what the receiver has no room for is
/// dropped, and counted as sent.
///
/// # Errors
///
/// `EDESTADDRREQ` without a destination and without a peer, and those of [`dgram::destination`];
/// `EMSGSIZE` beyond [`LARGEST`]; `EPIPE`, without a signal, after a shutdown here or there;
/// `ECONNREFUSED` if nobody there takes datagrams from here; `EFAULT`, `ENOMEM`.
pub(super) fn send(sock: &Sock<Vsock>, message: &mut SendMessage<'_>, len: usize) -> Result<usize> {
    let (from, to) = route(sock, message)?;
    if len > LARGEST {
        return Err(EMSGSIZE);
    }
    let datagram = Datagram::copied_from(message.source(), len, from, GFP_KERNEL_ACCOUNT)?;
    let receiver = sock
        .shared()
        .context
        .bound_to(sock.kind(), sock.shared().namespace.scope, to)
        .ok_or(ECONNREFUSED)?;
    // The lock of the sender was given up: it may be the receiver.
    deliver(&receiver, datagram)?;
    Ok(len)
}

/// From where and to where a message goes. Binds the socket if it is not bound.
fn route(sock: &Sock<Vsock>, message: &SendMessage<'_>) -> Result<(Address, Address)> {
    let to = match message.address() {
        Some(bytes) => Some(dgram::destination(sock, bytes)?),
        None => None,
    };
    let mut state = sock.lock();
    let endpoint = state.endpoint()?;
    if endpoint.send_ended() {
        return Err(EPIPE);
    }
    let to = to.or(endpoint.peer()).ok_or(EDESTADDRREQ)?;
    endpoint.autobind(sock)?;
    let own = endpoint.address();
    state.settle(sock, false);
    // Who is bound to no machine in particular is reached where it reaches the receiver.
    let from = match own.cid {
        Cid::ANY => Address { cid: to.cid, ..own },
        _ => own,
    };
    Ok((from, to))
}

/// Puts a datagram into the queue of `to`, or aside if a task owns it. The caller holds no spinlock
/// of a socket. Process context.
fn deliver(to: &Sock<Vsock>, mut datagram: Datagram) -> Result {
    let inbox = &to.shared().inbox;
    match to.lock_bh() {
        Bh::Free(mut state) => {
            // It may have been closed since it was found.
            state.endpoint().map_err(|_| ECONNREFUSED)?;
            if inbox.admit(to, &mut datagram)? {
                let mut one = DatagramQueue::default();
                one.push(datagram);
                state.add_datagrams(to, &mut one);
            }
        }
        Bh::Busy(mut backlog) => {
            if inbox.admit(to, &mut datagram)? {
                backlog.datagrams.push(datagram);
            }
        }
    }
    Ok(())
}

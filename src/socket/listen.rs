// SPDX-License-Identifier: GPL-2.0

//! Listening for connections and accepting them.
//!
//! A connection that is asked for becomes a socket at once, in the interrupt that brings the
//! request, and waits in its listener's queue. No two sockets are locked at the same time: the
//! child is complete before the listener is looked at.
//!
//! Source: listen(2), accept(2); virtio specification, 5.10.6.6.

use super::{
    bind::Bound,
    context::Context,
    link::Link,
    published::Status,
    state::{
        Stage,
        State, //
    },
    Shared,
    Vsock, //
};
use crate::net::{
    errno::ECONNRESET,
    guard::Bh,
    sock::Sock,
    sock_queue::SockQueue,
    table::Table,
    wait::Woken, //
};
use crate::protocol::{
    connection::Connection,
    packet::{
        Control,
        Header, //
    },
    reason::DropReason, //
};
use crate::transport::virtio::Device;
use kernel::{
    alloc::Flags,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// What a listening socket has.
pub(super) struct Listener {
    bound: Bound,
    queue: SockQueue<Vsock>,
    limit: u32,
}

impl Listener {
    /// Connections that wait to be accepted.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many may wait.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// The address that is listened on.
    pub(super) fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Adds a connection; gives it back when there is no room.
    pub(super) fn push(&mut self, child: ARef<Sock<Vsock>>) -> Result<(), ARef<Sock<Vsock>>> {
        if self.queue.len() >= self.limit as usize {
            return Err(child);
        }
        self.queue.push(child)
    }

    /// Ends listening: gives the address back, and those that nobody accepted.
    pub(super) fn into_parts(self) -> (Bound, SockQueue<Vsock>) {
        (self.bound, self.queue)
    }
}

/// `listen(2)`. On a listening socket it changes the backlog, which is at least 1.
///
/// # Errors
///
/// `EINVAL` for a socket that is not bound, or that is connected.
pub(super) fn listen(sock: &Sock<Vsock>, backlog: i32) -> Result {
    let limit = u32::try_from(backlog).unwrap_or(0).max(1);
    let mut state = sock.lock();
    state.stage = match core::mem::replace(&mut state.stage, Stage::Closed) {
        Stage::Bound(bound) | Stage::Stopped(bound) => Stage::Listening(Listener {
            bound,
            queue: SockQueue::new(),
            limit,
        }),
        Stage::Listening(listener) => Stage::Listening(Listener { limit, ..listener }),
        other => {
            state.stage = other;
            return Err(EINVAL);
        }
    };
    state.settle(sock, false);
    Ok(())
}

/// `accept(2)`.
///
/// # Errors
///
/// `EINVAL` for a socket that does not listen, or stops to; `EAGAIN` without a connection on a
/// non-blocking socket or after `SO_RCVTIMEO`; `EINTR`.
pub(super) fn accept(sock: &Sock<Vsock>, nonblocking: bool) -> Result<ARef<Sock<Vsock>>> {
    let mut timeout = sock.receive_timeout(nonblocking);
    let readers = &sock.shared().published.readers;
    let mut state = sock.lock();
    loop {
        let Stage::Listening(listener) = &mut state.stage else {
            return Err(EINVAL);
        };
        // Who came before and sleeps is served first; who does not want to wait takes what is
        // there.
        if timeout.is_zero() || !readers.has_sleepers() {
            if let Some(child) = listener.queue.pop() {
                state.settle(sock, false);
                return Ok(child);
            }
        }
        if timeout.is_zero() {
            return Err(EAGAIN);
        }
        let taken = readers.with_turn(1_usize, |turn| {
            let woken = turn.sleep(&mut state, &mut timeout);
            // Taken while the turn is still held: nobody else can be served first.
            let child = match &mut state.stage {
                Stage::Listening(listener) => listener.queue.pop(),
                _ => return Err(EINVAL),
            };
            state.settle(sock, false);
            match (child, woken) {
                (Some(child), _) => Ok(Some(child)),
                (None, Woken::Ready) => Ok(None),
                (None, Woken::Signal) => Err(timeout.interrupted_error()),
                (None, Woken::TimedOut) => Err(EAGAIN),
            }
        })?;
        if let Some(child) = taken {
            return Ok(child);
        }
    }
}

/// A request for a connection to `listener` arrived over `device`. BH.
///
/// What comes back is why it was refused; a reset is to be answered then.
pub(super) fn request(
    device: &Arc<Device<Context>>,
    listener: &Sock<Vsock>,
    header: &Header,
) -> Result<(), DropReason> {
    check_room(listener)?;
    let child = child_over_device(device, listener, header).map_err(|_| DropReason::Backlog)?;
    if let Err(child) = enqueue(listener, child) {
        // That tells the peer, too.
        turn_away(&child);
        listener.shared().context.count_drop(DropReason::Backlog);
    }
    Ok(())
}

/// The socket `from` of this machine, which the caller owns, connects to `listener`. `header` is its
/// request as the listener sees it. Returns the other end, which may be accepted and used by now.
/// Process context.
///
/// # Errors
///
/// `ECONNRESET` if it is refused, `ENOMEM`.
pub(super) fn request_local(
    from: &Sock<Vsock>,
    listener: &Sock<Vsock>,
    header: &Header,
) -> Result<ARef<Sock<Vsock>>> {
    if listener.shared().kind != Some(header.kind) {
        return Err(ECONNRESET);
    }
    check_room(listener).map_err(|_| ECONNRESET)?;
    let child = new_child(listener, header, GFP_KERNEL)?;
    let mut wire = Connection::accept(header, child.shared().options.buffer_size());
    child.shared().publish_credit(wire.announce());
    let link = Link::over_loopback(wire, None, ARef::from(from));
    start(&child, link, None);
    match enqueue(listener, child.clone()) {
        Ok(()) => Ok(child),
        Err(child) => {
            // The caller has no connection yet that would have to be told.
            if let Bh::Free(mut state) = child.lock_bh() {
                state.stage = Stage::Closed;
                state.settle(&child, false);
            }
            Err(ECONNRESET)
        }
    }
}

/// Whether `listener` listens and has room for another connection, without its lock.
fn check_room(listener: &Sock<Vsock>) -> Result<(), DropReason> {
    let snapshot = listener.shared().published.snapshot();
    if snapshot.status != Status::Listening {
        Err(DropReason::NoSocket)
    } else if snapshot.levels.available >= snapshot.window as usize {
        Err(DropReason::Backlog)
    } else {
        Ok(())
    }
}

/// Enters a connection that stands into the queue of `listener`, or gives it back. Process context
/// or BH.
fn enqueue(listener: &Sock<Vsock>, child: ARef<Sock<Vsock>>) -> Result<(), ARef<Sock<Vsock>>> {
    match listener.lock_bh() {
        Bh::Free(mut state) => {
            let pushed = match &mut state.stage {
                Stage::Listening(listening) => listening.push(child),
                _ => Err(child),
            };
            state.settle(listener, pushed.is_ok());
            pushed
        }
        Bh::Busy(mut backlog) => {
            let snapshot = listener.shared().published.snapshot();
            let waiting = snapshot.levels.available + backlog.children.len();
            if snapshot.status != Status::Listening || waiting >= snapshot.window as usize {
                return Err(child);
            }
            backlog.children.push(child)
        }
    }
}

/// A new socket with the settings of `listener`, for the connection that `request` asks for.
fn new_child(listener: &Sock<Vsock>, request: &Header, flags: Flags) -> Result<ARef<Sock<Vsock>>> {
    let options = listener.shared().options.copy();
    let (context, namespace) = {
        let shared = listener.shared();
        (shared.context.clone(), shared.namespace.clone())
    };
    let state = State::new();
    let kind = Some(request.kind);
    let shared = Shared::new(context, namespace, kind, options, state.published());
    let child = Sock::new_child(listener, shared, state, flags)?;
    child.shared().set_peer(request.flow.peer);
    Ok(child)
}

/// Makes the socket of a new connection, answers the request, and enters it into the table.
fn child_over_device(
    device: &Arc<Device<Context>>,
    listener: &Sock<Vsock>,
    header: &Header,
) -> Result<ARef<Sock<Vsock>>> {
    let child = new_child(listener, header, GFP_ATOMIC)?;
    let connected = &listener.shared().context.connected;
    let entry = Table::insert(connected, header.flow, child.clone(), GFP_ATOMIC)?;
    let wire = Connection::accept(header, child.shared().options.buffer_size());
    let link = Link::over_device(wire, None, entry, device.clone());
    start(&child, link, Some(Control::Response));
    Ok(child)
}

/// Gives a new socket its connection, and sends the `answer` to the request for it.
fn start(child: &Sock<Vsock>, mut link: Link, answer: Option<Control>) {
    // Nobody else has the child, so no task owns it.
    if let Bh::Free(mut state) = child.lock_bh() {
        // With the lock held: should it have to wait for room, its turn finds the connection.
        if let Some(control) = answer {
            link.send_control(child, control);
        }
        if link.is_orphaned() {
            link.wire.transport_reset();
        }
        state.stage = Stage::Connected(link);
        state.settle(child, false);
    }
}

/// Ends a connection that nobody will accept. Process context or BH.
pub(super) fn turn_away(child: &Sock<Vsock>) {
    // Not accepted, so no program has it, and no task can own it.
    if let Bh::Free(mut state) = child.lock_bh() {
        state.close(child, true);
        state.settle(child, false);
    }
}

/// Ends all connections in `queue`.
pub(super) fn turn_all_away(queue: &mut SockQueue<Vsock>) {
    while let Some(child) = queue.pop() {
        turn_away(&child);
    }
}

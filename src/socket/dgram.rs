// SPDX-License-Identifier: GPL-2.0

//! A datagram socket: its name, its peer, and how it ends.
//!
//! Datagrams stay within the machine: the wire carries none. Their ports are their own, beside
//! those of connections.
//!
//! Source: bind(2), connect(2), shutdown(2); where vsock(7) leaves it open, the practice of UDP and
//! of `AF_UNIX`.

use super::{
    bind::{
        self,
        Bound, //
    },
    dgram_queue::{
        Datagram,
        DatagramQueue, //
    },
    published::{
        Levels,
        Snapshot,
        Status, //
    },
    state::{
        Stage,
        State, //
    },
    Vsock, //
};
use crate::net::{
    errno::ENOTCONN,
    ops::How,
    sock::Sock, //
};
use crate::protocol::{
    address::{
        Address,
        Cid,
        Port,
        SockaddrVm, //
    },
    packet::Halves,
};
use kernel::prelude::*;

/// What of a datagram socket is behind its lock.
#[derive(Default)]
pub(super) struct Endpoint {
    bound: Option<Bound>,
    peer: Option<Address>,
    /// What was admitted and is not taken yet.
    queue: DatagramQueue,
    receive_ended: bool,
    send_ended: bool,
}

impl Endpoint {
    /// The address that it has; wildcards for what it has not.
    pub(super) fn address(&self) -> Address {
        self.bound.as_ref().map_or(Address::ANY, Bound::address)
    }

    /// The address to which it is connected.
    pub(super) fn peer(&self) -> Option<Address> {
        self.peer
    }

    /// Whether nothing more will be received.
    pub(super) fn receive_ended(&self) -> bool {
        self.receive_ended
    }

    /// Whether nothing more may be sent.
    pub(super) fn send_ended(&self) -> bool {
        self.send_ended
    }

    /// Binds it to any port, unless it is bound. Process context.
    pub(super) fn autobind(&mut self, sock: &Sock<Vsock>) -> Result {
        if self.bound.is_none() {
            self.bound = Some(bind::autobind(sock, Cid::ANY)?);
        }
        Ok(())
    }

    /// The queue, to look into: what is added or taken is up to [`State`].
    pub(super) fn queue(&mut self) -> &mut DatagramQueue {
        &mut self.queue
    }

    /// Which directions were shut down.
    pub(super) fn shut_down(&self) -> Halves {
        Halves {
            receive: self.receive_ended,
            send: self.send_ended,
        }
    }

    /// What is to be published of it.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            status: match self.peer {
                Some(_) => Status::Connected,
                None => Status::Connectionless,
            },
            // Datagrams here, of which a reader needs one, and a sender never waits.
            levels: Levels {
                available: self.queue.len(),
                unread: self.queue.front().map_or(0, Datagram::len),
                sendable: 1,
            },
            receive_ended: self.receive_ended,
            writable: true,
            send_ended: self.send_ended,
            window: 1,
        }
    }
}

impl State {
    /// The datagram socket that this is. `EINVAL` if it is another, or closed.
    pub(super) fn endpoint(&mut self) -> Result<&mut Endpoint> {
        match &mut self.stage {
            Stage::Datagrams(endpoint) => Ok(endpoint),
            _ => Err(EINVAL),
        }
    }

    /// Adds datagrams that were admitted. With the lock held in any of its forms.
    pub(super) fn add_datagrams(&mut self, sock: &Sock<Vsock>, datagrams: &mut DatagramQueue) {
        let Ok(endpoint) = self.endpoint() else {
            // It was closed: they are lost with those that nobody has read.
            return;
        };
        endpoint.queue.append(datagrams);
        self.settle(sock, true);
    }

    /// Takes the first datagram out. The socket is owned.
    pub(super) fn take_datagram(&mut self, sock: &Sock<Vsock>) -> Option<Datagram> {
        let endpoint = self.endpoint().ok()?;
        let datagram = endpoint.queue.pop()?;
        sock.shared().inbox.taken(&datagram);
        self.settle(sock, false);
        Some(datagram)
    }
}

/// Reads a destination that a program handed in: an address of this machine.
///
/// # Errors
///
/// `EINVAL` for what is no address, or has no port; `EAFNOSUPPORT` for that of another family;
/// `ENODEV` for another machine, since no transport carries datagrams there.
pub(super) fn destination(sock: &Sock<Vsock>, bytes: &[u8]) -> Result<Address> {
    let mut address = bind::parse(sock, bytes)?;
    if address.port == Port::ANY {
        return Err(EINVAL);
    }
    if address.cid == Cid::ANY {
        address.cid = Cid::LOCAL;
    }
    if sock.shared().context.is_local(address.cid) {
        Ok(address)
    } else {
        Err(ENODEV)
    }
}

/// `bind(2)`. Errors as on a stream.
pub(super) fn bind(sock: &Sock<Vsock>, bytes: &[u8]) -> Result {
    let wanted = bind::parse(sock, bytes)?;
    let mut state = sock.lock();
    let endpoint = state.endpoint()?;
    if endpoint.bound.is_some() {
        return Err(EINVAL);
    }
    endpoint.bound = Some(bind::take(sock, wanted)?);
    state.settle(sock, false);
    Ok(())
}

/// `connect(2)`: from now on datagrams go to that address and come from there only. The address
/// `AF_UNSPEC` ends that. Nobody needs to be there.
///
/// # Errors
///
/// Those of [`destination`], and `EADDRNOTAVAIL` without a free port.
pub(super) fn connect(sock: &Sock<Vsock>, bytes: &[u8]) -> Result {
    let peer = if SockaddrVm::is_unspecified(bytes) {
        None
    } else {
        Some(destination(sock, bytes)?)
    };
    let mut state = sock.lock();
    let endpoint = state.endpoint()?;
    if peer.is_some() {
        endpoint.autobind(sock)?;
    }
    endpoint.peer = peer;
    sock.shared().set_peer(peer.unwrap_or(Address::ANY));
    state.settle(sock, false);
    Ok(())
}

/// `shutdown(2)`. Whoever sleeps in a receive, or polls, is woken.
///
/// # Errors
///
/// `ENOTCONN` without a peer, but it is done all the same, as with UDP and the C vsock.
pub(super) fn shutdown(sock: &Sock<Vsock>, how: How) -> Result {
    let mut state = sock.lock();
    let endpoint = state.endpoint()?;
    endpoint.receive_ended |= how.receive();
    endpoint.send_ended |= how.send();
    let connected = endpoint.peer.is_some();
    state.settle(sock, false);
    if connected {
        Ok(())
    } else {
        Err(ENOTCONN)
    }
}

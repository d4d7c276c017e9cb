// SPDX-License-Identifier: GPL-2.0

//! From a transport to a socket.

use super::{
    context::{
        Context,
        SLOT, //
    },
    link::Link,
    listen,
    namespace::Scope,
    state::{
        Stage,
        State, //
    },
    Vsock, //
};
use crate::net::{
    guard::Bh,
    sock::Sock,
    sock_fields::SocketKind, //
};
use crate::protocol::{
    address::{
        Address,
        Flow, //
    },
    packet::{
        Header,
        HeaderBytes,
        Operation, //
    },
    reason::DropReason, //
};
use crate::transport::{
    virtio::{
        Descriptors,
        Device,
        Turn, //
    },
    Delivery,
    Incoming,
    Receiver, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed,
        Arc, //
    },
};

impl Receiver for Context {
    type Protocol = Vsock;

    fn current() -> Option<Arc<Self>> {
        SLOT.context()
    }

    fn has_device(&self) -> bool {
        self.device().is_some()
    }

    fn descriptors(&self) -> Descriptors {
        self.descriptors
    }

    fn attach(&self, device: &Arc<Device<Self>>) -> Result {
        self.set_device(device.clone())
    }

    fn detach(&self, device: &Arc<Device<Self>>) {
        self.clear_device(device);
        self.reset_connections(device);
    }

    fn transport_reset(&self, device: &Arc<Device<Self>>) {
        self.reset_connections(device);
        self.publish_names();
    }

    fn receive(
        &self,
        device: &Arc<Device<Self>>,
        header: &Header,
        payload: &mut Incoming<'_>,
    ) -> Option<HeaderBytes> {
        let has_type = |sock: &Sock<Vsock>| sock.shared().kind == Some(header.kind);
        let connected = self.connected.find(&header.flow);
        let listener = || match header.operation {
            Operation::Request => self.listener(Scope::GLOBAL, header.flow.local),
            _ => None,
        };
        let reason = match connected {
            // What was not agreed on with the device.
            _ if !device.carries(header.kind) => DropReason::Type,
            Some(sock) if has_type(&sock) => match packet(&sock, header, payload) {
                Some(reason @ DropReason::NoSocket) => reason,
                Some(reason) => {
                    self.count_drop(reason);
                    return None;
                }
                None => return None,
            },
            Some(_) => DropReason::Type,
            None => match listener() {
                Some(listener) if !has_type(&listener) => DropReason::Type,
                Some(listener) => match listen::request(device, &listener, header) {
                    Ok(()) => return None,
                    Err(reason) => reason,
                },
                None => DropReason::NoSocket,
            },
        };
        self.count_drop(reason);
        header.refusal()
    }

    fn receive_local(
        to: &Sock<Vsock>,
        from: &Sock<Vsock>,
        header: impl FnOnce() -> Header,
        payload: &mut Incoming<'_>,
    ) -> Delivery {
        payload.set_arrival(to.arrival());
        // Credit is looked up when the header is made, since that publishes what the header tells.
        let header = || {
            let header = header();
            Header {
                credit: from.shared().credit(),
                ..header
            }
        };
        let (dropped, header, connected) = match to.lock_bh() {
            Bh::Free(mut state) => {
                if payload.needs_room() && !state.make_room_for(payload) {
                    return Delivery::NoRoom;
                }
                let header = header();
                let dropped = state.packet(to, &header, |queue| queue.push(&header, payload));
                let connected = matches!(state.stage, Stage::Connected(_));
                (dropped, header, connected)
            }
            Bh::Busy(mut backlog) => {
                let kind = to.shared().kind;
                if payload.needs_room()
                    && !kind.is_some_and(|kind| backlog.make_room_for(kind, payload))
                {
                    return Delivery::NoRoom;
                }
                let header = header();
                (backlog.packet(to, &header, payload), header, true)
            }
        };
        if dropped.is_some() {
            to.shared().context.count_local_drop(&header);
        }
        if connected {
            Delivery::Taken
        } else {
            Delivery::Closed
        }
    }

    fn count_drop(&self, reason: DropReason) {
        self.count_drop(reason);
    }

    fn take_turn(sock: &Sock<Vsock>, turn: Turn) {
        match sock.lock_bh() {
            Bh::Free(mut state) => state.take_turn(sock, turn),
            // For the owner to use with the next packet, or when it lets go.
            Bh::Busy(_) => sock.shared().keep_turn(turn),
        }
    }

    fn flow(sock: &Sock<Vsock>) -> Flow {
        Flow {
            local: sock.shared().local(),
            peer: sock.shared().peer(),
        }
    }
}

impl Context {
    /// The socket that a request in `scope` to the address `local` is for: it may be a listener.
    /// Any context.
    pub(super) fn listener(&self, scope: Scope, local: Address) -> Option<ARef<Sock<Vsock>>> {
        self.bound_to(SocketKind::STREAM, scope, local)
    }

    /// Ends all connections that `device` has lost. Process context.
    fn reset_connections(&self, device: &Device<Self>) {
        // A walk in which connections leave the table may pass others over.
        let mut found = true;
        while found {
            found = false;
            self.connected.for_each(|sock| match sock.lock_bh() {
                Bh::Free(mut state) => {
                    let lost = |link: &mut Link| link.is_on(device) && link.is_orphaned();
                    if state.link_mut().is_some_and(lost) {
                        state.transport_reset(&sock);
                        found = true;
                    }
                }
                Bh::Busy(mut backlog) => {
                    found |= !core::mem::replace(&mut backlog.transport_reset, true);
                }
            });
        }
    }
}

/// A packet for the connection of `sock` arrived. Returns why it was dropped, if it was:
/// [`DropReason::NoSocket`] if the connection was reset before. BH.
fn packet(sock: &Sock<Vsock>, header: &Header, payload: &mut Incoming<'_>) -> Option<DropReason> {
    payload.set_arrival(sock.arrival());
    match sock.lock_bh() {
        Bh::Free(mut state) => state.packet(sock, header, |queue| queue.push(header, payload)),
        Bh::Busy(mut backlog) => backlog.packet(sock, header, payload),
    }
}

/// Delivers what is pending for the peer on this machine. Whoever owns `sock` now does that when it
/// is given up. Process context or BH, no spinlock of a socket held.
///
/// The peer may answer, which ends here again: a shutdown is answered with a reset, a question about
/// credit with an update, an update at the most with another, and to those there is no answer. To go
/// deeper than that, each level needs another processor that has just left something of its own.
pub(super) fn deliver_pending(sock: &Sock<Vsock>) {
    let outgoing = match sock.lock_bh() {
        Bh::Free(mut state) => {
            sock.shared().pending.store(false, Relaxed);
            state.take_pending(sock)
        }
        Bh::Busy(_) => None,
    };
    if let Some(outgoing) = outgoing {
        outgoing.deliver(sock);
    }
}

impl State {
    /// The transport lost its connections.
    pub(super) fn transport_reset(&mut self, sock: &Sock<Vsock>) {
        // One that was made since is another one.
        if let Some(link) = self.link_mut().filter(|link| link.is_orphaned()) {
            link.wire.transport_reset();
        }
        self.settle(sock, false);
    }

    /// The connection may send one packet of what waited for room.
    pub(super) fn take_turn(&mut self, sock: &Sock<Vsock>, turn: Turn) {
        if let Some(link) = self.link_mut() {
            link.take_turn(sock, turn);
        }
    }
}

/// The timer of a socket expired. BH.
pub(super) fn timer(sock: &Sock<Vsock>) {
    if sock.shared().refused.load(Relaxed) {
        listen::turn_away(sock);
        return;
    }
    match sock.lock_bh() {
        Bh::Free(mut state) => state.expired(sock),
        Bh::Busy(mut backlog) => backlog.expired = true,
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What arrives for a socket while a task owns it.

use super::{
    dgram_queue::DatagramQueue,
    queue::ReceiveQueue,
    state::{
        Stage,
        State, //
    },
    Vsock, //
};
use crate::net::{
    sock::Sock,
    sock_queue::SockQueue, //
};
use crate::protocol::{
    connection::Payload,
    deferred::Deferred,
    packet::{
        Header,
        SocketType, //
    },
    reason::DropReason, //
};
use crate::transport::Incoming;
use kernel::{
    sync::atomic::Relaxed,
    time::Jiffies, //
};

/// Everything that waits for the owner of a socket to let go.
#[derive(Default)]
pub(crate) struct Backlog {
    packets: Deferred,
    /// The payload that `packets` tells of.
    queue: Option<ReceiveQueue>,
    /// Datagrams that were admitted.
    pub(super) datagrams: DatagramQueue,
    /// Connections that came for a listener, ready to be accepted.
    pub(super) children: SockQueue<Vsock>,
    /// The timer expired.
    pub(super) expired: bool,
    /// The transport lost its connections.
    pub(super) transport_reset: bool,
    /// `SO_RCVLOWAT` was changed by the owner of the socket.
    pub(super) low_water_changed: bool,
    /// The size of the receive buffer was set by the owner of the socket.
    pub(super) buffer_resized: bool,
}

impl Backlog {
    /// Puts a packet of the socket's connection aside. Returns why it was dropped, if it was. BH.
    pub(super) fn packet(
        &mut self,
        sock: &Sock<Vsock>,
        header: &Header,
        payload: &mut Incoming<'_>,
    ) -> Option<DropReason> {
        if !sock.shared().is_from_peer(header) {
            return Some(DropReason::State);
        }
        let largest_buffer = sock.shared().options.largest_buffer();
        match self.packets.put(header, largest_buffer) {
            Payload::Deliver => self.queue(header.kind).push(header, payload),
            Payload::Drop(reason) => return Some(reason),
            Payload::Nothing => {}
        }
        None
    }

    /// Sees to it that payload without a buffer of its own is not lost by [`Backlog::packet`] for a socket
    /// of type `kind`. Returns false if it would be. BH.
    pub(super) fn make_room_for(&mut self, kind: SocketType, payload: &mut Incoming<'_>) -> bool {
        self.queue(kind).make_room_for(payload)
    }

    fn queue(&mut self, kind: SocketType) -> &mut ReceiveQueue {
        self.queue.get_or_insert_with(|| ReceiveQueue::aside(kind))
    }

    /// Does everything that was put aside, with the socket owned and its spinlock held.
    pub(super) fn drain(&mut self, sock: &Sock<Vsock>, state: &mut State) {
        if !self.packets.is_empty() {
            self.drain_packets(sock, state);
        }
        if self.datagrams.len() > 0 {
            let mut datagrams = core::mem::take(&mut self.datagrams);
            state.add_datagrams(sock, &mut datagrams);
        }
        while let Some(child) = self.children.pop() {
            let refused = match &mut state.stage {
                Stage::Listening(listener) => listener.push(child),
                _ => Err(child),
            };
            match refused {
                Ok(()) => state.settle(sock, true),
                Err(child) => {
                    // Its lock cannot be taken under this one; its timer can.
                    child.shared().refused.store(true, Relaxed);
                    child.arm_timer(Jiffies::default());
                }
            }
        }
        if core::mem::take(&mut self.transport_reset) {
            state.transport_reset(sock);
        }
        if core::mem::take(&mut self.expired) {
            state.expired(sock);
        }
        if let Some(turn) = sock.shared().kept_turn() {
            state.take_turn(sock, turn);
        }
        if core::mem::take(&mut self.low_water_changed) {
            state.low_water_changed(sock);
        }
        if core::mem::take(&mut self.buffer_resized) {
            state.buffer_resized(sock);
        }
    }

    fn drain_packets(&mut self, sock: &Sock<Vsock>, state: &mut State) {
        let is_local = state.link_mut().is_none_or(|link| link.is_local());
        for header in self.packets.take() {
            let dropped = state.packet(sock, &header, |queue| {
                if let Some(deferred) = &mut self.queue {
                    queue.append(deferred);
                }
            });
            let context = &sock.shared().context;
            match dropped {
                Some(_) if is_local => context.count_local_drop(&header),
                Some(reason) => context.count_drop(reason),
                None => {}
            }
        }
        // What was not delivered is dropped.
        self.queue = None;
    }
}

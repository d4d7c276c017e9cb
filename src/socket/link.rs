// SPDX-License-Identifier: GPL-2.0

//! A connection and what belongs to it in this kernel.

use super::{
    bind::Bound,
    context::Context,
    over_device::OverDevice,
    published::Levels,
    queue::ReceiveQueue,
    Vsock, //
};
use crate::net::{
    guard::SpinlockFree,
    skb::{
        PayloadLimits,
        SkBuff, //
    },
    sock::Sock,
    table::Entry, //
};
use crate::protocol::{
    address::Flow,
    connection::{
        Connection,
        Payload,
        Phase, //
    },
    packet::{
        Control,
        Header,
        MessageEnd,
        SocketType, //
    },
    reason::DropReason, //
};
use crate::transport::{
    loopback::{
        self,
        Loopback,
        Outgoing, //
    },
    virtio::{
        Device,
        Turn, //
    },
    Delivery,
    Incoming, //
};
use kernel::sync::{
    aref::ARef,
    Arc, //
};

/// What carries the packets of a connection.
enum Carrier {
    /// The virtio device.
    Device(OverDevice),
    /// The other end is a socket of this machine. `None` once the connection has ended and its
    /// last packet is on its way: two sockets that hold each other would never go away.
    Loopback(Option<Loopback<Context>>),
}

/// A connection, with what carries it and its receive queue.
pub(super) struct Link {
    pub(super) wire: Connection,
    pub(super) queue: ReceiveQueue,
    /// The address that the socket was bound to, to be given back when the link ends. A child of
    /// `accept` shares its listener's and has none of its own.
    bound: Option<Bound>,
    carrier: Carrier,
    ended: bool,
}

impl Link {
    fn new(wire: Connection, bound: Option<Bound>, carrier: Carrier) -> Self {
        Link {
            queue: ReceiveQueue::new(wire.kind()),
            wire,
            bound,
            carrier,
            ended: false,
        }
    }

    /// A connection over `device`, which finds it by its `entry`.
    pub(super) fn over_device(
        wire: Connection,
        bound: Option<Bound>,
        entry: Entry<Flow, Vsock>,
        device: Arc<Device<Context>>,
    ) -> Self {
        let carrier = Carrier::Device(OverDevice::new(device, entry));
        Self::new(wire, bound, carrier)
    }

    /// A connection to the socket `peer` of this machine.
    pub(super) fn over_loopback(
        wire: Connection,
        bound: Option<Bound>,
        peer: ARef<Sock<Vsock>>,
    ) -> Self {
        let carrier = Carrier::Loopback(Some(Loopback::new(peer)));
        Self::new(wire, bound, carrier)
    }

    /// Sends a packet without payload: over the device, now or as soon as there is room, and at most
    /// one of each kind is owed till then; over loopback, when the lock of `sock` is given up.
    pub(super) fn send_control(&mut self, sock: &Sock<Vsock>, control: Control) {
        match &mut self.carrier {
            Carrier::Device(way) => way.send_control(sock, &mut self.wire, control),
            Carrier::Loopback(Some(loopback)) => {
                if loopback.queue(control) {
                    sock.shared().set_pending();
                }
            }
            Carrier::Loopback(None) => {}
        }
    }

    /// Sends `payload` in a packet of its own. `header` is from [`Connection::data`]. Returns false if
    /// the peer turned out to be closed.
    pub(super) fn send_payload(
        &mut self,
        sock: &Sock<Vsock>,
        spinlock: SpinlockFree<'_>,
        header: &Header,
        payload: SkBuff,
    ) -> bool {
        match &mut self.carrier {
            Carrier::Device(way) => {
                way.send_payload(sock, &mut self.wire, header, payload);
                true
            }
            Carrier::Loopback(Some(loopback)) => {
                sock.shared().publish_credit(header.credit);
                loopback.send(spinlock, sock, header, payload)
            }
            Carrier::Loopback(None) => false,
        }
    }

    /// Whether payload of `len` bytes may be gathered with what a peer on this machine has not read
    /// yet ([`Link::gather`]).
    pub(super) fn may_gather(&self, len: usize) -> bool {
        let has_unread = |peer: &Sock<Vsock>| peer.shared().published.has_unread();
        len <= Incoming::SHORT
            && matches!(&self.carrier, Carrier::Loopback(Some(way)) if has_unread(way.peer()))
    }

    /// Sends `payload`, which may be the `end` of a message, in a packet of its own, if there is credit for
    /// it and it can be gathered with what the peer has not read yet: no buffer is made for it then. Else
    /// nothing was sent.
    pub(super) fn gather(
        &mut self,
        sock: &Sock<Vsock>,
        spinlock: SpinlockFree<'_>,
        payload: &[u8],
        end: Option<MessageEnd>,
    ) -> Delivery {
        // CAST: There are at most `Incoming::SHORT`.
        let permit = self.wire.permit(payload.len() as u32, end);
        let (Carrier::Loopback(Some(loopback)), Some(permit)) = (&self.carrier, permit) else {
            return Delivery::NoRoom;
        };
        let header = || {
            let header = permit.header();
            sock.shared().publish_credit(header.credit);
            header
        };
        loopback.gather(spinlock, sock, header, payload)
    }

    /// Tells the peer of free space.
    pub(super) fn send_credit(&mut self, sock: &Sock<Vsock>) {
        self.send_control(sock, Control::CreditUpdate);
    }

    /// Sends one packet of what waits for room.
    pub(super) fn take_turn(&mut self, sock: &Sock<Vsock>, turn: Turn) {
        if let Carrier::Device(way) = &mut self.carrier {
            way.take_turn(sock, &mut self.wire, turn);
        }
    }

    /// Takes out the packets that are pending until the lock is given up, if there are any.
    pub(super) fn take_pending(&mut self, sock: &Sock<Vsock>) -> Option<Outgoing<Context>> {
        let Carrier::Loopback(place) = &mut self.carrier else {
            return None;
        };
        let loopback = place.as_mut()?;
        // Another one may have taken them. What no packet tells is not to count as told.
        let outgoing = loopback.has_pending().then(|| {
            let credit = self.wire.announce();
            sock.shared().publish_credit(credit);
            loopback.take_pending(self.wire.flow(), self.wire.kind(), credit)
        });
        if self.ended {
            *place = None;
        }
        outgoing
    }

    /// Whether packets are pending until the lock is given up.
    pub(super) fn has_pending(&self) -> bool {
        matches!(&self.carrier, Carrier::Loopback(Some(loopback)) if loopback.has_pending())
    }

    /// Takes note of ends of messages without payload that a peer on this machine has read.
    pub(super) fn look_at_empty(&mut self) {
        if let Carrier::Loopback(Some(loopback)) = &self.carrier {
            let forwarded = loopback.peer().shared().empty_forwarded();
            self.wire.peer_took_empty(forwarded);
        }
    }

    /// Handles the header of a packet of this connection, and sends the answer if there is one.
    /// Returns what the caller is to do with the payload.
    pub(super) fn packet(&mut self, sock: &Sock<Vsock>, header: &Header) -> Payload {
        if header.flow != self.wire.flow() {
            // Of a connection that the socket had before.
            return Payload::Drop(DropReason::State);
        }
        self.look_at_empty();
        let disposition = self.wire.packet(header);
        match disposition.reply {
            Some(Control::CreditUpdate) => self.send_credit(sock),
            Some(control) => self.send_control(sock, control),
            None => {}
        }
        disposition.payload
    }

    /// Tells the peer of free space if messages, or parts of one, make that due.
    pub(super) fn tell_of_space(&mut self, sock: &Sock<Vsock>) {
        if let ReceiveQueue::Messages(queue) = &self.queue {
            if self.wire.space_for_messages(queue.whole() == 0) {
                self.send_credit(sock);
            }
        }
    }

    /// Whether the credit lets `bytes` pass, as far as it ever can.
    ///
    /// For a stream that is polled for, this is asked of a single byte, and must not be asked of more:
    /// the peer's reader may wait for as many bytes as its buffer holds (`SO_RCVLOWAT`), all but one of
    /// which are there.
    pub(super) fn is_writable(&self, bytes: usize) -> bool {
        self.is_enough(self.wire.sendable() as usize, bytes)
    }

    /// [`Link::is_writable`] where the credit lets `sendable` bytes pass.
    #[inline]
    pub(super) fn is_enough(&self, sendable: usize, bytes: usize) -> bool {
        sendable >= bytes.min(self.wire.window() as usize)
    }

    /// How much can be read and sent.
    #[inline]
    pub(super) fn levels(&self) -> Levels {
        Levels {
            available: self.queue.available(),
            unread: self.queue.len(),
            sendable: self.wire.sendable() as usize,
        }
    }

    /// The most that can be expected to be available at once: in bytes, or 1 where it is messages that
    /// are waited for.
    #[inline]
    pub(super) fn window(&self) -> u32 {
        match self.wire.kind() {
            SocketType::Stream => self.wire.window(),
            SocketType::Seqpacket => 1,
        }
    }

    /// Whether a peer may not tell of free space before it is asked: others do as soon as a stream
    /// can go on, but a message needs more.
    pub(super) fn may_have_to_ask(&self) -> bool {
        !self.is_local() || self.wire.kind() == SocketType::Seqpacket
    }

    /// How large one packet on this link may be.
    pub(super) fn payload_limits(&self) -> PayloadLimits {
        match &self.carrier {
            Carrier::Device(way) => way.device().payload_limits(),
            Carrier::Loopback(_) => loopback::PAYLOAD_LIMITS,
        }
    }

    /// Whether the peer is a socket of this machine, by the same rules as this one: it need not
    /// be asked for credit, and has no limit that it does not tell.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.carrier, Carrier::Loopback(_))
    }

    /// Whether the connection goes over `device`.
    pub(super) fn is_on(&self, device: &Device<Context>) -> bool {
        match &self.carrier {
            Carrier::Device(way) => core::ptr::eq(way.device(), device),
            Carrier::Loopback(_) => false,
        }
    }

    /// Whether the device can no longer carry this connection: it is gone, has another CID, or has said
    /// since that it lost its connections.
    pub(super) fn is_orphaned(&self) -> bool {
        match &self.carrier {
            Carrier::Device(way) => way.is_lost(self.wire.flow().local.cid),
            Carrier::Loopback(_) => false,
        }
    }

    /// Whether [`Link::end`] was called.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The connection of `sock` is closed: packets for it are from now on for nobody.
    pub(super) fn end(&mut self, sock: &Sock<Vsock>) {
        self.ended = true;
        match &mut self.carrier {
            Carrier::Device(way) => way.end(sock, &mut self.wire),
            Carrier::Loopback(place) => {
                drop(place.take_if(|loopback| !loopback.has_pending()));
            }
        }
    }

    /// Gives the socket's address back.
    pub(super) fn into_bound(self) -> Option<Bound> {
        self.bound
    }

    /// Where the connection stands.
    pub(super) fn phase(&self) -> Phase {
        self.wire.phase()
    }
}

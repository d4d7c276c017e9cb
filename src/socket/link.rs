// SPDX-License-Identifier: GPL-2.0

//! A connection and what belongs to it in this kernel.

use super::{
    bind::Bound,
    context::Context,
    queue::ReceiveQueue,
    Vsock, //
};
use crate::net::{
    skb::SkBuff,
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
        Header, //
    }, //
};
use crate::transport::virtio::Device;
use kernel::sync::{
    aref::ARef,
    Arc, //
};

/// A connection on a transport, with its receive queue and its place in the table.
pub(super) struct Link {
    pub(super) wire: Connection,
    pub(super) queue: ReceiveQueue,
    /// The address that the socket was bound to, to be given back when the link ends. A child of
    /// `accept` shares its listener's and has none of its own.
    bound: Option<Bound>,
    /// Membership in the table of connections; it ends with the connection.
    entry: Option<Entry<Flow, Vsock>>,
    device: Arc<Device<Context>>,
}

impl Link {
    pub(super) fn new(
        wire: Connection,
        bound: Option<Bound>,
        entry: Entry<Flow, Vsock>,
        device: Arc<Device<Context>>,
    ) -> Self {
        Link {
            wire,
            queue: ReceiveQueue::default(),
            bound,
            entry: Some(entry),
            device,
        }
    }

    /// Sends a packet without payload.
    pub(super) fn send_control(&mut self, control: Control) {
        let header = self.wire.control(control);
        self.device.send_control(&header);
    }

    /// Sends `payload` in a packet of its own. `header` is from [`Connection::data`].
    pub(super) fn send_payload(&self, sock: &Sock<Vsock>, header: &Header, mut payload: SkBuff) {
        sock.charge(&mut payload);
        self.device.send(header, payload);
    }

    /// Tells the peer of free space: now, or as soon as there is room in the transmit queue. At
    /// most one such packet is owed, and what it says is made up when it is sent.
    pub(super) fn send_credit(&mut self, sock: &Sock<Vsock>) {
        let owed = self.device.is_congested() && self.device.owe_credit(ARef::from(sock));
        if !owed {
            self.send_control(Control::CreditUpdate);
        }
    }

    /// Handles the header of a packet of this connection, and sends the answer if there is one.
    /// Returns what the caller is to do with the payload.
    pub(super) fn packet(&mut self, sock: &Sock<Vsock>, header: &Header) -> Payload {
        let disposition = self.wire.packet(header);
        match disposition.reply {
            Some(Control::CreditUpdate) => self.send_credit(sock),
            Some(control) => self.send_control(control),
            None => {}
        }
        disposition.payload
    }

    /// The largest payload of one packet on this link, in bytes.
    pub(super) fn largest_payload(&self) -> usize {
        Device::<Context>::LARGEST_PAYLOAD
    }

    /// Whether the connection goes over `device`.
    pub(super) fn is_on(&self, device: &Device<Context>) -> bool {
        core::ptr::eq(&*self.device, device)
    }

    /// Whether the device can no longer carry this connection: it is gone, or has another CID.
    pub(super) fn is_orphaned(&self) -> bool {
        self.device.is_gone() || self.device.cid() != self.wire.flow().local.cid
    }

    /// Whether packets for this connection find it.
    pub(super) fn is_in_table(&self) -> bool {
        self.entry.is_some()
    }

    /// Leaves the table: packets for this connection are from now on for nobody.
    pub(super) fn leave_table(&mut self) {
        drop(self.entry.take());
    }

    /// Ends the link and gives the socket's address back.
    pub(super) fn into_bound(self) -> Option<Bound> {
        self.bound
    }

    /// Where the connection stands.
    pub(super) fn phase(&self) -> Phase {
        self.wire.phase()
    }
}

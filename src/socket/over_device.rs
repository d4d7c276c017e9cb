// SPDX-License-Identifier: GPL-2.0

//! The way of a connection over the device, and what waits for room on it.
//!
//! What cannot be sent at once stays here: packets with payload, which are charged to the socket, and
//! the kinds of packets without any that are owed. So all of it goes with the connection.

use super::{
    context::Context,
    Vsock, //
};
use crate::net::{
    skb::SkBuff,
    skb_queue::SkBuffQueue,
    sock::Sock,
    table::Entry,
    zerocopy::Completion, //
};
use crate::protocol::{
    address::{
        Cid,
        Flow, //
    },
    connection::{
        Connection,
        Phase, //
    },
    owed::{
        Due,
        Owed, //
    },
    packet::{
        Control,
        Header, //
    },
};
use crate::transport::virtio::{
    Device,
    GiveBack,
    Turn, //
};
use kernel::sync::{
    aref::ARef,
    Arc, //
};

/// The way over a device.
pub(super) struct OverDevice {
    device: Arc<Device<Context>>,
    /// How often the device had lost its connections when this one was made.
    epoch: u32,
    /// Membership in the table of connections, so that packets find this one. `None` once the
    /// connection has ended.
    entry: Option<Entry<Flow, Vsock>>,
    /// Packets with payload, and their headers, that wait for room.
    packets: SkBuffQueue,
    /// What else does.
    owed: Owed,
}

impl OverDevice {
    /// A way over `device`, which finds the connection by its `entry`.
    pub(super) fn new(device: Arc<Device<Context>>, entry: Entry<Flow, Vsock>) -> Self {
        OverDevice {
            epoch: device.epoch(),
            device,
            entry: Some(entry),
            packets: SkBuffQueue::new(),
            owed: Owed::default(),
        }
    }

    /// The device.
    pub(super) fn device(&self) -> &Device<Context> {
        &self.device
    }

    /// Whether the device has lost the connection, whose own CID is `cid`.
    pub(super) fn is_lost(&self, cid: Cid) -> bool {
        let device = &self.device;
        device.is_gone() || device.epoch() != self.epoch || device.cid() != cid
    }

    /// What is to be sent next of what waits.
    fn next(&self) -> Option<Due> {
        self.owed.next(!self.packets.is_empty())
    }

    /// Sends a packet without payload, now or as soon as there is room.
    pub(super) fn send_control(
        &mut self,
        sock: &Sock<Vsock>,
        wire: &mut Connection,
        control: Control,
    ) {
        self.owed.put(control);
        self.send(sock, wire);
    }

    /// Sends `payload`, with its `header`, now or as soon as there is room. There must be headroom
    /// for it.
    pub(super) fn send_payload(
        &mut self,
        sock: &Sock<Vsock>,
        wire: &mut Connection,
        header: &Header,
        mut payload: SkBuff,
    ) {
        sock.charge(&mut payload);
        if payload.push_header(&header.encode()).is_ok() {
            self.packets.push_back(payload);
            self.send(sock, wire);
        }
    }

    /// Sends one packet of what waits.
    pub(super) fn take_turn(&mut self, sock: &Sock<Vsock>, wire: &mut Connection, turn: Turn) {
        self.send_next(sock, wire, Some(turn));
        self.wait(sock);
    }

    /// Sends what waits as far as that is possible without another turn than one that was kept.
    fn send(&mut self, sock: &Sock<Vsock>, wire: &mut Connection) {
        let mut turn = sock.shared().kept_turn();
        while self.send_next(sock, wire, turn.take()) {}
        self.wait(sock);
    }

    /// Waits for a turn, if there is something to send.
    fn wait(&self, sock: &Sock<Vsock>) {
        if self.next().is_some() {
            self.device.wait_for_turn(ARef::from(sock));
        }
    }

    /// Sends the next packet. Returns whether there was one that did not have to wait.
    fn send_next(&mut self, sock: &Sock<Vsock>, wire: &mut Connection, turn: Option<Turn>) -> bool {
        match self.next() {
            Some(Due::Payload) => {
                let Some(packet) = self.packets.pop_front() else {
                    return false;
                };
                let give_back = give_back(sock, &packet);
                let (device, flow) = (&self.device, wire.flow());
                match device.send_payload(turn, sock, flow, packet, give_back) {
                    Ok(()) => true,
                    Err(packet) => {
                        self.packets.push_front(packet);
                        false
                    }
                }
            }
            Some(Due::Control(control @ (Control::CreditUpdate | Control::CreditRequest)))
                if wire.phase() != Phase::Established =>
            {
                // The peer does not care any more.
                self.owed.sent(control);
                true
            }
            Some(Due::Control(control)) => {
                let header = wire.control(control);
                let sent = self.device.send_control(turn, sock, &header);
                if sent {
                    self.owed.sent(control);
                }
                sent
            }
            None => false,
        }
    }

    /// The connection has ended: nobody is to find it, and what waits is of no use to anybody. A
    /// reset that is owed is sent all the same, as that of a connection that is no more.
    pub(super) fn end(&mut self, sock: &Sock<Vsock>, wire: &mut Connection) {
        drop(self.entry.take());
        self.device.stop_waiting(sock);
        let _ = sock.shared().kept_turn();
        drop(core::mem::take(&mut self.packets));
        if self.owed.end() {
            let header = wire.control(Control::Reset);
            self.device.send_reset(header.flow, header.encode());
        }
    }
}

/// How soon the memory of `packet` is wanted back: soon if its sender is told when it is free, or may
/// have to wait for it before long.
fn give_back(sock: &Sock<Vsock>, packet: &SkBuff) -> GiveBack {
    let limit = sock.shared().options.memory_limit();
    if Completion::waits_for(packet) || sock.charged() >= limit / 2 {
        GiveBack::Soon
    } else {
        GiveBack::Later
    }
}

// SPDX-License-Identifier: GPL-2.0

//! From one socket to another of the same machine.
//!
//! Nothing is queued on the way, and no work is scheduled: whoever sends takes the spinlock of the
//! receiving socket and delivers. Two such spinlocks are never held together. Payload is sent by
//! tasks that own their socket, whose spinlock is free; packets without payload may have to be sent
//! with it held, so they are left here until it is given up. In what order they then arrive does
//! not matter: a half that was shut down stays so, a reset ends everything, credit is looked up by
//! the receiver, and payload that was sent before is there already.

use super::{
    Incoming,
    Receiver, //
};
use crate::net::{
    guard::SpinlockFree,
    skb::SkBuff,
    sock::Sock, //
};
use crate::protocol::packet::{
    Control,
    Halves,
    Header, //
};
use kernel::sync::aref::ARef;

/// The way to the socket at the other end of a connection.
pub(crate) struct Loopback<R: Receiver> {
    peer: ARef<Sock<R::Protocol>>,
    left: Left,
}

/// Packets that are left to be sent.
#[derive(Default)]
struct Left {
    credit: bool,
    shutdown: Option<Halves>,
    reset: bool,
}

impl<R: Receiver> Loopback<R> {
    /// A way to `peer`.
    pub(crate) fn new(peer: ARef<Sock<R::Protocol>>) -> Self {
        Loopback {
            peer,
            left: Left::default(),
        }
    }

    /// Delivers a packet with payload. Process context.
    pub(crate) fn send(
        &self,
        _: SpinlockFree<'_>,
        from: &Sock<R::Protocol>,
        header: &Header,
        payload: SkBuff,
    ) {
        R::receive_local(&self.peer, from, header, &mut Incoming::from_local(payload));
    }

    /// Leaves a packet without payload to be sent when no lock is held. Returns whether there is
    /// something to be sent: what opens a connection is not, since that is done in one step, and
    /// neither are questions about credit, which can be looked up.
    pub(crate) fn leave(&mut self, control: Control) -> bool {
        match control {
            Control::Request | Control::Response | Control::CreditRequest => return false,
            Control::CreditUpdate => self.left.credit = true,
            Control::Shutdown(halves) => self.left.shutdown = Some(halves),
            Control::Reset => self.left.reset = true,
        }
        true
    }

    /// Whether packets were left to be sent.
    pub(crate) fn has_left(&self) -> bool {
        self.left.credit || self.left.shutdown.is_some() || self.left.reset
    }

    /// Takes out what was left. `header` makes the header of a packet.
    pub(crate) fn take_left(&mut self, mut header: impl FnMut(Control) -> Header) -> Outgoing<R> {
        let left = core::mem::take(&mut self.left);
        Outgoing {
            peer: self.peer.clone(),
            headers: [
                left.credit.then_some(Control::CreditUpdate),
                left.shutdown.map(Control::Shutdown),
                left.reset.then_some(Control::Reset),
            ]
            .map(|control| control.map(&mut header)),
        }
    }
}

/// Packets on their way to a socket.
#[must_use = "the packets are lost if they are not delivered"]
pub(crate) struct Outgoing<R: Receiver> {
    peer: ARef<Sock<R::Protocol>>,
    headers: [Option<Header>; 3],
}

impl<R: Receiver> Outgoing<R> {
    /// Delivers the packets. The caller holds no spinlock of a socket. Process context or BH.
    pub(crate) fn deliver(self, from: &Sock<R::Protocol>) {
        for header in self.headers.iter().flatten() {
            R::receive_local(&self.peer, from, header, &mut { Incoming::NOTHING });
        }
    }
}

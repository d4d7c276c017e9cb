// SPDX-License-Identifier: GPL-2.0

//! From one socket to another of the same machine.
//!
//! Nothing is queued on the way, and no work is scheduled: whoever sends takes the spinlock of the
//! receiving socket and delivers. Two such spinlocks are never held together. Payload is sent by
//! tasks that own their socket, whose spinlock is free. Packets without payload may come up while it
//! is held, so they are pending here until it is given up.
//!
//! Two of those may pass each other, then: the ones that one task took out, and the ones that came
//! up since. Payload that was sent before either is there already. Credit is looked up by the
//! receiver, and a half that was shut down stays so. A reset ends everything, and a shutdown that it
//! passes would have come from an end that is lost in the same moment.

use super::{
    Delivery,
    Incoming,
    Receiver, //
};
use crate::net::{
    guard::SpinlockFree,
    skb::{
        PayloadLimits,
        SkBuff, //
    },
    sock::Sock, //
};
use crate::protocol::{
    address::Flow,
    credit::Advertisement,
    packet::{
        Control,
        Halves,
        Header,
        SocketType, //
    },
};
use kernel::sync::aref::ARef;

/// How large a packet may be.
pub(crate) const PAYLOAD_LIMITS: PayloadLimits =
    PayloadLimits::new(PayloadLimits::MAX_PIECES, 64 * 1024);

/// The way to the socket at the other end of a connection.
pub(crate) struct Loopback<R: Receiver> {
    peer: ARef<Sock<R::Protocol>>,
    pending: Pending,
}

/// Packets that are to be delivered when no spinlock is held.
#[derive(Default)]
struct Pending {
    credit_request: bool,
    credit: bool,
    shutdown: Option<Halves>,
    reset: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        !(self.credit_request || self.credit || self.shutdown.is_some() || self.reset)
    }

    /// In the order in which they are to arrive.
    fn controls(&self) -> impl Iterator<Item = Control> {
        [
            self.credit_request.then_some(Control::CreditRequest),
            self.credit.then_some(Control::CreditUpdate),
            self.shutdown.map(Control::Shutdown),
            self.reset.then_some(Control::Reset),
        ]
        .into_iter()
        .flatten()
    }
}

impl<R: Receiver> Loopback<R> {
    /// A way to `peer`.
    pub(crate) fn new(peer: ARef<Sock<R::Protocol>>) -> Self {
        Loopback {
            peer,
            pending: Pending::default(),
        }
    }

    /// The socket at the other end.
    pub(crate) fn peer(&self) -> &Sock<R::Protocol> {
        &self.peer
    }

    /// Delivers a packet with payload, whose header is as its sender sees it. Returns whether there
    /// still was a connection to take it. Process context.
    pub(crate) fn send(
        &self,
        _: SpinlockFree<'_>,
        from: &Sock<R::Protocol>,
        header: &Header,
        payload: SkBuff,
    ) -> bool {
        let mut payload = Incoming::from_local(payload);
        let header = || header.to_receiver();
        R::receive_local(&self.peer, from, header, &mut payload) == Delivery::Taken
    }

    /// As [`Loopback::send`] for payload that is in no buffer. `header` makes the header, as its sender
    /// sees it, when there is room. Process context.
    pub(crate) fn gather(
        &self,
        _: SpinlockFree<'_>,
        from: &Sock<R::Protocol>,
        header: impl FnOnce() -> Header,
        payload: &[u8],
    ) -> Delivery {
        let mut payload = Incoming::from_bytes(payload);
        let header = || header().to_receiver();
        R::receive_local(&self.peer, from, header, &mut payload)
    }

    /// Leaves a packet without payload to be delivered when no lock is held. Returns whether there is
    /// something to be delivered: what opens a connection is not, since that is done in one step.
    pub(crate) fn queue(&mut self, control: Control) -> bool {
        let pending = &mut self.pending;
        match control {
            Control::Request | Control::Response => return false,
            Control::CreditRequest => pending.credit_request = true,
            Control::CreditUpdate => pending.credit = true,
            Control::Shutdown(halves) => pending.shutdown = Some(halves),
            Control::Reset => {
                // The peer is not to take the end for an orderly one.
                pending.shutdown = None;
                pending.reset = true;
            }
        }
        true
    }

    /// Whether packets are pending.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes out what is pending. `credit` is what each of the packets tells.
    pub(crate) fn take_pending(
        &mut self,
        flow: Flow,
        kind: SocketType,
        credit: Advertisement,
    ) -> Outgoing<R> {
        Outgoing {
            peer: self.peer.clone(),
            pending: core::mem::take(&mut self.pending),
            flow,
            kind,
            credit,
        }
    }
}

/// Packets on their way to a socket.
#[must_use = "the packets are lost if they are not delivered"]
pub(crate) struct Outgoing<R: Receiver> {
    peer: ARef<Sock<R::Protocol>>,
    pending: Pending,
    /// As the sender sees it.
    flow: Flow,
    kind: SocketType,
    credit: Advertisement,
}

impl<R: Receiver> Outgoing<R> {
    /// Delivers the packets. The caller holds no spinlock of a socket. Process context or BH.
    pub(crate) fn deliver(self, from: &Sock<R::Protocol>) {
        let mut nothing = Incoming::NOTHING;
        for control in self.pending.controls() {
            let header = Header::control(self.flow, self.kind, control, self.credit);
            // They go to a connection that may have ended meanwhile, which is all right.
            let _ = R::receive_local(&self.peer, from, || header.to_receiver(), &mut nothing);
        }
    }
}

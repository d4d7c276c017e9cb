// SPDX-License-Identifier: GPL-2.0

//! How packets travel.
//!
//! A transport knows packets and where they go, and nothing of what a connection is. What it
//! receives it hands upwards through [`Receiver`], which the socket floor implements.

#![forbid(unsafe_code)]

mod incoming;
pub(crate) mod loopback;
mod unsent;
pub(crate) mod virtio;

pub(crate) use self::incoming::Incoming;

use crate::net::sock::{
    Protocol,
    Sock, //
};
use crate::protocol::{
    address::Flow,
    packet::{
        Header,
        HeaderBytes, //
    },
    reason::DropReason, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use virtio::{
    Descriptors,
    Device,
    Turn, //
};

/// What has become of a packet for another socket of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a packet for which there was no room has to be sent in another way"]
pub(crate) enum Delivery {
    /// It is with the connection.
    Taken,
    /// There is no connection any more.
    Closed,
    /// Its payload is in no buffer, and found no room in one. It was not sent.
    NoRoom,
}

/// The floor above: who owns the connections.
pub(crate) trait Receiver: Send + Sync + Sized + 'static {
    /// What kind of sockets the connections have.
    type Protocol: Protocol;

    /// The receiver of packets, while the family is registered.
    fn current() -> Option<Arc<Self>>;

    /// Whether there is a device. Process context.
    fn has_device(&self) -> bool;

    /// How many descriptors of a device a packet may take. Any context.
    fn descriptors(&self) -> Descriptors;

    /// A device came. There can be one: otherwise `EBUSY`. Process context.
    fn attach(&self, device: &Arc<Device<Self>>) -> Result;

    /// The device is going: none of its connections can go on. Process context.
    fn detach(&self, device: &Arc<Device<Self>>);

    /// The device says that it lost all connections, or broke its queues. Listeners stay, and are
    /// found under the CID that the device has now. Process context.
    fn transport_reset(&self, device: &Arc<Device<Self>>);

    /// A valid packet for this machine. What comes back is to be answered when no connection
    /// takes it. BH.
    fn receive(
        &self,
        device: &Arc<Device<Self>>,
        header: &Header,
        payload: &mut Incoming<'_>,
    ) -> Option<HeaderBytes>;

    /// A packet from the connection of `from` for that of `to`, both of this machine. `header` makes
    /// its header once it is certain that there is room for it; the credit in that may be out of date
    /// by then.
    ///
    /// Process context or BH. The caller holds no spinlock of a socket; it may own `from`. `header` is
    /// called with the spinlock of `to` held.
    fn receive_local(
        to: &Sock<Self::Protocol>,
        from: &Sock<Self::Protocol>,
        header: impl FnOnce() -> Header,
        payload: &mut Incoming<'_>,
    ) -> Delivery;

    /// A packet was dropped before it reached a connection. Any context.
    fn count_drop(&self, reason: DropReason);

    /// The connection of `sock`, which waited for room, may send one packet by this `turn`. If it has
    /// more to send, it waits again. Process context or BH.
    fn take_turn(sock: &Sock<Self::Protocol>, turn: Turn);

    /// The two ends of the connection of `sock`, which waits for room. Any context.
    fn flow(sock: &Sock<Self::Protocol>) -> Flow;
}

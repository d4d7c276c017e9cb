// SPDX-License-Identifier: GPL-2.0

//! What can happen to the two endpoints.

use proptest::prelude::*;

use crate::protocol::packet::Halves;

/// One of the two endpoints, and the link that leads away from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The end that connects.
    Active,
    /// The end that listens.
    Passive,
}

impl Side {
    /// Both of them.
    pub(crate) const BOTH: [Side; 2] = [Side::Active, Side::Passive];

    /// The other one.
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Active => Side::Passive,
            Side::Passive => Side::Active,
        }
    }
}

/// One step. What makes no sense at the moment (a read of a socket that is gone, say) does
/// nothing.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The active end connects.
    Connect,
    /// The passive end's program takes the connection from the backlog.
    Accept,
    /// The end sends up to so many bytes.
    Send(Side, u32),
    /// The oldest packet that this end sent arrives at the other.
    Deliver(Side),
    /// The end reads up to so many bytes of what is there.
    Read(Side, u32),
    /// The end's reader asks for so many bytes, with MSG_WAITALL or without, and sleeps if need
    /// be.
    Receive(Side, usize, bool),
    /// The end shuts down one or both directions.
    Shutdown(Side, Halves),
    /// The end's program closes its socket.
    Close(Side),
    /// The end's timer fires, in time or late.
    Timeout(Side),
    /// The end's receive buffer gets another size.
    Resize(Side, u32),
    /// The end asks the other for its credit.
    AskForCredit(Side),
    /// A task owns the end's socket from now on, so that what arrives is put aside.
    Own(Side),
    /// It lets go.
    Disown(Side),
    /// The end's transport loses its connections, and what is under way with them.
    TransportReset(Side),
}

/// What a run starts from.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Receive buffers of both ends, in bytes.
    pub(crate) buf_alloc: [u32; 2],
    /// SO_RCVLOWAT of both ends, in bytes.
    pub(crate) low_water: [usize; 2],
    /// Whether there is a listener.
    pub(crate) listening: bool,
    /// Where the counters start, if the run begins with a connection that has carried bytes.
    pub(crate) carried: Option<u32>,
    /// What happens.
    pub(crate) events: Vec<Event>,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Active), Just(Side::Passive)]
}

/// Sizes of buffers: small, so that a few packets fill them, and of the usual order.
pub(crate) fn buf_alloc() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 1_u32..300,
        1 => Just(0_u32),
        1 => Just(262_144_u32),
        1 => 300_u32..100_000,
    ]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1_u32..120, 1 => Just(0_u32), 1 => 1_u32..400_000]
}

fn halves() -> impl Strategy<Value = Halves> {
    (any::<bool>(), any::<bool>()).prop_map(|(receive, send)| Halves { receive, send })
}

/// Events of a connection's ordinary life.
fn traffic() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => (side(), count()).prop_map(|(side, count)| Event::Send(side, count)),
        16 => side().prop_map(Event::Deliver),
        7 => (side(), count()).prop_map(|(side, count)| Event::Read(side, count)),
        3 => (side(), count(), any::<bool>())
            .prop_map(|(side, count, all)| Event::Receive(side, count as usize, all)),
        2 => (side(), buf_alloc()).prop_map(|(side, size)| Event::Resize(side, size)),
        1 => side().prop_map(Event::AskForCredit),
        1 => Just(Event::Accept),
        2 => side().prop_map(Event::Own),
        3 => side().prop_map(Event::Disown),
    ]
}

/// Events that begin or end something.
fn turning_points() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Connect),
        1 => (side(), halves()).prop_map(|(side, halves)| Event::Shutdown(side, halves)),
        1 => side().prop_map(Event::Close),
        1 => side().prop_map(Event::Timeout),
        1 => side().prop_map(Event::TransportReset),
    ]
}

fn scenario(events: impl Strategy<Value = Vec<Event>>) -> impl Strategy<Value = Scenario> {
    let carried = prop_oneof![
        2 => Just(None),
        1 => any::<u32>().prop_map(Some),
        // So close below 2^32 that the run goes through it.
        2 => (0_u32..400).prop_map(|below| Some(u32::MAX - below)),
    ];
    (
        [buf_alloc(), buf_alloc()],
        [1_usize..400, 1_usize..400],
        prop::bool::weighted(0.95),
        carried,
        events,
    )
        .prop_map(
            |(buf_alloc, low_water, listening, carried, events)| Scenario {
                buf_alloc,
                low_water,
                listening,
                carried,
                events,
            },
        )
}

/// Anything, in any order.
pub(crate) fn anything() -> impl Strategy<Value = Scenario> {
    scenario(prop::collection::vec(
        prop_oneof![12 => traffic(), 1 => turning_points()],
        0..120,
    ))
}

/// A connection that is made, accepted, and used; nothing ends it.
pub(crate) fn open_connection() -> impl Strategy<Value = Scenario> {
    scenario(
        prop::collection::vec(traffic(), 0..120).prop_map(|traffic| {
            let mut events = vec![
                Event::Connect,
                Event::Deliver(Side::Active),
                Event::Deliver(Side::Passive),
                Event::Accept,
            ];
            events.extend(traffic);
            events
        }),
    )
    .prop_map(|scenario| Scenario {
        listening: true,
        ..scenario
    })
}

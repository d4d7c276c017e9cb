// SPDX-License-Identifier: GPL-2.0

//! Two endpoints that keep the rules, under any interleaving of events.

use proptest::prelude::*;

use crate::model::event::{anything, open_connection, Event, Scenario, Side};
use crate::model::world::World;
use crate::protocol::connection::{Cause, Phase};
use crate::protocol::packet::Halves;
use crate::protocol::wake;

fn run(scenario: &Scenario) -> World {
    let mut world = World::new(scenario);
    for event in &scenario.events {
        world.step(event);
    }
    world.settle();
    world
}

/// What must be true when nothing is under way any more.
fn check_quiescence(world: &World) {
    for side in Side::BOTH {
        let (sender, receiver) = (world.view(side), world.view(side.other()));
        if sender.transport_lost {
            continue;
        }
        let receiver_left = receiver.released || receiver.shut.receive || receiver.abandoned;
        if !receiver_left {
            assert_eq!(
                sender.sent, receiver.received,
                "all that was sent arrived, whatever came after it"
            );
            assert_eq!(receiver.queued(), receiver.received - receiver.taken);
        }
        if sender.ended_orderly && !receiver_left {
            if let Some(connection) = &receiver.connection {
                assert!(connection.receive_ended(), "the end of the stream is known");
                assert!(
                    matches!(
                        connection.phase(),
                        Phase::Established | Phase::Closed(Cause::Orderly)
                    ),
                    "an orderly end is no reset: {:?}",
                    connection.phase()
                );
            }
        }
        if sender.sent_reset && !sender.ended_orderly && !receiver.released {
            let phase = receiver.phase();
            assert!(
                matches!(phase, None | Some(Phase::Closed(_))),
                "a reset ends the connection: {phase:?}"
            );
        }
        assert_ne!(
            sender.phase(),
            Some(Phase::Closing),
            "a close ends by the peer's answer, not by the timer"
        );
        assert_ne!(
            sender.phase(),
            Some(Phase::Connecting),
            "a request is answered"
        );
    }
}

/// Whether bytes can still go from one end to the other.
fn is_open(world: &World, from: Side) -> bool {
    let (sender, receiver) = (world.view(from), world.view(from.other()));
    let (Some(source), Some(sink)) = (&sender.connection, &receiver.connection) else {
        return false;
    };
    sender.is_established()
        && receiver.is_established()
        && receiver.accepted
        && !source.send_ended()
        && !sink.receive_ended()
}

/// Lets `from` send all that it may, and all of it arrive. Tells whether anything was sent.
fn pump(world: &mut World, from: Side) -> bool {
    let before = world.view(from).sent;
    world.step(&Event::Send(from, u32::MAX));
    world.settle();
    world.view(from).sent > before
}

/// What a reader asks for at the end of a run.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// Bytes that were sent and read just before, of which the sender may not have heard.
    before: u32,
    /// Bytes that it wants, or else so many less than the window.
    wanted: Result<usize, usize>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let wanted = prop_oneof![(1_usize..2_000).prop_map(Ok), (0_usize..50).prop_map(Err),];
    (0_u32..60, wanted).prop_map(|(before, wanted)| Wish { before, wanted })
}

/// A sender that has data for ever meets what the reader at the other end waits for: nobody
/// sleeps for bytes that the peer is not allowed to send.
fn check_liveness(world: &mut World, from: Side, wish: Wish) {
    let to = from.other();
    if !is_open(world, from) {
        return;
    }
    // Buffers of no bytes take none.
    if Side::BOTH
        .into_iter()
        .any(|side| world.view(side).buf_alloc == 0)
    {
        return;
    }
    // Whoever polls does nothing but wait.
    if world.view(to).sleeper.is_none() {
        while pump(world, from) {}
        let end = world.view(to);
        let connection = end.connection.as_ref().expect("it is open");
        let level = wake::readable_at(end.low_water, connection.window());
        assert!(
            end.queued() >= level as u64,
            "a poller waits for {level} bytes and {} are queued",
            end.queued()
        );
    }
    finish_reader(world, from);
    // A reader that finds nothing and wants it all.
    world.step(&Event::Read(to, u32::MAX));
    world.settle();
    world.step(&Event::Send(from, wish.before));
    world.settle();
    world.step(&Event::Read(to, u32::MAX));
    world.settle();
    let window = world.view(to).connection.as_ref().map(|c| c.window());
    let window = window.expect("it is open") as usize;
    let wanted = wish
        .wanted
        .unwrap_or_else(|less| window.saturating_sub(less).max(1));
    world.step(&Event::Receive(to, wanted, true));
    let before = world.view(to).wakes;
    finish_reader(world, from);
    let wakes = world.view(to).wakes - before;
    let most = if wanted <= window {
        1
    } else {
        // Each but the last takes at least half of the window.
        wanted.div_ceil((window / 2).max(1)) + 1
    };
    assert!(wakes <= most, "{wakes} wake-ups for {wanted} in {window}");
}

/// Sends until the reader at the other end has what it wants.
fn finish_reader(world: &mut World, from: Side) {
    let to = from.other();
    while let Some(sleeper) = world.view(to).sleeper {
        let progress = pump(world, from);
        assert!(
            progress,
            "a reader sleeps for {} bytes and the sender may send nothing",
            sleeper.wanted
        );
    }
}

/// Both ends read what is there and close; everything arrives, and nothing is left.
fn finish(world: &mut World) {
    for side in Side::BOTH {
        world.step(&Event::Accept);
        world.step(&Event::Read(side, u32::MAX));
    }
    world.settle();
    for side in Side::BOTH {
        world.step(&Event::Read(side, u32::MAX));
        world.step(&Event::Close(side));
        world.settle();
    }
    check_quiescence(world);
}

proptest! {
    #![proptest_config(super::config(20_000))]

    /// The invariants of each step (see [`World::step`]), and of the quiet after it.
    #[test]
    fn any_interleaving_keeps_the_rules(scenario in anything()) {
        let mut world = run(&scenario);
        check_quiescence(&world);
        finish(&mut world);
    }

    #[test]
    fn nobody_sleeps_for_bytes_that_cannot_come(
        scenario in open_connection(),
        wish in wish(),
        first in any::<bool>(),
    ) {
        let mut world = run(&scenario);
        check_quiescence(&world);
        let sides = if first { [Side::Active, Side::Passive] } else { [Side::Passive, Side::Active] };
        for side in sides {
            check_liveness(&mut world, side, wish);
        }
        finish(&mut world);
    }

    #[test]
    fn nobody_sleeps_for_ever_after_turning_points(
        scenario in anything(),
        wish in wish(),
    ) {
        let mut world = run(&scenario);
        for side in Side::BOTH {
            check_liveness(&mut world, side, wish);
        }
        finish(&mut world);
    }

    /// A half that is shut down leaves the other half as it is.
    #[test]
    fn a_half_close_is_exact(scenario in open_connection(), answer in 1_u32..200) {
        let mut world = run(&scenario);
        let shut = Halves { receive: false, send: true };
        world.step(&Event::Shutdown(Side::Active, shut));
        world.settle();
        let before = world.view(Side::Passive).sent;
        world.step(&Event::Read(Side::Active, u32::MAX));
        world.settle();
        world.step(&Event::Send(Side::Passive, answer));
        world.settle();
        let sent = world.view(Side::Passive).sent;
        prop_assert!(sent > before || Side::BOTH.into_iter().any(|side| world.view(side).buf_alloc == 0));
        prop_assert_eq!(world.view(Side::Active).received, sent);
        prop_assert!(world.view(Side::Passive).is_established());
        finish(&mut world);
    }
}

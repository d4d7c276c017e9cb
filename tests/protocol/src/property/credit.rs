// SPDX-License-Identifier: GPL-2.0

//! Credit by itself, with counters that start anywhere and lengths up to 2^32 - 1.

use proptest::prelude::*;

use crate::protocol::credit::{Advertisement, Counter, Overrun, ReceiveCredit, SendCredit};

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![
        0_u32..100,
        any::<u32>(),
        Just(u32::MAX),
        Just(u32::MAX - 1),
        Just(1 << 31)
    ]
}

#[derive(Clone, Debug)]
enum Receiving {
    Receive(u32),
    Forward(u32),
    Resize(u32),
    Announce,
}

fn receiving() -> impl Strategy<Value = Receiving> {
    prop_oneof![
        4 => length().prop_map(Receiving::Receive),
        4 => length().prop_map(Receiving::Forward),
        1 => length().prop_map(Receiving::Resize),
        2 => Just(Receiving::Announce),
    ]
}

#[derive(Clone, Debug)]
enum Sending {
    Send(u32, u32),
    Update(u32, u32),
}

fn sending() -> impl Strategy<Value = Sending> {
    prop_oneof![
        (length(), length()).prop_map(|(len, limit)| Sending::Send(len, limit)),
        (length(), length()).prop_map(|(back, buf_alloc)| Sending::Update(back, buf_alloc)),
    ]
}

proptest! {
    #![proptest_config(super::config(40_000))]

    #[test]
    fn counters_have_a_difference_wherever_they_stand(start in any::<u32>(), by in any::<u32>()) {
        let earlier = Counter::from_wire(start);
        let later = earlier.after(by);
        prop_assert_eq!(later.since(earlier), by);
        prop_assert_eq!(later.to_wire(), (u64::from(start) + u64::from(by)) as u32);
    }

    #[test]
    fn what_is_received_stays_within_the_grant(
        buf_alloc in length(),
        steps in prop::collection::vec(receiving(), 0..60),
    ) {
        let mut credit = ReceiveCredit::new(buf_alloc);
        let (mut size, mut received, mut taken) = (u64::from(buf_alloc), 0_u64, 0_u64);
        let (mut granted, mut announced) = (size, (0_u64, 0_u64));
        for step in steps {
            match step {
                Receiving::Receive(len) => {
                    let fits = received + u64::from(len) <= granted;
                    prop_assert_eq!(credit.receive(len), if fits { Ok(()) } else { Err(Overrun) });
                    received += if fits { u64::from(len) } else { 0 };
                }
                Receiving::Forward(len) => {
                    credit.forward(len);
                    taken = received.min(taken + u64::from(len));
                }
                Receiving::Resize(len) => {
                    credit.resize(len);
                    size = u64::from(len);
                }
                Receiving::Announce => {
                    // The peer knows of all but less than 2^32 bytes, or has not been told for
                    // too long; the callers announce with every packet.
                    announced = (taken, size);
                    let says = credit.announce();
                    prop_assert_eq!(u64::from(says.buf_alloc), size);
                    prop_assert_eq!(says.fwd_cnt.to_wire(), taken as u32);
                }
            }
            granted = granted.max(taken + size);
            prop_assert_eq!(u64::from(credit.buf_alloc()), size);
            prop_assert_eq!(u64::from(credit.queued()), received - taken);
            if received - announced.0 < 1 << 32 {
                prop_assert_eq!(u64::from(credit.unannounced()), taken - announced.0);
                for window in [0, 1, 1000, u32::MAX] {
                    let free = u64::from(window).min(announced.1);
                    let free = free.saturating_sub(received - announced.0);
                    prop_assert_eq!(u64::from(credit.known_free(window)), free);
                }
            }
        }
    }

    #[test]
    fn what_is_sent_stays_within_the_credit(steps in prop::collection::vec(sending(), 0..60)) {
        let mut credit = SendCredit::default();
        let (mut sent, mut forwarded, mut size) = (0_u64, 0_u64, 0_u64);
        for step in steps {
            match step {
                Sending::Send(len, limit) => {
                    let room = size.min(u64::from(limit)).saturating_sub(sent - forwarded);
                    prop_assert_eq!(u64::from(credit.available(limit)), room);
                    let count = credit.send(len, limit);
                    prop_assert_eq!(u64::from(count), room.min(u64::from(len)));
                    sent += u64::from(count);
                }
                Sending::Update(back, buf_alloc) => {
                    // So many bytes behind what was sent: a lie if that is behind the last word.
                    let fwd_cnt = Counter::from_wire((sent as u32).wrapping_sub(back));
                    let honest = u64::from(back) <= sent - forwarded;
                    let taken = credit.update(Advertisement { buf_alloc, fwd_cnt });
                    prop_assert_eq!(taken, honest);
                    if honest {
                        forwarded = sent - u64::from(back);
                        size = u64::from(buf_alloc);
                    }
                }
            }
            prop_assert_eq!(u64::from(credit.in_flight()), sent - forwarded);
            prop_assert_eq!(u64::from(credit.buf_alloc()), size);
            prop_assert!(sent - forwarded < 1 << 32);
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! How large receive buffers become.

use crate::protocol::buffer_size::{BufferSize, SMALLEST};

/// So many packets arrive in a row that fill their buffers.
fn full(size: &mut BufferSize, count: u32) {
    for _ in 0..count {
        let bytes = BufferSize::bytes(size.order());
        size.arrived(bytes, bytes);
    }
}

/// So many packets of a few bytes arrive in a row.
fn small(size: &mut BufferSize, count: u32) {
    for _ in 0..count {
        size.arrived(100, BufferSize::bytes(size.order()));
    }
}

#[test]
fn who_receives_little_holds_little() {
    let mut size = BufferSize::default();
    small(&mut size, 1000);
    assert_eq!(size.order(), 0);
    assert_eq!(BufferSize::bytes(size.order()), SMALLEST);
}

#[test]
fn what_fills_its_buffers_gets_larger_ones() {
    let mut size = BufferSize::default();
    full(&mut size, 3);
    assert_eq!(size.order(), 0);
    full(&mut size, 1);
    assert_eq!(size.order(), 1);
    full(&mut size, 1000);
    assert_eq!(size.order(), BufferSize::LARGEST);
    assert_eq!(BufferSize::bytes(size.order()), 65_536);
    assert_eq!(BufferSize::bytes(u32::MAX), 65_536);
}

#[test]
fn the_rests_of_what_was_split_change_nothing() {
    let mut size = BufferSize::default();
    for _ in 0..20 {
        full(&mut size, 1);
        small(&mut size, 1);
    }
    assert_eq!(size.order(), BufferSize::LARGEST);
}

#[test]
fn buffers_of_earlier_days_do_not_count() {
    let mut size = BufferSize::default();
    full(&mut size, 4);
    for _ in 0..100 {
        size.arrived(SMALLEST, SMALLEST);
    }
    assert_eq!(size.order(), 1);
}

#[test]
fn buffers_shrink_when_far_smaller_ones_would_do() {
    let mut size = BufferSize::default();
    full(&mut size, 100);
    // More than a quarter is no waste.
    for _ in 0..1000 {
        size.arrived(20_000, 65_536);
    }
    assert_eq!(size.order(), 4);
    small(&mut size, 63);
    assert_eq!(size.order(), 4);
    small(&mut size, 1);
    assert_eq!(size.order(), 3);
    small(&mut size, 1000);
    assert_eq!(size.order(), 0);
}

#[test]
fn a_quarter_of_what_there_was_at_first_is_few() {
    assert_eq!(BufferSize::low(1), 1024);
    assert_eq!(BufferSize::low(128), 128 << 10);
    assert_eq!(BufferSize::low(1024), BufferSize::LIMIT / 4);
    assert_eq!(BufferSize::low(usize::MAX), BufferSize::LIMIT / 4);
}

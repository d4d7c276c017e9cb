// SPDX-License-Identifier: GPL-2.0

//! What a device tells beside packets.

use crate::protocol::event::{Event, EVENT_LEN};

#[test]
fn spec_28_a_transport_reset_is_event_0() {
    assert_eq!(Event::parse([0; 4], EVENT_LEN), Event::TransportReset);
}

#[test]
fn other_events_are_none_that_is_known() {
    for id in [1, 2, 1 << 8, 1 << 16, 1 << 31, u32::MAX] {
        let event = Event::parse(id.to_le_bytes(), EVENT_LEN);
        assert_eq!(event, Event::Unknown, "{id}");
    }
}

#[test]
fn what_has_another_length_is_no_event() {
    for written in [0, 1, 3, 5, usize::MAX] {
        assert_eq!(Event::parse([0; 4], written), Event::Malformed, "{written}");
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Which types of sockets follow from the features of a device.

use crate::protocol::feature::{SocketTypes, ACCEPTED};
use crate::protocol::packet::SocketType;

/// The specification's numbers.
const STREAM: u32 = 1 << 0;
const SEQPACKET: u32 = 1 << 1;
const NO_IMPLIED_STREAM: u32 = 1 << 2;

/// Whether streams and messages can be had with these features.
fn types(features: u32) -> Option<(bool, bool)> {
    let types = SocketTypes::negotiated(|bit| features & (1 << bit) != 0)?;
    Some((
        types.has(SocketType::Stream),
        types.has(SocketType::Seqpacket),
    ))
}

#[test]
fn spec_2_each_feature_has_its_bit_and_spec_3_each_is_accepted() {
    let accepted = ACCEPTED.iter().fold(0, |bits, bit| bits | 1 << bit);
    assert_eq!(accepted, STREAM | SEQPACKET | NO_IMPLIED_STREAM);
    assert_eq!(types(STREAM), Some((true, false)));
    assert_eq!(types(STREAM | SEQPACKET), Some((true, true)));
}

#[test]
fn spec_4_a_device_that_says_nothing_has_streams() {
    assert_eq!(types(0), Some((true, false)));
}

#[test]
fn spec_5_and_so_does_one_that_tells_of_messages_alone() {
    assert_eq!(types(SEQPACKET), Some((true, true)));
}

#[test]
fn spec_6_unless_it_says_that_they_are_not_implied() {
    assert_eq!(types(SEQPACKET | NO_IMPLIED_STREAM), Some((false, true)));
    assert_eq!(types(NO_IMPLIED_STREAM), None, "no type at all");
    assert_eq!(types(STREAM | NO_IMPLIED_STREAM), Some((true, false)));
    assert_eq!(
        types(STREAM | SEQPACKET | NO_IMPLIED_STREAM),
        Some((true, true))
    );
}

#[test]
fn features_of_later_days_change_nothing() {
    assert_eq!(types(!7), types(0));
    assert_eq!(types(!0), types(7));
}

// SPDX-License-Identifier: GPL-2.0

//! What waits for room on the way out.

use crate::protocol::owed::{Due, Owed};
use crate::protocol::packet::{Control, Halves};

const SEND: Halves = Halves {
    receive: false,
    send: true,
};

fn owed(controls: &[Control]) -> Owed {
    let mut owed = Owed::default();
    for &control in controls {
        owed.put(control);
    }
    owed
}

/// Everything in the order in which it leaves, with so many packets with payload.
fn leaves(mut owed: Owed, mut payload: usize) -> Vec<Due> {
    let mut left = Vec::new();
    while let Some(due) = owed.next(payload > 0) {
        left.push(due);
        match due {
            Due::Control(control) => owed.sent(control),
            Due::Payload => payload -= 1,
        }
    }
    left
}

fn controls(controls: &[Control]) -> Vec<Due> {
    controls.iter().copied().map(Due::Control).collect()
}

#[test]
fn nothing_is_owed_at_first() {
    assert_eq!(leaves(Owed::default(), 0), []);
    assert_eq!(leaves(Owed::default(), 2), [Due::Payload, Due::Payload]);
}

#[test]
fn spec_13_each_kind_is_owed_once_however_often_it_came_up() {
    let mut owed = Owed::default();
    for _ in 0..1000 {
        owed.put(Control::CreditUpdate);
        owed.put(Control::CreditRequest);
        owed.put(Control::Shutdown(SEND));
    }
    owed.put(Control::Shutdown(Halves::BOTH));
    let left = leaves(owed, 0);
    assert_eq!(
        left,
        controls(&[Control::Shutdown(Halves::BOTH), Control::CreditRequest]),
        "what ends carries the credit"
    );
}

#[test]
fn the_opening_comes_first_and_the_end_last() {
    for opening in [Control::Request, Control::Response] {
        let owed = owed(&[Control::Shutdown(SEND), Control::CreditUpdate, opening]);
        assert_eq!(
            leaves(owed, 2),
            [
                Due::Control(opening),
                Due::Payload,
                Due::Payload,
                Due::Control(Control::Shutdown(SEND)),
            ]
        );
    }
}

#[test]
fn word_of_credit_comes_after_payload_that_carries_an_older_one() {
    let left = leaves(owed(&[Control::CreditUpdate]), 1);
    assert_eq!(left, [Due::Payload, Due::Control(Control::CreditUpdate)]);
}

#[test]
fn both_words_of_credit_are_sent() {
    let left = leaves(owed(&[Control::CreditRequest, Control::CreditUpdate]), 0);
    assert_eq!(
        left,
        controls(&[Control::CreditUpdate, Control::CreditRequest])
    );
}

#[test]
fn a_reset_makes_all_else_needless() {
    let all = [
        Control::Response,
        Control::CreditUpdate,
        Control::CreditRequest,
        Control::Shutdown(Halves::BOTH),
        Control::Reset,
    ];
    assert_eq!(leaves(owed(&all), 0), controls(&[Control::Reset]));
    assert_eq!(owed(&all).next(true), Some(Due::Control(Control::Reset)));
}

#[test]
fn a_request_that_was_not_sent_needs_no_reset() {
    assert_eq!(leaves(owed(&[Control::Request, Control::Reset]), 0), []);
    let mut sent = owed(&[Control::Request]);
    sent.sent(Control::Request);
    sent.put(Control::Reset);
    assert_eq!(leaves(sent, 0), controls(&[Control::Reset]));
}

#[test]
fn what_has_ended_owes_a_reset_or_nothing() {
    let mut shut = owed(&[Control::Shutdown(Halves::BOTH), Control::CreditUpdate]);
    assert!(!shut.end());
    assert_eq!(leaves(shut, 0), []);
    let mut reset = owed(&[Control::Response, Control::Reset]);
    assert!(reset.end());
    assert!(!reset.end());
}

// SPDX-License-Identifier: GPL-2.0

//! Names of the reasons for which packets are dropped.

use std::collections::HashSet;

use crate::protocol::reason::DropReason;

#[test]
fn each_reason_has_its_own_name() {
    let reasons = [
        (DropReason::ShortHeader, "short_header"),
        (DropReason::ShortPayload, "short_payload"),
        (DropReason::Overlong, "overlong"),
        (DropReason::ReservedCid, "reserved_cid"),
        (DropReason::Address, "address"),
        (DropReason::Operation, "operation"),
        (DropReason::Type, "type"),
        (DropReason::Payload, "payload"),
        (DropReason::NoSocket, "no_socket"),
        (DropReason::Backlog, "backlog"),
        (DropReason::State, "state"),
        (DropReason::Credit, "credit"),
        (DropReason::Shutdown, "shutdown"),
        (DropReason::EmptyMessages, "empty_messages"),
    ];
    for (reason, name) in reasons {
        assert_eq!(DropReason::NAMES[reason as usize], name);
    }
    let distinct: HashSet<_> = DropReason::NAMES.into_iter().collect();
    assert_eq!(distinct.len(), DropReason::COUNT);
}

// SPDX-License-Identifier: GPL-2.0

//! The phases that a connection may go through.

use crate::protocol::connection::{Cause, Phase};

/// Tells whether a connection (none at first) may go from one phase to another in one step.
pub(crate) fn is_edge(from: Option<Phase>, to: Option<Phase>) -> bool {
    use Cause::*;
    use Phase::*;
    if from == to {
        return true;
    }
    match (from, to) {
        (None, Some(Connecting | Established)) => true,
        (Some(Connecting), Some(Established)) => true,
        (Some(Connecting), Some(Closed(cause))) => {
            matches!(cause, Refused | Abandoned | Protocol | TransportReset)
        }
        (Some(Established), Some(Closing)) => true,
        (Some(Established), Some(Closed(cause))) => {
            matches!(cause, Orderly | Reset | Protocol | TransportReset)
        }
        (Some(Closing), Some(Closed(cause))) => matches!(cause, Orderly | TransportReset),
        _ => false,
    }
}

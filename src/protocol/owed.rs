// SPDX-License-Identifier: GPL-2.0

//! What a connection still has to send, while the transport has no room for it.
//!
//! Packets without payload are not kept as packets. They are owed, each kind at most once, and made
//! when they are sent: so a peer that takes nothing makes nobody hold any number of them, and what
//! they say is true of the moment in which they leave.
//!
//! Source: virtio specification, 5.10.6.1 (virtqueue flow control).

use super::packet::{Control, Halves};

/// What a connection sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A packet without payload.
    Control(Control),
    /// The first of the packets with payload that wait.
    Payload,
}

/// The packets without payload that a connection owes its peer.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// What opens the connection, and comes before all else.
    opening: Option<Control>,
    credit_request: bool,
    credit_update: bool,
    shutdown: Option<Halves>,
    reset: bool,
}

impl Owed {
    /// Takes note of a packet that could not be sent.
    ///
    /// A reset makes all others needless. If the peer was not asked for the connection yet, it need
    /// not hear that there is none.
    pub(crate) fn put(&mut self, control: Control) {
        match control {
            Control::Request | Control::Response => self.opening = Some(control),
            Control::CreditRequest => self.credit_request = true,
            Control::CreditUpdate => self.credit_update = true,
            Control::Shutdown(halves) => self.shutdown = Some(halves),
            Control::Reset => {
                let asked = self.opening != Some(Control::Request);
                *self = Owed {
                    reset: asked,
                    ..Owed::default()
                };
            }
        }
    }

    /// What is to be sent next, if `payload` tells whether there are packets with payload. An end
    /// comes after them; what is said of credit does as well, since what they carry of it is older.
    pub(crate) fn next(&self, payload: bool) -> Option<Due> {
        if let Some(opening) = self.opening {
            return Some(Due::Control(opening));
        }
        if payload && !self.reset {
            return Some(Due::Payload);
        }
        let control = if self.reset {
            Control::Reset
        } else if let Some(halves) = self.shutdown {
            Control::Shutdown(halves)
        } else if self.credit_update {
            Control::CreditUpdate
        } else if self.credit_request {
            Control::CreditRequest
        } else {
            return None;
        };
        Some(Due::Control(control))
    }

    /// A packet of those that [`Owed::next`] gave was sent. Each carries the credit.
    pub(crate) fn sent(&mut self, control: Control) {
        self.credit_update = false;
        match control {
            Control::Request | Control::Response => self.opening = None,
            Control::CreditRequest => self.credit_request = false,
            Control::CreditUpdate => {}
            Control::Shutdown(_) => self.shutdown = None,
            Control::Reset => self.reset = false,
        }
    }

    /// The connection has ended. Nothing is owed any more; tells whether that was a reset.
    pub(crate) fn end(&mut self) -> bool {
        core::mem::take(self).reset
    }
}

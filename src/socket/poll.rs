// SPDX-License-Identifier: GPL-2.0

//! What poll, select and epoll are told.
//!
//! Source: poll(2), epoll_ctl(2); where these leave it open, the practice of TCP.

use super::{
    published::Status,
    Vsock, //
};
use crate::net::{
    poll::PollEvents,
    sock::Sock, //
};

/// The events that hold now. Takes no lock.
pub(super) fn mask(sock: &Sock<Vsock>) -> PollEvents {
    let published = &sock.shared().published;
    let snapshot = published.snapshot();
    let mut events = PollEvents::NONE;
    if sock.has_error() || sock.has_queued_error() {
        events |= PollEvents::ERR;
    }
    match snapshot.status {
        Status::Listening => {
            if snapshot.levels.available > 0 {
                events |= PollEvents::IN | PollEvents::RDNORM;
            }
        }
        Status::Connecting => {}
        Status::Stopped => {
            events |= PollEvents::IN | PollEvents::RDNORM | PollEvents::RDHUP | PollEvents::HUP;
            events |= PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
        }
        // A send would not block: it would fail.
        Status::Unconnected => {
            events |= PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
            if sock.has_error() {
                events |= PollEvents::IN | PollEvents::RDNORM;
            }
        }
        Status::Connected | Status::Disconnected | Status::Connectionless => {
            if published.is_readable(sock) {
                events |= PollEvents::IN | PollEvents::RDNORM;
            }
            if snapshot.receive_ended {
                events |= PollEvents::RDHUP;
            }
            if (snapshot.writable && snapshot.levels.sendable > 0) || snapshot.send_ended {
                events |= PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
            }
            if snapshot.is_hung_up() {
                events |= PollEvents::HUP;
            }
        }
    }
    events
}

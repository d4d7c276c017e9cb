// SPDX-License-Identifier: GPL-2.0

//! Shutting down and closing.
//!
//! Source: shutdown(2), close(2); virtio specification, 5.10.6.6 (clean disconnect).

use super::{
    linger,
    listen,
    state::{
        Stage,
        State, //
    },
    Vsock, //
};
use crate::net::{
    errno::{
        ENOTCONN, //
    },
    ops::How,
    sock::Sock,
    sock_queue::SockQueue, //
};
use crate::protocol::{
    connection::Phase,
    packet::Halves, //
};
use kernel::{
    prelude::*,
    time::Msecs, //
};

/// How long a closed connection waits for the peer's reset.
const CLOSE_TIMEOUT_MS: Msecs = 8000;

/// `shutdown(2)`. On a listener, ending the receiving half ends listening: whoever waits in
/// `accept` is told so, as with TCP.
///
/// # Errors
///
/// `ENOTCONN`.
pub(super) fn shutdown(sock: &Sock<Vsock>, how: How) -> Result {
    let mut state = sock.lock();
    // What has come before stays readable.
    state.flush_backlog();
    let mut refused = SockQueue::new();
    let result = match core::mem::replace(&mut state.stage, Stage::Closed) {
        Stage::Listening(listener) if how.receive() => {
            let (bound, children) = listener.into_parts();
            refused = children;
            state.stage = Stage::Stopped(bound);
            Ok(())
        }
        Stage::Connected(mut link) => {
            let halves = Halves {
                receive: how.receive(),
                send: how.send(),
            };
            if let Some(control) = link.wire.shutdown(halves) {
                link.send_control(sock, control);
            }
            state.stage = Stage::Connected(link);
            Ok(())
        }
        other => {
            state.stage = other;
            Err(ENOTCONN)
        }
    };
    state.settle(sock, false);
    drop(state);
    listen::turn_all_away(&mut refused);
    result
}

/// The last file descriptor was closed. A connection is told to the peer and stays in the table
/// until the peer has answered, so that nobody else gets its address meanwhile.
pub(super) fn release(sock: &Sock<Vsock>) {
    let mut state = sock.lock();
    linger::linger(sock, &mut state);
    // What has come while the socket was owned was not read either.
    state.flush_backlog();
    let mut refused = SockQueue::new();
    if let Some(link) = state.link_mut() {
        let unread = !link.queue.is_empty();
        state.close(sock, unread);
    } else if let Stage::Listening(listener) = core::mem::replace(&mut state.stage, Stage::Closed) {
        (_, refused) = listener.into_parts();
    }
    state.settle(sock, false);
    drop(state);
    listen::turn_all_away(&mut refused);
}

impl State {
    /// Closes the connection, to be settled. What was not read is lost; `unread` tells the peer so.
    /// Without a connection nothing happens.
    pub(super) fn close(&mut self, sock: &Sock<Vsock>, unread: bool) {
        self.end_alarms(sock);
        let Some(link) = self.link_mut() else {
            return;
        };
        if let Some(control) = link.wire.close(unread) {
            link.send_control(sock, control);
        }
        link.queue.clear();
        if link.phase() == Phase::Closing {
            self.await_answer(sock, CLOSE_TIMEOUT_MS);
        }
        self.stage = match core::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Connecting(link) | Stage::Connected(link) => Stage::Closing(link),
            other => other,
        };
    }
}

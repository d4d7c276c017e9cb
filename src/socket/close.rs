// SPDX-License-Identifier: GPL-2.0

//! Shutting down and closing.
//!
//! Source: shutdown(2), close(2); virtio specification, 5.10.6.6 (clean disconnect).

use super::{
    linger,
    link::Link,
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
    let stage = core::mem::replace(&mut state.stage, Stage::Closed);
    state.stage = match stage {
        Stage::Connecting(link) | Stage::Connected(link) => {
            let unread = !link.queue.is_empty();
            state.close(sock, link, unread)
        }
        Stage::Listening(listener) => {
            (_, refused) = listener.into_parts();
            Stage::Closed
        }
        Stage::Unbound
        | Stage::Bound(_)
        | Stage::Stopped(_)
        | Stage::Datagrams(_)
        | Stage::Closing(_)
        | Stage::Closed => Stage::Closed,
    };
    state.settle(sock, false);
    drop(state);
    listen::turn_all_away(&mut refused);
}

impl State {
    /// Closes a connection. What was not read is lost; `unread` tells the peer so. Returns the stage
    /// to enter, to be settled.
    pub(super) fn close(&mut self, sock: &Sock<Vsock>, mut link: Link, unread: bool) -> Stage {
        self.end_alarms(sock);
        if let Some(control) = link.wire.close(unread) {
            link.send_control(sock, control);
        }
        link.queue.clear();
        if link.phase() == Phase::Closing {
            self.await_answer(sock, CLOSE_TIMEOUT_MS);
        }
        Stage::Closing(link)
    }
}

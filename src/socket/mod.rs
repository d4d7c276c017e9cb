// SPDX-License-Identifier: GPL-2.0

//! What a file descriptor of the family does.
//!
//! | file | subject |
//! |---|---|
//! | `ops.rs` | the system calls, and which file handles each |
//! | `context.rs` | what all sockets share: tables, the device, counters |
//! | `state.rs` | the state of a socket behind its lock, and its transitions |
//! | `published.rs`, `poll.rs` | what of it can be read without the lock; who is woken by a change |
//! | `alarm.rs` | what the timer is for |
//! | `link.rs`, `queue.rs` | a connection, its transport and its receive queue |
//! | `deliver.rs`, `backlog.rs` | packets from a transport: at once, or when the owner lets go |
//! | `bind.rs`, `connect.rs`, `listen.rs`, `close.rs` | how connections come and go |
//! | `recv.rs`, `send.rs` | bytes |
//! | `options.rs` | socket options |

#![forbid(unsafe_code)]

mod alarm;
mod backlog;
mod bind;
mod close;
mod connect;
mod context;
mod deliver;
mod link;
mod listen;
mod ops;
mod options;
mod poll;
mod published;
mod queue;
mod recv;
mod send;
mod state;

pub(crate) use self::context::Context;

use self::{
    backlog::Backlog,
    options::Options,
    published::Published,
    state::State, //
};
use crate::net::sock::{
    Protocol,
    Sock, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    },
};

/// The family.
pub(crate) struct Vsock;

/// What of a socket needs no lock.
#[pin_data]
pub(crate) struct Shared {
    context: Arc<Context>,
    options: Options,
    /// A connection that came when its listener had stopped: its timer turns it away.
    refused: Atomic<bool>,
    #[pin]
    published: Published,
}

impl Shared {
    fn new(context: Arc<Context>, options: Options) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            context,
            options,
            refused: Atomic::new(false),
            published <- Published::new(),
        })
    }
}

impl Protocol for Vsock {
    type Shared = Shared;
    type State = State;
    type Backlog = Backlog;

    fn drain(sock: &Sock<Self>, state: &mut State, backlog: &mut Backlog) {
        backlog.drain(sock, state);
    }

    fn timer(sock: &Sock<Self>) {
        deliver::timer(sock);
    }

    fn write_space(sock: &Sock<Self>) {
        sock.shared().published.write_space(sock);
    }
}

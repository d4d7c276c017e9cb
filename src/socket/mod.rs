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
use crate::protocol::credit::{
    Advertisement,
    Counter, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
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
    /// Packets are left in the link that go over loopback when the lock is given up.
    outgoing: Atomic<bool>,
    /// The credit that the socket grants to its peer on this machine: `buf_alloc` above `fwd_cnt`.
    ///
    /// That peer looks here whenever a packet reaches it, so that it never goes by an older word
    /// that came later. Written with the socket's lock held, in any of its forms.
    credit: Atomic<u64>,
    #[pin]
    published: Published,
}

impl Shared {
    fn new(context: Arc<Context>, options: Options) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            context,
            options,
            refused: Atomic::new(false),
            outgoing: Atomic::new(false),
            credit: Atomic::new(0),
            published <- Published::new(),
        })
    }

    /// Packets were left in the link, to be sent when the lock is given up. With it held.
    fn leave_outgoing(&self) {
        self.outgoing.store(true, Relaxed);
    }

    /// Publishes the credit that is granted to a peer on this machine.
    fn publish_credit(&self, credit: Advertisement) {
        let word = u64::from(credit.buf_alloc) << 32 | u64::from(credit.fwd_cnt.to_wire());
        self.credit.store(word, Release);
    }

    /// The credit that is granted to a peer on this machine. Any context.
    fn credit(&self) -> Advertisement {
        let word = self.credit.load(Acquire);
        Advertisement {
            buf_alloc: (word >> 32) as u32,
            fwd_cnt: Counter::from_wire(word as u32),
        }
    }
}

impl Protocol for Vsock {
    type Shared = Shared;
    type State = State;
    type Backlog = Backlog;

    fn drain(sock: &Sock<Self>, state: &mut State, backlog: &mut Backlog) {
        backlog.drain(sock, state);
    }

    fn has_outgoing(sock: &Sock<Self>) -> bool {
        sock.shared().outgoing.load(Relaxed)
    }

    fn deliver(sock: &Sock<Self>) {
        deliver::outgoing(sock);
    }

    fn timer(sock: &Sock<Self>) {
        deliver::timer(sock);
    }

    fn write_space(sock: &Sock<Self>) {
        sock.shared().published.write_space(sock);
    }
}

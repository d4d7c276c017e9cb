// SPDX-License-Identifier: GPL-2.0

//! What a file descriptor of the family does.
//!
//! | file | subject |
//! |---|---|
//! | `ops.rs` | the system calls, and which file handles each |
//! | `context.rs` | what all sockets share: tables, the device, counters |
//! | `state.rs` | the state of a socket behind its lock, and its transitions |
//! | `published.rs`, `poll.rs` | what of it can be read without the lock; who is woken by a change |
//! | `level.rs` | what sleepers wait for, and why each was woken |
//! | `alarm.rs` | what the timer is for |
//! | `link.rs` | a connection, its transport and its receive queue |
//! | `over_device.rs` | what of a connection waits until the device has room |
//! | `queue.rs`, `byte_queue.rs`, `message_queue.rs` | what was received, of a stream and of messages |
//! | `deliver.rs`, `backlog.rs` | packets from a transport: at once, or when the owner lets go |
//! | `namespace.rs` | network namespaces: who can reach whom |
//! | `bind.rs`, `connect.rs`, `listen.rs`, `close.rs` | how connections come and go |
//! | `linger.rs` | a close that waits |
//! | `recv.rs`, `send.rs` | bytes of a stream |
//! | `recv_message.rs`, `send_message.rs` | messages |
//! | `lend.rs` | sending from the caller's own memory |
//! | `dgram.rs`, `dgram_queue.rs` | datagram sockets, and what bounds their memory |
//! | `dgram_recv.rs`, `dgram_send.rs` | datagrams |
//! | `options.rs` | socket options |
//! | `diag.rs`, `cid_file.rs` | what `ss` shows; the character device |

#![forbid(unsafe_code)]

mod alarm;
mod backlog;
mod bind;
mod byte_queue;
mod cid_file;
mod close;
mod connect;
mod context;
mod deliver;
mod dgram;
mod dgram_queue;
mod dgram_recv;
mod dgram_send;
mod diag;
mod lend;
mod level;
mod linger;
mod link;
mod listen;
mod message_queue;
mod namespace;
mod ops;
mod options;
mod over_device;
mod poll;
mod published;
mod queue;
mod recv;
mod recv_message;
mod send;
mod send_message;
mod state;

pub(crate) use self::{
    cid_file::CidFile,
    context::Context, //
};

use self::{
    backlog::Backlog,
    dgram_queue::Inbox,
    linger::Lingering,
    namespace::Namespace,
    options::Options,
    published::{
        Published,
        Snapshot, //
    },
    state::State, //
};
use crate::net::sock::{
    Protocol,
    Sock, //
};
use crate::protocol::{
    address::{
        Address,
        Cid,
        Port, //
    },
    credit::{
        Advertisement,
        Counter, //
    },
    packet::{
        Header,
        SocketType, //
    },
};
use crate::transport::virtio::Turn;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
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
    namespace: Arc<Namespace>,
    /// The type of the socket.
    kind: Option<SocketType>,
    options: Options,
    /// A connection that came when its listener had stopped, or had no room any more: its timer
    /// turns it away.
    refused: Atomic<bool>,
    /// Packets are pending in the link, to go over loopback when the lock is given up.
    ///
    /// Written only with the lock held, in any of its forms. Whoever sets it looks at it after the
    /// lock was given up, and a later holder sees it by the lock, so no order is needed beyond that.
    pending: Atomic<bool>,
    /// The peer of the connection that was made last, CID above port: packets of earlier ones may
    /// still come. Written with the socket owned.
    peer: Atomic<u64>,
    /// The socket's own address, CID above port, for whoever has no lock. Written with the lock
    /// held, in any of its forms.
    local: Atomic<u64>,
    /// The credit that the socket grants to its peer on this machine: `buf_alloc` above `fwd_cnt`.
    ///
    /// That peer looks here whenever a packet reaches it, so that it never goes by an older word
    /// that came later. Written with the socket's lock held, in any of its forms.
    credit: Atomic<u64>,
    /// How many ends of messages without payload it has read, for the same peer.
    empty_forwarded: Atomic<u32>,
    /// A turn to send came while a task owned the socket. Set with the spinlock held, and taken out by
    /// whoever has the state.
    turn: Atomic<bool>,
    /// Datagrams that wait to be received.
    inbox: Inbox,
    #[pin]
    lingering: Lingering,
    #[pin]
    published: Published,
}

fn word_of(address: Address) -> u64 {
    u64::from(address.cid.0) << 32 | u64::from(address.port.0)
}

fn address_of(word: u64) -> Address {
    Address {
        cid: Cid((word >> 32) as u32),
        port: Port(word as u32),
    }
}

impl Shared {
    /// That of a socket with a state of which `initial` is to be published.
    fn new(
        context: Arc<Context>,
        namespace: Arc<Namespace>,
        kind: Option<SocketType>,
        options: Options,
        initial: Snapshot,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            context,
            namespace,
            kind,
            options,
            refused: Atomic::new(false),
            pending: Atomic::new(false),
            peer: Atomic::new(word_of(Address::ANY)),
            local: Atomic::new(word_of(Address::ANY)),
            credit: Atomic::new(0),
            empty_forwarded: Atomic::new(0),
            turn: Atomic::new(false),
            inbox: Inbox::new(),
            lingering <- Lingering::new(),
            published <- Published::new(initial),
        })
    }

    /// The type of the connections that the socket makes. `EINVAL` if it makes none.
    fn connection_kind(&self) -> Result<SocketType> {
        self.kind.ok_or(EINVAL)
    }

    /// Packets are pending in the link. The caller holds the lock.
    fn set_pending(&self) {
        self.pending.store(true, Relaxed);
    }

    /// A connection with `peer` is about to be made: before a packet of it can come. The caller owns
    /// the socket, or nobody else has it.
    fn set_peer(&self, peer: Address) {
        self.peer.store(word_of(peer), Relaxed);
    }

    /// What [`Shared::set_peer`] set last. Any context.
    fn peer(&self) -> Address {
        address_of(self.peer.load(Relaxed))
    }

    /// Publishes the socket's own address. The caller holds the lock.
    fn publish_local(&self, address: Address) {
        self.local.store(word_of(address), Relaxed);
    }

    /// The socket's own address, as it was published. Any context.
    fn local(&self) -> Address {
        address_of(self.local.load(Relaxed))
    }

    /// Whether a packet is from the peer of the connection that was made last. Any context.
    fn is_from_peer(&self, header: &Header) -> bool {
        self.peer.load(Relaxed) == word_of(header.flow.peer)
    }

    /// Publishes the credit that is granted to a peer on this machine.
    fn publish_credit(&self, credit: Advertisement) {
        let word = u64::from(credit.buf_alloc) << 32 | u64::from(credit.fwd_cnt.to_wire());
        self.credit.store(word, Release);
    }

    /// Publishes how many ends of messages without payload were read. With the lock held, in any of
    /// its forms.
    fn publish_empty_forwarded(&self, count: Counter) {
        self.empty_forwarded.store(count.to_wire(), Release);
    }

    /// What was published so last. Any context.
    fn empty_forwarded(&self) -> Counter {
        Counter::from_wire(self.empty_forwarded.load(Acquire))
    }

    /// Keeps a turn for the owner of the socket. With the spinlock held.
    fn keep_turn(&self, turn: Turn) {
        self.turn.store(turn.into_flag(), Release);
    }

    /// Takes out the turn that was kept, if there is one. By whoever has the state.
    fn kept_turn(&self) -> Option<Turn> {
        // It is there only while others wait.
        Turn::from_flag(self.turn.load(Relaxed) && self.turn.xchg(false, Full))
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

    fn released(sock: &Sock<Self>) {
        sock.shared().published.released();
    }

    fn has_pending(sock: &Sock<Self>) -> bool {
        sock.shared().pending.load(Relaxed)
    }

    fn deliver(sock: &Sock<Self>) {
        deliver::deliver_pending(sock);
    }

    fn timer(sock: &Sock<Self>) {
        deliver::timer(sock);
    }

    fn write_space(sock: &Sock<Self>) {
        sock.shared().published.write_space(sock);
        if sock.unsent() == 0 {
            sock.shared().lingering.end();
        }
    }
}

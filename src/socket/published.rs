// SPDX-License-Identifier: GPL-2.0

//! What of a socket can be read without its lock.
//!
//! Wake functions run with interrupts off, and poll must not wait for a reader that sleeps in a
//! page fault with the socket locked. So whoever changes the state publishes a [`Snapshot`] of
//! what these need to know, and publishing is what wakes: there is no change that could forget
//! it.

use super::Vsock;
use crate::net::{
    poll::PollEvents,
    sock::{
        SkState,
        Sock, //
    },
    wait::{
        NeedQueue,
        Supply, //
    },
};
use crate::protocol::wake;
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
        barrier::smp_mb,
        static_lock_class,
    },
};

/// What a socket is, for poll and for whoever waits for it to change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Neither connected nor listening.
    Unconnected,
    /// A request was sent.
    Connecting,
    /// A connection stands, or ended in one direction.
    Connected,
    /// A connection ended in both directions.
    Disconnected,
    /// Connections can be accepted.
    Listening,
    /// Connections could be accepted, until the listener was shut down.
    Stopped,
}

/// The readable part of a socket's state at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    /// Bytes that can be read; for a listener, connections that can be accepted.
    pub(super) available: usize,
    /// No more will become available.
    pub(super) receive_ended: bool,
    /// Bytes that the credit lets pass.
    pub(super) sendable: usize,
    /// Sending fails with `EPIPE`.
    pub(super) send_ended: bool,
    /// The most that can be expected to be available at once, in bytes; for a listener, its
    /// backlog.
    pub(super) window: u32,
}

impl Snapshot {
    /// A socket that is neither connected nor listening: nothing will ever come.
    pub(super) const IDLE: Snapshot = Snapshot {
        status: Status::Unconnected,
        available: 0,
        receive_ended: true,
        sendable: 0,
        send_ended: true,
        window: 1,
    };
}

/// One direction of a socket, as sleepers look at it.
pub(super) struct Level {
    available: Atomic<usize>,
    ended: Atomic<bool>,
    /// What is available cannot be used at the moment.
    blocked: Atomic<bool>,
}

impl Supply for Level {
    fn available(&self) -> usize {
        if self.blocked.load(Relaxed) {
            0
        } else {
            self.available.load(Relaxed)
        }
    }

    fn ended(&self) -> bool {
        self.ended.load(Acquire)
    }
}

impl Level {
    fn new() -> Self {
        Level {
            available: Atomic::new(0),
            ended: Atomic::new(true),
            blocked: Atomic::new(false),
        }
    }

    /// Returns whether a sleeper may find its need met by the change.
    fn publish(&self, available: usize, ended: bool) -> bool {
        let more = available > self.available.load(Relaxed) || (ended && !self.ended());
        self.available.store(available, Relaxed);
        self.ended.store(ended, Release);
        more
    }
}

/// The published record of a socket and those who sleep on it.
#[pin_data]
pub(super) struct Published {
    /// Readers, or those who accept from a listener. First come, first served.
    #[pin]
    pub(super) readers: NeedQueue<Level>,
    /// Senders that wait for credit.
    #[pin]
    pub(super) writers: NeedQueue<Level>,
    /// Those who wait for a connection to be made or to fail.
    #[pin]
    pub(super) connecting: NeedQueue<Level>,
    status: Atomic<u32>,
    window: Atomic<u32>,
}

impl Published {
    const RECEIVE_ENDED: u32 = 1 << 8;
    const SEND_ENDED: u32 = 1 << 10;

    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            readers <- NeedQueue::new(Level::new(), c"rvsock readers", static_lock_class!()),
            writers <- NeedQueue::new(Level::new(), c"rvsock writers", static_lock_class!()),
            connecting <- NeedQueue::new(
                Level::new(),
                c"rvsock connecting",
                static_lock_class!()
            ),
            status: Atomic::new(Self::pack(&Snapshot::IDLE)),
            window: Atomic::new(1),
        })
    }

    /// Publishes what changed and wakes whoever waits for it. `arrived` tells that something new
    /// became available, even if as much was taken at the same time.
    ///
    /// With the socket's lock held, in any of its forms.
    pub(super) fn publish(
        &self,
        sock: &Sock<Vsock>,
        old: &Snapshot,
        new: &Snapshot,
        arrived: bool,
    ) {
        if old == new && !arrived {
            return;
        }
        let settled = new.status != Status::Connecting;
        let readers = self
            .readers
            .supply()
            .publish(new.available, new.receive_ended);
        let writers = self.writers.supply().publish(new.sendable, new.send_ended);
        let connecting = self.connecting.supply().publish(0, settled);
        self.window.store(new.window, Relaxed);
        self.status.store(Self::pack(new), Release);

        if old.status != new.status {
            sock.publish_state(match new.status {
                Status::Unconnected | Status::Stopped => SkState::Close,
                Status::Connecting => SkState::SynSent,
                Status::Connected => SkState::Established,
                Status::Disconnected => SkState::Closing,
                Status::Listening => SkState::Listen,
            });
        }
        if old.window != new.window {
            // Readers measure what they need by it.
            self.readers.reconsider();
        } else if readers {
            self.readers.wake();
        }
        if writers {
            self.writers.wake();
        }
        if connecting {
            self.connecting.wake();
        }
        let events = Self::edges(sock, old, new, arrived);
        if !events.is_empty() {
            sock.wake_poll(events);
        }
    }

    /// `SO_RCVLOWAT` was changed: whoever waits measures anew. With the socket owned.
    pub(super) fn low_water_changed(&self, sock: &Sock<Vsock>) {
        self.readers.reconsider();
        if self.snapshot().available > 0 && self.is_readable(sock) {
            sock.wake_poll(PollEvents::IN | PollEvents::RDNORM);
        }
    }

    /// Whether a sender has to wait until the device has taken more of what it was given, however
    /// much credit there is: a peer that never takes anything, or a flood of small packets, must
    /// not make a socket hold any amount of memory. With the socket owned.
    pub(super) fn is_full(&self, sock: &Sock<Vsock>) -> bool {
        let limit = sock.shared().options.memory_limit();
        if sock.charged() < limit {
            return false;
        }
        let writers = self.writers.supply();
        // Ordered before the second look: either that sees what was freed, or who freed it sees
        // this.
        writers.blocked.xchg(true, Full);
        if sock.charged() < limit {
            writers.blocked.store(false, Relaxed);
            return false;
        }
        true
    }

    /// The device is done with a packet of the socket. Any context but a hard interrupt.
    pub(super) fn write_space(&self, sock: &Sock<Vsock>) {
        let writers = self.writers.supply();
        // Pairs with the exchange in `is_full`.
        smp_mb();
        if writers.blocked.load(Relaxed)
            && sock.charged() < sock.shared().options.memory_limit()
            && writers.blocked.xchg(false, Full)
        {
            self.writers.wake();
            sock.wake_poll(PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND);
        }
    }

    /// What pollers are to be told of.
    fn edges(sock: &Sock<Vsock>, old: &Snapshot, new: &Snapshot, arrived: bool) -> PollEvents {
        let mut events = PollEvents::NONE;
        let ended = new.receive_ended && !old.receive_ended;
        let readable = |snapshot: &Snapshot| {
            snapshot.receive_ended || snapshot.available >= Self::readable_at(sock, snapshot)
        };
        // Each arrival is an edge, and so is a window that now makes less enough.
        if readable(new) && (arrived || !readable(old)) {
            events |= PollEvents::IN | PollEvents::RDNORM;
        }
        if ended {
            events |= PollEvents::RDHUP;
        }
        if (new.sendable > 0 && old.sendable == 0) || (new.send_ended && !old.send_ended) {
            events |= PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
        }
        if old.status != new.status {
            match (old.status, new.status) {
                (_, Status::Disconnected | Status::Stopped) => events |= PollEvents::HUP,
                // A connect that failed makes the socket "writable", with the error to read.
                (Status::Connecting, _) => {
                    events |= PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
                }
                _ => {}
            }
        }
        if !events.is_empty() && sock.has_error() {
            events |= PollEvents::ERR;
        }
        events
    }

    /// How much makes the socket readable for poll.
    fn readable_at(sock: &Sock<Vsock>, snapshot: &Snapshot) -> usize {
        match snapshot.status {
            Status::Listening => 1,
            _ => wake::readable_at(sock.receive_low_water(), snapshot.window),
        }
    }

    fn pack(snapshot: &Snapshot) -> u32 {
        let flag = |set, bit| if set { bit } else { 0 };
        snapshot.status as u32
            | flag(snapshot.receive_ended, Self::RECEIVE_ENDED)
            | flag(snapshot.send_ended, Self::SEND_ENDED)
    }

    /// What was published last. Any context, no lock.
    pub(super) fn snapshot(&self) -> Snapshot {
        let packed = self.status.load(Acquire);
        let status = match packed & 0xff {
            1 => Status::Connecting,
            2 => Status::Connected,
            3 => Status::Disconnected,
            4 => Status::Listening,
            5 => Status::Stopped,
            _ => Status::Unconnected,
        };
        Snapshot {
            status,
            available: self.readers.supply().available(),
            receive_ended: packed & Self::RECEIVE_ENDED != 0,
            sendable: self.writers.supply().available(),
            send_ended: packed & Self::SEND_ENDED != 0,
            window: self.window.load(Relaxed),
        }
    }

    /// Whether poll is to call the socket readable.
    pub(super) fn is_readable(&self, sock: &Sock<Vsock>) -> bool {
        let snapshot = self.snapshot();
        snapshot.receive_ended || snapshot.available >= Self::readable_at(sock, &snapshot)
    }
}

// SPDX-License-Identifier: GPL-2.0

//! What of a socket can be read without its lock.
//!
//! Wake functions run with interrupts off, and poll must not wait for a reader that sleeps in a
//! page fault with the socket locked. So whoever changes the state publishes a [`Snapshot`] of
//! what these need to know, and publishing is what wakes: there is no change that could forget
//! it.

use super::{
    level::{
        Call,
        Level, //
    },
    Vsock, //
};
use crate::net::{
    poll::PollEvents,
    series,
    sock::Sock,
    sock_fields::SkState,
    wait::NeedQueue, //
};
use crate::protocol::wake::{
    self,
    WakeReason, //
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
        static_lock_class,
    },
};
use zerocopy_derive::{
    Immutable,
    IntoBytes, //
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
    /// Datagrams can be received from anybody, and sent.
    Connectionless,
}

/// How much can be read and sent at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels {
    /// Bytes that can be read, or whole messages, or datagrams; for a listener, connections that can
    /// be accepted.
    pub(super) available: usize,
    /// Bytes that are queued, of messages that are not whole yet as well; of datagrams only those
    /// of the first.
    pub(super) unread: usize,
    /// Bytes that the credit lets pass.
    pub(super) sendable: usize,
}

impl Levels {
    /// Nothing at all.
    pub(super) const NONE: Levels = Levels {
        available: 0,
        unread: 0,
        sendable: 0,
    };
}

/// The readable part of a socket's state at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    pub(super) levels: Levels,
    /// No more will become available.
    pub(super) receive_ended: bool,
    /// [`Levels::sendable`] is as much as who polls waits for.
    pub(super) writable: bool,
    /// Sending fails with `EPIPE`.
    pub(super) send_ended: bool,
    /// The most that can be expected to be available at once, in bytes; 1 where it is messages that
    /// are waited for; for a listener, its backlog.
    pub(super) window: u32,
}

impl Snapshot {
    /// A socket that is neither connected nor listening: nothing will ever come.
    pub(super) const IDLE: Snapshot = Snapshot {
        status: Status::Unconnected,
        levels: Levels::NONE,
        receive_ended: true,
        writable: false,
        send_ended: true,
        window: 1,
    };

    /// Whether a connection stands, and payload may go both ways.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.status, Status::Connected) && !self.receive_ended && !self.send_ended
    }

    /// Whether both directions of what was open have ended.
    pub(super) fn is_hung_up(&self) -> bool {
        match self.status {
            Status::Connected | Status::Connectionless => self.receive_ended && self.send_ended,
            Status::Disconnected | Status::Stopped => true,
            Status::Unconnected | Status::Connecting | Status::Listening => false,
        }
    }
}

/// How often calls on a socket slept and were woken, by reason: `struct rvsock_wakeups`. Each number
/// starts over after 2^32.
#[derive(Immutable, IntoBytes)]
#[repr(C)]
pub(super) struct Wakeups {
    /// `recv` and `accept`.
    receive: [u32; WakeReason::COUNT],
    /// `send`.
    send: [u32; WakeReason::COUNT],
    /// `connect`.
    connect: [u32; WakeReason::COUNT],
    /// How often pollers were told of something.
    polled: u32,
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
    /// How often pollers were told of something.
    polled: Atomic<u32>,
    unread: Atomic<usize>,
}

impl Published {
    const RECEIVE_ENDED: u32 = 1 << 8;
    const SEND_ENDED: u32 = 1 << 10;
    const WRITABLE: u32 = 1 << 11;

    /// That of a new socket, of which `initial` is known.
    pub(super) fn new(initial: Snapshot) -> impl PinInit<Self> {
        pin_init!(Self {
            readers <- NeedQueue::new(
                Level::new(Call::Receive, initial.levels.available, initial.receive_ended),
                c"rvsock readers",
                static_lock_class!()
            ),
            writers <- NeedQueue::new(
                Level::new(Call::Send, initial.levels.sendable, initial.send_ended),
                c"rvsock writers",
                static_lock_class!()
            ),
            connecting <- NeedQueue::new(
                Level::new(Call::Connect, 0, true),
                c"rvsock connecting",
                static_lock_class!()
            ),
            status: Atomic::new(Self::pack(&initial)),
            polled: Atomic::new(0),
            unread: Atomic::new(initial.levels.unread),
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
        let end = |ended: bool| match ended {
            false => None,
            true if sock.has_error() => Some(WakeReason::Error),
            true => Some(WakeReason::Shutdown),
        };
        let window = new.window;
        let Levels {
            available,
            unread,
            sendable,
        } = new.levels;
        let of_readers = |snapshot: &Snapshot| {
            let Levels { available, .. } = snapshot.levels;
            (available, snapshot.window, snapshot.receive_ended)
        };
        let of_writers = |snapshot: &Snapshot| (snapshot.levels.sendable, snapshot.send_ended);
        // What is the same was published before.
        let readers = (arrived || of_readers(old) != of_readers(new))
            && self
                .readers
                .supply()
                .publish(available, window, arrived, end(new.receive_ended));
        let writers = of_writers(old) != of_writers(new)
            && self
                .writers
                .supply()
                .publish(sendable, u32::MAX, false, end(new.send_ended));
        let connecting = old.status != new.status && {
            let connected = match new.status {
                Status::Connecting => None,
                Status::Connected => Some(WakeReason::Target),
                _ => Some(WakeReason::Error),
            };
            self.connecting.supply().publish(0, 1, false, connected)
        };
        self.unread.store(unread, Relaxed);
        self.status.store(Self::pack(new), Release);

        if old.status != new.status {
            sock.publish_state(match new.status {
                Status::Unconnected | Status::Stopped | Status::Connectionless => SkState::Close,
                Status::Connecting => SkState::SynSent,
                Status::Connected => SkState::Established,
                Status::Disconnected => SkState::Closing,
                Status::Listening => SkState::Listen,
            });
        }
        if readers {
            self.readers.wake_when_free(sock);
        }
        if writers {
            self.writers.wake_when_free(sock);
        }
        if connecting {
            self.connecting.wake_when_free(sock);
        }
        let events = Self::edges(sock, old, new, arrived);
        self.tell_pollers(sock, events);
    }

    /// [`Published::publish`] where `new` differs in nothing but its levels, and is open.
    ///
    /// With the socket's lock held, in any of its forms.
    pub(super) fn publish_levels(
        &self,
        sock: &Sock<Vsock>,
        new: &Snapshot,
        old: &Levels,
        arrived: bool,
    ) {
        let (window, new) = (new.window, &new.levels);
        if old.unread != new.unread {
            self.unread.store(new.unread, Relaxed);
        }
        if old.sendable != new.sendable && self.writers.supply().publish_level(new.sendable, false)
        {
            self.writers.wake_when_free(sock);
        }
        if !arrived && old.available == new.available {
            return;
        }
        if self.readers.supply().publish_level(new.available, arrived) {
            self.readers.wake_when_free(sock);
        }
        let least = wake::readable_at(sock.receive_low_water(), window);
        if Self::is_readable_edge(old.available >= least, new.available >= least, arrived) {
            let mut events = PollEvents::IN | PollEvents::RDNORM;
            if sock.has_error() {
                events |= PollEvents::ERR;
            }
            self.tell_pollers(sock, events);
        }
    }

    /// The task that owns the socket gives it up.
    pub(super) fn released(&self) {
        self.readers.wake_due();
        self.writers.wake_due();
        self.connecting.wake_due();
    }

    /// Tells pollers that `events` happened, if there are any.
    fn tell_pollers(&self, sock: &Sock<Vsock>, events: PollEvents) {
        if !events.is_empty() {
            sock.wake_poll(events, || {
                self.polled.fetch_add(1, Relaxed);
                sock.shared().context.count_polled();
            });
        }
    }

    /// `SO_RCVLOWAT` was changed: a lower one binds those who sleep. With the socket owned.
    pub(super) fn low_water_changed(&self, sock: &Sock<Vsock>) {
        let low_water = sock.receive_low_water();
        self.readers.revise(&|ask| ask.lower(low_water));
        self.readers.wake_when_free(sock);
        if self.snapshot().levels.available > 0 && self.is_readable(sock) {
            self.tell_pollers(sock, PollEvents::IN | PollEvents::RDNORM);
        }
    }

    /// How often calls on the socket were woken, and why. Any context.
    pub(super) fn wakeups(&self) -> Wakeups {
        Wakeups {
            receive: self.readers.supply().woken(),
            send: self.writers.supply().woken(),
            connect: self.connecting.supply().woken(),
            polled: self.polled.load(Relaxed),
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
        writers.block();
        if sock.charged() < limit {
            writers.unblock();
            return false;
        }
        true
    }

    /// The device is done with a packet of the socket. Any context but a hard interrupt.
    pub(super) fn write_space(&self, sock: &Sock<Vsock>) {
        let writers = self.writers.supply();
        // Pairs with the exchange in `is_full`.
        series::full_barrier();
        if writers.is_blocked()
            && sock.charged() < sock.shared().options.memory_limit()
            && writers.unblock()
        {
            self.writers.wake();
            let events = PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
            self.tell_pollers(sock, events);
        }
    }

    /// What pollers are to be told of.
    fn edges(sock: &Sock<Vsock>, old: &Snapshot, new: &Snapshot, arrived: bool) -> PollEvents {
        let mut events = PollEvents::NONE;
        let ended = new.receive_ended && !old.receive_ended;
        let readable = |snapshot: &Snapshot| {
            snapshot.receive_ended || snapshot.levels.available >= Self::readable_at(sock, snapshot)
        };
        if Self::is_readable_edge(readable(old), readable(new), arrived) {
            events |= PollEvents::IN | PollEvents::RDNORM;
        }
        if ended {
            events |= PollEvents::RDHUP;
        }
        if (new.writable && !old.writable) || (new.send_ended && !old.send_ended) {
            events |= PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND;
        }
        if new.is_hung_up() && !old.is_hung_up() {
            events |= PollEvents::HUP;
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

    /// Whether pollers are to be told that there is enough to read, which there was or was not before.
    /// Each arrival is an edge, and so is a window that now makes less enough.
    fn is_readable_edge(was: bool, is: bool, arrived: bool) -> bool {
        is && (arrived || !was)
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
            | flag(snapshot.writable, Self::WRITABLE)
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
            6 => Status::Connectionless,
            _ => Status::Unconnected,
        };
        Snapshot {
            status,
            levels: Levels {
                available: self.readers.supply().usable(),
                unread: self.unread.load(Relaxed),
                sendable: self.writers.supply().usable(),
            },
            receive_ended: packed & Self::RECEIVE_ENDED != 0,
            writable: packed & Self::WRITABLE != 0,
            send_ended: packed & Self::SEND_ENDED != 0,
            window: self.readers.supply().window(),
        }
    }

    /// Whether bytes are queued that were not read, by what was published last. Any context.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed) > 0
    }

    /// Whether poll is to call the socket readable.
    pub(super) fn is_readable(&self, sock: &Sock<Vsock>) -> bool {
        let snapshot = self.snapshot();
        snapshot.receive_ended || snapshot.levels.available >= Self::readable_at(sock, &snapshot)
    }
}

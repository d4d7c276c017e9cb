// SPDX-License-Identifier: GPL-2.0

//! Flow control: what each end may still send to the other.
//!
//! Each end announces with every packet how large its receive buffer is (`buf_alloc`) and how
//! many bytes it has taken out of it so far (`fwd_cnt`). Only payload counts, and all counters
//! run freely through 2^32.
//!
//! Source: virtio specification, 5.10.6.3 (buffer space management).

/// A free-running count of payload bytes, modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter(u32);

impl Counter {
    /// A counter as a packet carries it.
    pub(crate) fn from_wire(value: u32) -> Counter {
        Counter(value)
    }

    /// What a packet carries.
    pub(crate) fn to_wire(self) -> u32 {
        self.0
    }

    /// This counter after `bytes` more.
    pub(crate) fn after(self, bytes: u32) -> Counter {
        Counter(self.0.wrapping_add(bytes))
    }

    /// How many bytes this counter is ahead of an `earlier` one.
    pub(crate) fn since(self, earlier: Counter) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// The credit that a packet carries: what its sender will take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advertisement {
    /// Size of the sender's receive buffer, in bytes.
    pub(crate) buf_alloc: u32,
    /// Bytes that the sender has taken out of that buffer since the connection began.
    pub(crate) fwd_cnt: Counter,
}

/// The peer sent more than it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

/// How many ends of messages without payload may be queued in a receive buffer of `buf_alloc`
/// bytes, at least 1. They cost no credit, but each of them memory.
pub(crate) fn empty_limit(buf_alloc: u32) -> u32 {
    (buf_alloc / 8).max(1)
}

/// The credit that this end grants.
///
/// Ends of messages without payload are counted beside it. The wire has no credit for them, so a
/// peer on another machine cannot know the limit; one on this machine looks it up.
///
/// # Invariants
///
/// In the order of the counters: `forwarded` ≤ `received` ≤ `granted`, and `announced` ≤
/// `forwarded`. What was granted once is never taken back: a packet may be under way that was
/// sent on the strength of it. `empty_announced` ≤ `empty_forwarded` ≤ `empty_received`.
#[derive(Debug)]
pub(crate) struct ReceiveCredit {
    buf_alloc: u32,
    received: Counter,
    forwarded: Counter,
    granted: Counter,
    announced: Advertisement,
    empty_received: Counter,
    empty_forwarded: Counter,
    empty_announced: Counter,
    /// The largest number of them that was ever allowed at once.
    empty_limit: u32,
}

impl ReceiveCredit {
    /// An empty buffer of `buf_alloc` bytes, of which the peer knows nothing yet.
    pub(crate) fn new(buf_alloc: u32) -> Self {
        ReceiveCredit {
            buf_alloc,
            received: Counter::default(),
            forwarded: Counter::default(),
            granted: Counter::default().after(buf_alloc),
            announced: Advertisement::default(),
            empty_received: Counter::default(),
            empty_forwarded: Counter::default(),
            empty_announced: Counter::default(),
            empty_limit: empty_limit(buf_alloc),
        }
    }

    /// The size of the buffer, in bytes.
    pub(crate) fn buf_alloc(&self) -> u32 {
        self.buf_alloc
    }

    /// Bytes received and not yet taken out.
    pub(crate) fn queued(&self) -> u32 {
        self.received.since(self.forwarded)
    }

    /// Changes the size of the buffer, in bytes. A smaller one binds the peer from its next
    /// announcement on.
    pub(crate) fn resize(&mut self, buf_alloc: u32) {
        self.buf_alloc = buf_alloc;
        self.empty_limit = self.empty_limit.max(empty_limit(buf_alloc));
        self.extend();
    }

    /// Takes note of `len` bytes that arrived.
    pub(crate) fn receive(&mut self, len: u32) -> Result<(), Overrun> {
        if len > self.granted.since(self.received) {
            return Err(Overrun);
        }
        self.received = self.received.after(len);
        Ok(())
    }

    /// Takes note of `count` ends of messages that arrived without payload.
    pub(crate) fn receive_empty(&mut self, count: u32) -> Result<(), Overrun> {
        if count > self.empty_limit.saturating_sub(self.empty_queued()) {
            return Err(Overrun);
        }
        self.empty_received = self.empty_received.after(count);
        Ok(())
    }

    /// Ends of messages without payload that are queued.
    pub(crate) fn empty_queued(&self) -> u32 {
        self.empty_received.since(self.empty_forwarded)
    }

    /// Takes `count` of them out. More than are queued are taken as all of them.
    pub(crate) fn forward_empty(&mut self, count: u32) {
        self.empty_forwarded = self.empty_forwarded.after(count.min(self.empty_queued()));
    }

    /// How many of them were taken out since the connection began.
    pub(crate) fn empty_forwarded(&self) -> Counter {
        self.empty_forwarded
    }

    /// How many of them were taken out since the last announcement.
    pub(crate) fn empty_unannounced(&self) -> u32 {
        self.empty_forwarded.since(self.empty_announced)
    }

    /// Takes `len` bytes out of the buffer: they were read, or discarded. More than is queued is
    /// taken as all of it.
    pub(crate) fn forward(&mut self, len: u32) {
        self.forwarded = self.forwarded.after(len.min(self.queued()));
        self.extend();
    }

    /// What to say in a packet that is sent now. Call it once for each packet.
    pub(crate) fn announce(&mut self) -> Advertisement {
        self.announced = Advertisement {
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.forwarded,
        };
        self.empty_announced = self.empty_forwarded;
        self.announced
    }

    /// Whether the peer knows the size of the buffer.
    pub(crate) fn is_announced(&self) -> bool {
        self.announced.buf_alloc == self.buf_alloc
    }

    /// Bytes taken out of the buffer of which the peer does not know.
    pub(crate) fn unannounced(&self) -> u32 {
        self.forwarded.since(self.announced.fwd_cnt)
    }

    /// Bytes that the peer, by what it was told, may still send when it keeps within `window`
    /// bytes in all.
    pub(crate) fn known_free(&self, window: u32) -> u32 {
        let outstanding = self.received.since(self.announced.fwd_cnt);
        window
            .min(self.announced.buf_alloc)
            .saturating_sub(outstanding)
    }

    /// Moves the right edge of the grant along, never back.
    fn extend(&mut self) {
        let free = self.buf_alloc.saturating_sub(self.queued());
        if free > self.granted.since(self.received) {
            self.granted = self.received.after(free);
        }
    }
}

/// The credit that the peer grants.
///
/// # Invariants
///
/// In the order of the counters: `forwarded` ≤ `sent`.
#[derive(Debug, Default)]
pub(crate) struct SendCredit {
    buf_alloc: u32,
    forwarded: Counter,
    sent: Counter,
    empty_sent: Counter,
    /// How many ends of messages without payload the peer has taken out, if that is known.
    empty_forwarded: Option<Counter>,
}

impl SendCredit {
    /// Takes over what a packet announces.
    ///
    /// Returns false when its `fwd_cnt` is not between the last one and what was sent: the peer
    /// forgot bytes that it had taken, or took bytes that were never sent. Then nothing changes.
    pub(crate) fn update(&mut self, announced: Advertisement) -> bool {
        let progress = announced.fwd_cnt.since(self.forwarded);
        if progress > self.in_flight() {
            return false;
        }
        self.forwarded = announced.fwd_cnt;
        self.buf_alloc = announced.buf_alloc;
        true
    }

    /// The size of the peer's buffer by its last word, in bytes.
    pub(crate) fn buf_alloc(&self) -> u32 {
        self.buf_alloc
    }

    /// Bytes sent that the peer has not taken out of its buffer, as far as it has said.
    pub(crate) fn in_flight(&self) -> u32 {
        self.sent.since(self.forwarded)
    }

    /// Bytes that may be sent now. At most `limit`, this end's own buffer size, is under way at
    /// once, so that a peer that announces a huge buffer cannot make this end hold as much.
    pub(crate) fn available(&self, limit: u32) -> u32 {
        self.buf_alloc.min(limit).saturating_sub(self.in_flight())
    }

    /// The peer, which is on this machine, has taken so many ends of messages without payload out
    /// of its buffer.
    pub(crate) fn update_empty(&mut self, forwarded: Counter) {
        self.empty_forwarded = Some(forwarded);
    }

    /// Whether a peer on this machine has as many ends of messages without payload as it takes.
    pub(crate) fn is_full_of_empty(&self) -> bool {
        self.empty_forwarded.is_some_and(|forwarded| {
            self.empty_sent.since(forwarded) >= empty_limit(self.buf_alloc)
        })
    }

    /// Takes note of an end of a message that was sent without payload.
    pub(crate) fn send_empty(&mut self) {
        self.empty_sent = self.empty_sent.after(1);
    }

    /// Takes note of `len` bytes sent, which [`SendCredit::available`] allowed. Returns how many
    /// of them were within the credit.
    pub(crate) fn send(&mut self, len: u32, limit: u32) -> u32 {
        let len = len.min(self.available(limit));
        self.sent = self.sent.after(len);
        len
    }
}

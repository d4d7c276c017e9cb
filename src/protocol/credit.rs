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

/// The credit that this end grants.
///
/// # Invariants
///
/// In the order of the counters: `forwarded` ≤ `received` ≤ `granted`, and `announced` ≤
/// `forwarded`. What was granted once is never taken back: a packet may be under way that was
/// sent on the strength of it.
#[derive(Debug)]
pub(crate) struct ReceiveCredit {
    buf_alloc: u32,
    received: Counter,
    forwarded: Counter,
    granted: Counter,
    announced: Advertisement,
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

    /// Takes note of `len` bytes sent, which [`SendCredit::available`] allowed. Returns how many
    /// of them were within the credit.
    pub(crate) fn send(&mut self, len: u32, limit: u32) -> u32 {
        let len = len.min(self.available(limit));
        self.sent = self.sent.after(len);
        len
    }
}

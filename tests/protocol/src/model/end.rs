// SPDX-License-Identifier: GPL-2.0

//! One endpoint: a connection, and an account of what went through it.

use std::collections::VecDeque;
use std::ops::Range;

use crate::protocol::connection::{Connection, Phase};
use crate::protocol::deferred::Deferred;
use crate::protocol::packet::{Halves, HeaderBytes};
use crate::protocol::wake;

/// A credit as it truly is, in bytes since the connection began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Bytes taken out of the receive buffer.
    pub(crate) forwarded: u64,
    /// Size of the receive buffer.
    pub(crate) buf_alloc: u32,
}

impl Grant {
    /// The offset in the stream that the sender must not pass.
    pub(crate) fn edge(self) -> u64 {
        self.forwarded + u64::from(self.buf_alloc)
    }
}

/// A packet under way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Its header, as on the wire.
    pub(crate) bytes: HeaderBytes,
    /// Offset of its payload in the stream, in bytes.
    pub(crate) start: u64,
    /// What its header's credit stands for; none if it comes from no connection.
    pub(crate) grant: Option<Grant>,
}

/// A reader that sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleeper {
    /// Bytes that it still wants.
    pub(crate) wanted: usize,
}

/// One endpoint.
#[derive(Debug)]
pub(crate) struct End {
    /// The protocol's part.
    pub(crate) connection: Option<Connection>,
    /// Whether a request makes a connection.
    pub(crate) listening: bool,
    /// Whether a program has the connection's socket, so that it can be read.
    pub(crate) accepted: bool,
    /// Whether the program closed its socket.
    pub(crate) released: bool,
    /// Whether the transport failed here.
    pub(crate) transport_lost: bool,
    /// What the program shut down.
    pub(crate) shut: Halves,
    /// Whether this end said, in order, that it will send no more.
    pub(crate) ended_orderly: bool,
    /// Whether a reset left this end.
    pub(crate) sent_reset: bool,
    /// Bytes sent.
    pub(crate) sent: u64,
    /// Bytes that arrived within credit, and were queued or discarded.
    pub(crate) received: u64,
    /// Of these, bytes read or discarded.
    pub(crate) taken: u64,
    /// What is queued, as offsets in the stream.
    pub(crate) queue: VecDeque<Range<u64>>,
    /// Whether a task owns the socket.
    pub(crate) owned: bool,
    /// What arrived while one does.
    pub(crate) deferred: Deferred,
    /// Whether a reset is among it.
    pub(crate) reset_deferred: bool,
    /// The payload of that, as an offset and a length.
    pub(crate) backlog: Vec<(u64, u32)>,
    /// The credit of the last packet that was put aside.
    pub(crate) deferred_grant: Option<Grant>,
    /// The largest receive buffer so far.
    pub(crate) largest_buf_alloc: u32,
    /// Size of the receive buffer.
    pub(crate) buf_alloc: u32,
    /// SO_RCVLOWAT.
    pub(crate) low_water: usize,
    /// The furthest offset that was ever granted.
    pub(crate) granted_edge: u64,
    /// What the last packet that was sent says.
    pub(crate) announced: Grant,
    /// What the last packet that arrived says.
    pub(crate) heard: Grant,
    /// A reader that sleeps.
    pub(crate) sleeper: Option<Sleeper>,
    /// How often readers were woken for bytes.
    pub(crate) wakes: usize,
    /// Whether the program gave up connecting.
    pub(crate) abandoned: bool,
    /// Whether the directions had ended at the last check.
    pub(crate) ended: (bool, bool),
}

impl End {
    /// An endpoint without a connection.
    pub(crate) fn new(listening: bool, buf_alloc: u32, low_water: usize) -> Self {
        End {
            connection: None,
            listening,
            accepted: false,
            released: false,
            transport_lost: false,
            shut: Halves::default(),
            ended_orderly: false,
            sent_reset: false,
            sent: 0,
            received: 0,
            taken: 0,
            queue: VecDeque::new(),
            owned: false,
            deferred: Deferred::default(),
            reset_deferred: false,
            backlog: Vec::new(),
            deferred_grant: None,
            largest_buf_alloc: buf_alloc,
            buf_alloc,
            low_water,
            granted_edge: u64::from(buf_alloc),
            announced: Grant::default(),
            heard: Grant::default(),
            sleeper: None,
            wakes: 0,
            abandoned: false,
            ended: (false, false),
        }
    }

    /// What is granted at this moment.
    pub(crate) fn grant(&self) -> Grant {
        Grant {
            forwarded: self.taken,
            buf_alloc: self.buf_alloc,
        }
    }

    /// Bytes queued.
    pub(crate) fn queued(&self) -> u64 {
        self.queue.iter().map(|range| range.end - range.start).sum()
    }

    /// The connection's phase, if there is one.
    pub(crate) fn phase(&self) -> Option<Phase> {
        self.connection.as_ref().map(Connection::phase)
    }

    /// Whether the connection is open.
    pub(crate) fn is_established(&self) -> bool {
        self.phase() == Some(Phase::Established)
    }

    /// Puts payload at the end of the queue.
    pub(crate) fn enqueue(&mut self, start: u64, len: u32) {
        assert_eq!(
            start, self.received,
            "bytes are delivered once and in order"
        );
        let end = start + u64::from(len);
        self.queue.push_back(start..end);
        self.received = end;
    }

    /// Takes up to `len` bytes out of the queue; returns how many.
    pub(crate) fn dequeue(&mut self, len: u64) -> u32 {
        let mut left = len;
        while left > 0 {
            let Some(first) = self.queue.front_mut() else {
                break;
            };
            let count = left.min(first.end - first.start);
            first.start += count;
            if first.is_empty() {
                self.queue.pop_front();
            }
            left -= count;
        }
        let count = len - left;
        self.taken += count;
        u32::try_from(count).expect("a queue is shorter than 4 GiB")
    }

    /// Compares the account with what the connection says.
    pub(crate) fn check(&mut self) {
        self.granted_edge = self.granted_edge.max(self.grant().edge());
        let Some(connection) = &self.connection else {
            return;
        };
        let receive = connection.receive_credit();
        if !self.released {
            assert_eq!(
                u64::from(receive.queued()),
                self.queued(),
                "the receive credit counts what is queued"
            );
            assert_eq!(
                u64::from(receive.unannounced()),
                self.taken - self.announced.forwarded,
                "bytes that the peer does not know to be taken"
            );
            for window in [0, 1, 7, connection.window(), u32::MAX] {
                let outstanding = self.received - self.announced.forwarded;
                assert_eq!(
                    u64::from(receive.known_free(window)),
                    u64::from(window.min(self.announced.buf_alloc)).saturating_sub(outstanding),
                    "what the peer knows that it may send within {window}"
                );
            }
        }
        assert_eq!(receive.buf_alloc(), self.buf_alloc);
        assert!(
            self.received <= self.granted_edge,
            "no more was received than granted"
        );
        if !matches!(connection.phase(), Phase::Closed(_)) {
            let send = connection.send_credit();
            assert_eq!(send.buf_alloc(), self.heard.buf_alloc);
            assert_eq!(
                u64::from(send.in_flight()),
                self.sent - self.heard.forwarded,
                "bytes under way, as far as the peer has said"
            );
            let room = self
                .heard
                .forwarded
                .saturating_add(u64::from(self.heard.buf_alloc.min(self.buf_alloc)))
                .saturating_sub(self.sent);
            let expected = if connection.send_ended() { 0 } else { room };
            assert_eq!(u64::from(connection.sendable()), expected);
            assert_eq!(
                connection.window(),
                wake::window(self.buf_alloc, self.heard.buf_alloc)
            );
        } else {
            assert_eq!(connection.sendable(), 0);
        }
        let ended = (connection.receive_ended(), connection.send_ended());
        assert!(
            ended.0 >= self.ended.0 && ended.1 >= self.ended.1,
            "a direction that ended stays so"
        );
        self.ended = ended;
    }
}

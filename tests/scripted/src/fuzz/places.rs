// SPDX-License-Identifier: GPL-2.0

//! Where the guest's program listens and connects from, and what it does there. The same stands in
//! `tests/kselftest/fuzz_victims.c`.

use rvsock_packet::{SEQPACKET, STREAM};

/// A place of the guest.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Its port.
    pub port: u32,
    /// The type of its sockets.
    pub kind: u16,
    /// The size of their receive buffers, in bytes.
    pub buffer: u32,
    /// Whether connections are accepted there for as long as they come.
    pub accepts: bool,
    /// How many bytes the guest's program sends on each connection, if it may.
    pub sends: u32,
}

impl Place {
    /// How many ends of messages without payload are queued there, at the most.
    pub fn empty_limit(&self) -> u32 {
        self.buffer / 8
    }
}

/// The ports of the streams and of the message sockets, each with what is done there added.
const STREAMS: u32 = 5100;
const MESSAGES: u32 = 5110;

/// What comes is read until the connection ends.
const READS: u32 = 0;
/// 1,000 bytes are sent, and then their end; what comes is read.
const TALKS: u32 = 1;
/// Nothing is read, and the socket closed when others have come.
const SLEEPS: u32 = 2;
/// The same, and no more is received from the beginning.
const DEAF: u32 = 3;
/// The socket is closed at once.
const CLOSES: u32 = 4;
/// Nothing is accepted.
const FULL: u32 = 5;

/// The buffers of who reads, of who does not, and of who has message sockets and does not.
const LARGE: u32 = 65536;
const SMALL: u32 = 1024;
const TINY: u32 = 256;

const fn place(first: u32, conduct: u32) -> Place {
    let kind = if first == STREAMS { STREAM } else { SEQPACKET };
    Place {
        port: first + conduct,
        kind,
        buffer: match (conduct, kind) {
            (SLEEPS | DEAF, STREAM) => SMALL,
            (SLEEPS | DEAF, _) => TINY,
            _ => LARGE,
        },
        accepts: conduct != FULL,
        sends: if conduct == TALKS { 1000 } else { 0 },
    }
}

/// All of them.
pub const PLACES: [Place; 12] = [
    place(STREAMS, READS),
    place(STREAMS, TALKS),
    place(STREAMS, SLEEPS),
    place(STREAMS, DEAF),
    place(STREAMS, CLOSES),
    place(STREAMS, FULL),
    place(MESSAGES, READS),
    place(MESSAGES, TALKS),
    place(MESSAGES, SLEEPS),
    place(MESSAGES, DEAF),
    place(MESSAGES, CLOSES),
    place(MESSAGES, FULL),
];

/// The place that has a port.
pub fn place_of(port: u32) -> Option<&'static Place> {
    PLACES.iter().find(|place| place.port == port)
}

/// The guest connects again and again from these ports to those of the host: as many, one for one.
/// Every other one has message sockets.
pub const CONNECTORS: u32 = 8;
/// The first of the guest's ports.
pub const CONNECTOR_PORT: u32 = 5200;
/// The first of the host's.
pub const CONNECTED_PORT: u32 = 7100;

/// The ports of the guest whose connections to the echo must go on: a stream and a message socket.
pub const LIVE: [(u32, u16); 2] = [(4000, STREAM), (4001, SEQPACKET)];

/// The host's ports of the connections that it opens are counted from here, so many.
pub const HOST_PORT: u32 = 20000;
/// How many there are before the first one is used again.
pub const HOST_PORTS: u32 = 8192;

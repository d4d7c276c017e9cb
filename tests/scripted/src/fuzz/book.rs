// SPDX-License-Identifier: GPL-2.0

//! The connections that the fuzzer has opened, as a correct guest has them.

use rvsock_packet::{Header, Operation, END_OF_MESSAGE, SEQPACKET};

use crate::live::BOTH;

use super::places::{place_of, Place};

/// The flag of a shutdown that says that nothing more will be sent.
const SEND: u32 = 2;

/// A connection to the guest.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where it ends.
    pub place: &'static Place,
    /// The host's port.
    pub host_port: u32,
    /// Bytes that were sent on it.
    pub sent: u32,
    /// Ends of messages without payload that were sent on it.
    pub empty: u32,
    /// Bytes that the host has said that it took.
    pub taken: u32,
    /// What the host has shut down.
    shut: u32,
    /// How many packets it is still to have.
    pub left: u32,
}

impl Connection {
    /// How many bytes may still be sent on it, if nothing of what was sent is ever read.
    pub fn room(&self) -> u32 {
        self.place.buffer.saturating_sub(self.sent)
    }

    /// Whether payload for it is taken.
    pub fn may_send(&self) -> bool {
        self.shut & SEND == 0
    }
}

/// The connections that are there.
#[derive(Debug, Default)]
pub struct Book {
    connections: Vec<Connection>,
}

impl Book {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<&Connection> {
        self.connections.get(index)
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Connection> {
        self.connections.get_mut(index)
    }

    /// The guest has lost all of them.
    pub fn clear(&mut self) {
        self.connections.clear();
    }

    /// A valid packet is sent; `left` is how many more a connection is to have that it opens.
    pub fn note(&mut self, header: &Header, left: u32) {
        let found = self.connections.iter().position(|one| {
            one.place.port == header.dst_port
                && one.host_port == header.src_port
                && one.place.kind == header.kind
        });
        let Some(index) = found else {
            self.open(header, left);
            return;
        };
        if !self.get_mut(index).is_some_and(|one| one.take(header)) {
            self.connections.swap_remove(index);
        }
    }

    fn open(&mut self, header: &Header, left: u32) {
        let place = place_of(header.dst_port).filter(|place| place.kind == header.kind);
        if let (Operation::REQUEST, Some(place)) = (header.operation, place) {
            if place.accepts {
                self.connections.push(Connection {
                    place,
                    host_port: header.src_port,
                    sent: 0,
                    empty: 0,
                    taken: 0,
                    shut: 0,
                    left,
                });
            }
        }
    }
}

impl Connection {
    /// A packet comes. Returns whether the connection is there after it.
    fn take(&mut self, header: &Header) -> bool {
        match header.operation {
            Operation::RESET => return false,
            Operation::SHUTDOWN => self.shut |= header.flags & BOTH,
            Operation::PAYLOAD if self.may_send() => {
                if header.len > self.room() {
                    return false;
                }
                self.sent += header.len;
                if header.len == 0 && header.kind == SEQPACKET && header.flags & END_OF_MESSAGE != 0
                {
                    self.empty += 1;
                    if self.empty > self.place.empty_limit() {
                        return false;
                    }
                }
            }
            _ => {}
        }
        self.shut != BOTH
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Each rule by itself, at its edges.

mod address;
mod buffer_size;
mod connection;
mod credit;
mod deferred;
mod event;
mod feature;
mod header;
mod owed;
mod reason;
mod wake;

use crate::model::world::FLOW;
use crate::protocol::connection::Connection;
use crate::protocol::credit::{Advertisement, Counter};
use crate::protocol::packet::{Header, Operation, SocketType};

/// A credit as a packet carries it.
fn credit(buf_alloc: u32, fwd_cnt: u32) -> Advertisement {
    Advertisement {
        buf_alloc,
        fwd_cnt: Counter::from_wire(fwd_cnt),
    }
}

/// A packet that arrives for the connection of these tests.
fn packet(operation: Operation, flags: u32, len: u32, credit: Advertisement) -> Header {
    Header {
        flow: FLOW,
        kind: SocketType::Stream,
        operation,
        flags,
        len,
        empty_ends: 0,
        credit,
    }
}

/// An open connection that grants `own` bytes and was granted `peer` bytes.
fn established(own: u32, peer: u32) -> Connection {
    let request = packet(Operation::Request, 0, 0, credit(peer, 0));
    let mut connection = Connection::accept(&request, own);
    let _ = connection.control(crate::protocol::packet::Control::Response);
    connection
}

/// A connection whose request was sent.
fn connecting(own: u32) -> Connection {
    let mut connection = Connection::connect(FLOW, SocketType::Stream, own);
    let _ = connection.control(crate::protocol::packet::Control::Request);
    connection
}

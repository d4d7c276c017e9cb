// SPDX-License-Identifier: GPL-2.0

//! What `ss --vsock` shows.
//!
//! All sockets of a namespace are listed, unbound ones too. How much is queued is not part of the
//! protocol; `SIOCINQ` and `SIOCOUTQ` tell the socket's own program.
//!
//! Source: `<linux/vm_sockets_diag.h>`.

use super::Vsock;
use crate::net::{
    diag::Diagnose,
    sock::Sock,
    sock_fields::SkState, //
};
use crate::protocol::address::{
    Address,
    Cid,
    Port, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// `struct vsock_diag_req`.
#[derive(FromBytes)]
#[repr(C)]
pub(crate) struct Request {
    _family: u8,
    _protocol: u8,
    _pad: u16,
    /// A bit for each state that is asked for: `1 << TCP_LISTEN`, say.
    states: u32,
    _inode: u32,
    _show: u32,
    _cookie: [u32; 2],
}

/// `struct vsock_diag_msg`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Report {
    family: u8,
    kind: u8,
    state: u8,
    shutdown: u8,
    local_cid: Cid,
    local_port: Port,
    peer_cid: Cid,
    peer_port: Port,
    inode: u32,
    cookie: [u32; 2],
}

impl Diagnose for Vsock {
    type Request = Request;
    type Report = Report;

    fn report(sock: &Sock<Self>, request: &Request) -> Option<Report> {
        let state = sock.published_state();
        let is_closed = state == SkState::Close as u8;
        // A closed one may be held for a moment by whoever looked it up.
        if (is_closed && sock.is_dead()) || request.states & 1u32.checked_shl(state.into())? == 0 {
            return None;
        }
        let local = sock.shared().local();
        let peer = if is_closed || state == SkState::Listen as u8 {
            Address::ANY
        } else {
            sock.shared().peer()
        };
        Some(Report {
            family: sock.family() as u8,
            kind: sock.type_number(),
            state,
            shutdown: sock.published_shutdown(),
            local_cid: local.cid,
            local_port: local.port,
            peer_cid: peer.cid,
            peer_port: peer.port,
            // The upper half of a number that is counted up; there is no room for it.
            inode: sock.inode() as u32,
            cookie: sock.cookie(),
        })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The system calls on a socket of the family, and which file handles each.

use super::{
    bind,
    close,
    connect,
    context::{
        Context,
        SLOT, //
    },
    dgram,
    dgram_recv,
    dgram_send,
    lend,
    listen,
    namespace::Namespace,
    options::{
        self,
        Options, //
    },
    poll,
    published::Status,
    recv,
    recv_message,
    send,
    send_message,
    state::{
        Stage,
        State, //
    },
    Shared,
    Vsock, //
};
use crate::net::{
    errno::{
        ENOTCONN,
        EOPNOTSUPP,
        EPROTONOSUPPORT,
        ESOCKTNOSUPPORT, //
    },
    family::{
        Family,
        Names, //
    },
    guard::Bh,
    ioctl::Queued,
    message::{
        MsgFlags,
        ReceiveMessage,
        SendMessage, //
    },
    ops::{
        How,
        Operations, //
    },
    option::{
        AddressBuffer,
        OptionOut,
        OptionValue, //
    },
    poll::PollEvents,
    registration::Slot,
    sock::Sock,
    sock_fields::SocketKind, //
};
use crate::protocol::{
    address::SockaddrVm,
    packet::SocketType, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

impl Family for Vsock {
    type Context = Context;

    type Namespace = Namespace;

    fn names(number: u8) -> Names {
        if i32::from(number) == options::AF_VSOCK {
            Names {
                protocol: c"AF_VSOCK",
                sysctls: c"net/vsock",
            }
        } else {
            Names {
                protocol: c"RVSOCK",
                sysctls: c"net/rvsock",
            }
        }
    }

    fn namespace(context: &Arc<Context>, creator: Option<&Namespace>) -> Result<Arc<Namespace>> {
        Namespace::new(context, creator)
    }

    fn create(
        context: &Arc<Context>,
        namespace: &Arc<Namespace>,
        kind: SocketKind,
        protocol: i32,
    ) -> Result<(impl PinInit<Shared, Error>, State)> {
        // By custom the protocol is 0 or the number of the family.
        let known = [0, options::AF_VSOCK, i32::from(context.family)];
        if !known.contains(&protocol) {
            return Err(EPROTONOSUPPORT);
        }
        let (state, kind) = match kind {
            SocketKind::STREAM => (State::new(), Some(SocketType::Stream)),
            SocketKind::SEQPACKET => (State::new(), Some(SocketType::Seqpacket)),
            SocketKind::DGRAM => (State::for_datagrams(), None),
            _ => return Err(ESOCKTNOSUPPORT),
        };
        let shared = Shared::new(
            context.clone(),
            namespace.clone(),
            kind,
            Options::new(),
            state.published(),
        );
        Ok((shared, state))
    }

    fn slot() -> &'static Slot<Self> {
        &SLOT
    }
}

/// `EOPNOTSUPP` for a call with `MSG_OOB`: the wire has no urgent data.
fn no_urgent_data(flags: MsgFlags) -> Result {
    if flags.contains(MsgFlags::OOB) {
        Err(EOPNOTSUPP)
    } else {
        Ok(())
    }
}

#[vtable]
impl Operations for Vsock {
    const ADDRESS_LEN: usize = size_of::<SockaddrVm>();
    const ZEROCOPY: bool = true;

    fn release(sock: &Sock<Self>) {
        close::release(sock);
    }

    fn bind(sock: &Sock<Self>, address: &[u8]) -> Result {
        match sock.kind() {
            SocketKind::DGRAM => dgram::bind(sock, address),
            _ => bind::bind(sock, address),
        }
    }

    fn connect(sock: &Sock<Self>, address: &[u8], nonblocking: bool) -> Result {
        match sock.kind() {
            SocketKind::DGRAM => dgram::connect(sock, address),
            _ => connect::connect(sock, address, nonblocking),
        }
    }

    fn accept(sock: &Sock<Self>, nonblocking: bool) -> Result<ARef<Sock<Self>>> {
        match sock.kind() {
            SocketKind::DGRAM => Err(EOPNOTSUPP),
            _ => listen::accept(sock, nonblocking),
        }
    }

    fn name(sock: &Sock<Self>, peer: bool, out: &mut AddressBuffer<'_>) -> Result {
        let state = sock.lock();
        let address = match (&state.stage, peer) {
            (Stage::Connected(link), true) => link.wire.flow().peer,
            (Stage::Datagrams(endpoint), true) => endpoint.peer().ok_or(ENOTCONN)?,
            (_, true) => return Err(ENOTCONN),
            (_, false) => state.local(),
        };
        out.write(SockaddrVm::new(sock.family(), address).as_bytes())
    }

    fn poll(sock: &Sock<Self>) -> PollEvents {
        poll::mask(sock)
    }

    fn listen(sock: &Sock<Self>, backlog: i32) -> Result {
        match sock.kind() {
            SocketKind::DGRAM => Err(EOPNOTSUPP),
            _ => listen::listen(sock, backlog),
        }
    }

    fn shutdown(sock: &Sock<Self>, how: How) -> Result {
        match sock.kind() {
            SocketKind::DGRAM => dgram::shutdown(sock, how),
            _ => close::shutdown(sock, how),
        }
    }

    fn set_option(sock: &Sock<Self>, level: i32, name: i32, value: &OptionValue<'_>) -> Result {
        options::set(sock, level, name, value)
    }

    fn set_socket_option(sock: &Sock<Self>, name: i32, value: &OptionValue<'_>) -> Result<bool> {
        options::set_of_socket(sock, name, value)
    }

    fn option(sock: &Sock<Self>, level: i32, name: i32, out: OptionOut<'_>) -> Result {
        options::get(sock, level, name, out)
    }

    fn send(sock: &Sock<Self>, message: &mut SendMessage<'_>, len: usize) -> Result<usize> {
        no_urgent_data(message.flags())?;
        match sock.shared().kind {
            Some(SocketType::Stream) => send::send(sock, message, len),
            Some(SocketType::Seqpacket) => send_message::send(sock, message, len),
            None => dgram_send::send(sock, message, len),
        }
    }

    fn receive(
        sock: &Sock<Self>,
        message: &mut ReceiveMessage<'_>,
        len: usize,
        flags: MsgFlags,
    ) -> Result<usize> {
        if flags.contains(MsgFlags::ERRQUEUE) {
            return lend::receive_completion(sock, message, len);
        }
        no_urgent_data(flags)?;
        match sock.shared().kind {
            Some(SocketType::Stream) => recv::receive(sock, message, len, flags),
            Some(SocketType::Seqpacket) => recv_message::receive(sock, message, len, flags),
            None => dgram_recv::receive(sock, message, len, flags),
        }
    }

    fn queued(sock: &Sock<Self>, direction: Queued) -> Result<usize> {
        let snapshot = sock.shared().published.snapshot();
        match (snapshot.status, direction) {
            (Status::Listening, _) => Err(EINVAL),
            (_, Queued::Incoming) => Ok(snapshot.levels.unread),
            (_, Queued::Outgoing) => Ok(sock.unsent()),
        }
    }

    fn set_receive_low_water(sock: &Sock<Self>, value: i32) -> Result {
        sock.set_receive_low_water(value);
        // Sleeping readers look again, and so do pollers.
        sock.shared().published.low_water_changed(sock);
        // The caller owns the socket, so what concerns the peer waits until it lets go.
        if let Bh::Busy(mut backlog) = sock.lock_bh() {
            backlog.low_water_changed = true;
        }
        Ok(())
    }

    fn peek_offset_set(sock: &Sock<Self>, value: i32) -> Result {
        options::peek_offset_set(sock, value)
    }

    fn receive_buffer_set(sock: &Sock<Self>, bytes: u32) {
        options::receive_buffer_set(sock, bytes);
    }
}

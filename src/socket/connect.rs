// SPDX-License-Identifier: GPL-2.0

//! Making a connection.
//!
//! Source: connect(2), vsock(7).

use super::{
    bind,
    link::Link,
    state::{
        Stage,
        State, //
    },
    Vsock, //
};
use crate::net::{
    errno::{
        EADDRINUSE,
        EALREADY,
        ECONNRESET,
        EINPROGRESS,
        EISCONN, //
    },
    guard::Owned,
    sock::Sock,
    table::Table,
    timeout::Timeout,
    wait::Woken, //
};
use crate::protocol::{
    address::{
        Address,
        Cid,
        Flow,
        Port, //
    },
    connection::Connection,
    packet::{
        Control,
        SocketType, //
    },
};
use kernel::{
    prelude::*,
    sync::aref::ARef,
    time::msecs_to_jiffies, //
};

/// `connect(2)`.
///
/// # Errors
///
/// Beside those of the address: `ENODEV` without a transport that reaches it, `ECONNRESET` when it
/// was refused, `ETIMEDOUT` after `SO_VM_SOCKETS_CONNECT_TIMEOUT`, `EINTR` by a signal (the
/// attempt is given up), `EISCONN`, `EALREADY` and `EINPROGRESS` for a non-blocking socket,
/// `EINVAL` for a listener.
pub(super) fn connect(sock: &Sock<Vsock>, bytes: &[u8], nonblocking: bool) -> Result {
    let peer = bind::parse(sock, bytes)?;
    let mut state = sock.lock();
    match state.stage {
        Stage::Unbound | Stage::Bound(_) | Stage::Stopped(_) => {
            // How an attempt that nobody waited for has ended is told here at the latest.
            sock.take_error()?;
            start(sock, &mut state, peer)?;
        }
        Stage::Connecting(_) if nonblocking => return Err(EALREADY),
        Stage::Connecting(_) => {}
        Stage::Connected(_) => return Err(EISCONN),
        Stage::Listening(_) | Stage::Closing(_) | Stage::Closed => return Err(EINVAL),
    }
    let timeout = sock.shared().options.connect_timeout();
    // A start that has failed by now is told of at once.
    if nonblocking && matches!(state.stage, Stage::Connecting(_)) {
        state.await_answer(sock, timeout);
        return Err(EINPROGRESS);
    }
    wait(
        sock,
        &mut state,
        Timeout::from_jiffies(msecs_to_jiffies(timeout)),
    )
}

/// Sends the request. On failure the socket is as it was, but for an address if it had none.
fn start(sock: &Sock<Vsock>, state: &mut State, peer: Address) -> Result {
    let context = &sock.shared().context;
    if peer.port == Port::ANY || matches!(peer.cid, Cid::ANY | Cid::HYPERVISOR) {
        return Err(EINVAL);
    }
    let device = context.device().ok_or(ENODEV)?;
    if peer.cid == Cid::LOCAL || peer.cid == device.cid() {
        return Err(ENODEV);
    }
    if matches!(state.stage, Stage::Unbound) {
        state.stage = Stage::Bound(bind::autobind(sock, Cid::ANY)?);
    }
    let (Stage::Bound(bound) | Stage::Stopped(bound)) = &state.stage else {
        return Err(EINVAL);
    };
    let flow = Flow {
        local: Address {
            cid: device.cid(),
            port: bound.address().port,
        },
        peer,
    };
    let entry = Table::insert(&context.connected, flow, ARef::from(sock), GFP_KERNEL)
        .map_err(|error| if error == EEXIST { EADDRINUSE } else { error })?;
    let buffer = sock.shared().options.buffer_size();
    let wire = Connection::connect(flow, SocketType::Stream, buffer);
    let bound = match core::mem::replace(&mut state.stage, Stage::Closed) {
        Stage::Bound(bound) | Stage::Stopped(bound) => Some(bound),
        _ => None,
    };
    let mut link = Link::new(wire, bound, entry, device);
    link.send_control(Control::Request);
    // A device that went meanwhile may not have found this connection in the table.
    if link.is_orphaned() {
        link.wire.transport_reset();
    }
    state.stage = Stage::Connecting(link);
    state.settle(sock, false);
    Ok(())
}

/// Waits for the answer. Whatever ends the wait, an answer that came counts.
fn wait(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>, mut timeout: Timeout) -> Result {
    loop {
        match &mut state.stage {
            Stage::Connecting(_) => {}
            Stage::Connected(_) => return Ok(()),
            _ => {
                sock.take_error()?;
                return Err(ECONNRESET);
            }
        }
        let woken = sock
            .shared()
            .published
            .connecting
            .with_turn(1, |turn| turn.sleep(state, &mut timeout));
        let Stage::Connecting(link) = &mut state.stage else {
            continue;
        };
        let error = match woken {
            Woken::Ready => continue,
            Woken::Signal => timeout.interrupted_error(),
            Woken::TimedOut => ETIMEDOUT,
        };
        if let Some(control) = link.wire.timeout() {
            link.send_control(control);
        }
        state.settle(sock, false);
        // It is told here and now, not once more by `SO_ERROR`.
        let _ = sock.take_error();
        return Err(error);
    }
}

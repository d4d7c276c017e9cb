// SPDX-License-Identifier: GPL-2.0

//! Making a connection.
//!
//! Source: connect(2), vsock(7).

use super::{
    bind,
    context::Context,
    link::Link,
    listen,
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
        EISCONN,
        ENETUNREACH,
        ESOCKTNOSUPPORT, //
    },
    guard::Owned,
    sock::Sock,
    table::Table,
    task::has_signal,
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
        Header, //
    },
};
use crate::transport::virtio::Device;
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
};

/// `connect(2)`.
///
/// # Errors
///
/// Beside those of the address: `ENODEV` without a transport that reaches it, `ENETUNREACH` where
/// that does not serve the network namespace, `ESOCKTNOSUPPORT` if the device has no sockets of this
/// type, `ECONNRESET` when it was refused, `ETIMEDOUT` after `SO_VM_SOCKETS_CONNECT_TIMEOUT`, `EINTR`
/// by a signal (the attempt is given up), `EISCONN`, `EALREADY` and `EINPROGRESS` for a non-blocking
/// socket, `EINVAL` for a listener.
pub(super) fn connect(sock: &Sock<Vsock>, bytes: &[u8], nonblocking: bool) -> Result {
    let peer = bind::parse(sock, bytes)?;
    let mut state = sock.lock();
    let is_called_again = core::mem::take(&mut state.is_called_again);
    match state.stage {
        Stage::Unbound | Stage::Bound(_) | Stage::Stopped(_) => {
            // How an attempt that nobody waited for has ended is told here at the latest.
            sock.take_error()?;
            start(sock, &mut state, peer)?;
        }
        Stage::Connecting(_) if nonblocking => return Err(EALREADY),
        Stage::Connecting(_) => {}
        Stage::Connected(_) if is_called_again => return Ok(()),
        Stage::Connected(_) => return Err(EISCONN),
        Stage::Listening(_) | Stage::Datagrams(_) | Stage::Closing(_) | Stage::Closed => {
            return Err(EINVAL);
        }
    }
    let timeout = sock.shared().options.connect_timeout();
    // A start that has failed by now is told of at once.
    if nonblocking && matches!(state.stage, Stage::Connecting(_)) {
        state.await_answer(sock, timeout);
        return Err(EINPROGRESS);
    }
    wait(sock, &mut state, timeout)
}

/// Starts a connection. On failure the socket is as it was, but for an address if it had none.
fn start(sock: &Sock<Vsock>, state: &mut State, peer: Address) -> Result {
    let context = &sock.shared().context;
    if peer.port == Port::ANY || matches!(peer.cid, Cid::ANY | Cid::HYPERVISOR) {
        return Err(EINVAL);
    }
    let device = context.device();
    let is_local =
        peer.cid == Cid::LOCAL || device.as_ref().is_some_and(|own| own.cid() == peer.cid);
    if !is_local {
        let device = device.as_ref().ok_or(ENODEV)?;
        if !device.carries(sock.shared().connection_kind()?) {
            return Err(ESOCKTNOSUPPORT);
        }
        // It belongs to the global namespaces.
        if !sock.shared().namespace.is_global() {
            return Err(ENETUNREACH);
        }
    }
    if matches!(state.stage, Stage::Unbound) {
        state.stage = Stage::Bound(bind::autobind(sock, Cid::ANY)?);
    }
    let (Stage::Bound(bound) | Stage::Stopped(bound)) = &state.stage else {
        return Err(EINVAL);
    };
    let own = bound.address();
    sock.shared().set_peer(peer);
    match device {
        Some(device) if !is_local => over_device(sock, state, own.port, peer, device),
        _ => over_loopback(sock, state, own, peer),
    }
}

/// Sends the request to another machine.
fn over_device(
    sock: &Sock<Vsock>,
    state: &mut State,
    port: Port,
    peer: Address,
    device: Arc<Device<Context>>,
) -> Result {
    let local = Address {
        cid: device.cid(),
        port,
    };
    let flow = Flow { local, peer };
    let connected = &sock.shared().context.connected;
    let entry = Table::insert(connected, flow, ARef::from(sock), GFP_KERNEL).map_err(|error| {
        if error == EEXIST {
            EADDRINUSE
        } else {
            error
        }
    })?;
    let wire = Connection::connect(
        flow,
        sock.shared().connection_kind()?,
        sock.shared().options.buffer_size(),
    );
    let mut link = Link::over_device(wire, state.take_bound(), entry, device);
    link.send_control(sock, Control::Request);
    // A device that went meanwhile may not have found this connection in the table.
    if link.is_orphaned() {
        link.wire.transport_reset();
    }
    state.stage = Stage::Connecting(link);
    state.settle(sock, false);
    Ok(())
}

/// Connects to a socket of this machine: that takes one step, in which nobody has to be waited for.
///
/// Nothing but the bound address is needed to tell connections apart, so they are in no table: each
/// end holds the other.
fn over_loopback(sock: &Sock<Vsock>, state: &mut State, own: Address, peer: Address) -> Result {
    let shared = sock.shared();
    let listener = shared
        .context
        .listener(shared.namespace.scope, peer)
        .ok_or(ECONNRESET)?;
    // Who is bound to no machine in particular is reached where it reaches its peer.
    let local = match own.cid {
        Cid::ANY => Address {
            cid: peer.cid,
            ..own
        },
        _ => own,
    };
    let flow = Flow { local, peer };
    let kind = sock.shared().connection_kind()?;
    let mut wire = Connection::connect(flow, kind, sock.shared().options.buffer_size());
    let credit = wire.announce();
    sock.shared().publish_credit(credit);
    let request = Header::control(flow, kind, Control::Request, credit);
    let other = listen::request_local(sock, &listener, &request.to_receiver())?;
    let credit = other.shared().credit();
    let response = Header::control(flow, kind, Control::Response, credit);
    // A response that comes to a request is neither dropped nor answered.
    let _ = wire.packet(&response);
    let link = Link::over_loopback(wire, state.take_bound(), other);
    state.stage = Stage::Connected(link);
    state.settle(sock, false);
    Ok(())
}

/// Waits for the answer, so many milliseconds. Whatever ends the wait, an answer that came counts.
fn wait(sock: &Sock<Vsock>, state: &mut Owned<'_, Vsock>, limit: Msecs) -> Result {
    let mut timeout = Timeout::from_jiffies(msecs_to_jiffies(limit));
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
            .with_turn(1_usize, |turn| turn.sleep(state, &mut timeout));
        let Stage::Connecting(link) = &mut state.stage else {
            continue;
        };
        let error = match woken {
            Woken::Ready => continue,
            // The attempt goes on, and this call when the task has done its own work.
            Woken::Signal if !has_signal() => {
                state.go_on_awaiting_answer(sock, limit);
                state.is_called_again = true;
                return Err(ERESTARTSYS);
            }
            Woken::Signal => timeout.interrupted_error(),
            Woken::TimedOut => ETIMEDOUT,
        };
        if let Some(control) = link.wire.timeout() {
            link.send_control(sock, control);
        }
        state.settle(sock, false);
        // It is told here and now, not once more by `SO_ERROR`.
        let _ = sock.take_error();
        return Err(error);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Giving a socket its address.
//!
//! Source: bind(2), vsock(7).

use super::{
    context::Context,
    namespace::Place,
    state::Stage,
    Vsock, //
};
use crate::net::{
    capability,
    errno::{
        EADDRINUSE,
        EADDRNOTAVAIL,
        EAFNOSUPPORT, //
    },
    sock::Sock,
    table::{
        Entry,
        Table, //
    },
};
use crate::protocol::address::{
    Address,
    AddressError,
    Cid,
    Port,
    SockaddrVm, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
};

/// An address that a socket is bound to, and its place in the table.
pub(super) struct Bound {
    address: Address,
    /// Where to look the CID up if it is the device's, which may have another one by now.
    own: Option<Arc<Context>>,
    _entry: Entry<Place, Vsock>,
}

impl Bound {
    /// The address; its CID may be the wildcard. One that is the device's is the one that this has
    /// now, or had when the socket was bound if there is no device.
    pub(super) fn address(&self) -> Address {
        let device = self.own.as_ref().and_then(|context| context.device());
        Address {
            cid: device.map_or(self.address.cid, |device| device.cid()),
            ..self.address
        }
    }
}

/// Reads the address that a program handed in.
pub(super) fn parse(sock: &Sock<Vsock>, bytes: &[u8]) -> Result<Address> {
    SockaddrVm::parse(bytes, sock.family()).map_err(|error| match error {
        AddressError::Malformed => EINVAL,
        AddressError::Family => EAFNOSUPPORT,
    })
}

/// `bind(2)`.
///
/// # Errors
///
/// `EINVAL` for an address that is none and for a socket that has one, `EAFNOSUPPORT` for that of
/// another family, `EADDRNOTAVAIL` for a CID that is not this machine's, `EADDRINUSE`, `EACCES`
/// for a reserved port.
pub(super) fn bind(sock: &Sock<Vsock>, bytes: &[u8]) -> Result {
    let wanted = parse(sock, bytes)?;
    let mut state = sock.lock();
    if !matches!(state.stage, Stage::Unbound) {
        return Err(EINVAL);
    }
    state.stage = Stage::Bound(take(sock, wanted)?);
    state.settle(sock, false);
    Ok(())
}

/// Takes the address that a program asked for. Errors as those of [`bind`].
pub(super) fn take(sock: &Sock<Vsock>, wanted: Address) -> Result<Bound> {
    if wanted.port == Port::ANY {
        return autobind(sock, wanted.cid);
    }
    // The ports of all global namespaces are the same, whoever made them.
    if wanted.port.is_reserved() && !capability::net_bind_service() {
        return Err(EACCES);
    }
    claim(sock, wanted)
}

/// Binds to the next free port: a few are tried, then it is `EADDRNOTAVAIL`.
pub(super) fn autobind(sock: &Sock<Vsock>, cid: Cid) -> Result<Bound> {
    for _ in 0..Port::AUTOBIND_TRIES {
        let port = sock.shared().namespace.next_port();
        match claim(sock, Address { cid, port }) {
            Err(error) if error == EADDRINUSE => {}
            other => return other,
        }
    }
    Err(EADDRNOTAVAIL)
}

/// Takes an address, unless another socket of the same scope has it or a wildcard covers it.
fn claim(sock: &Sock<Vsock>, address: Address) -> Result<Bound> {
    let shared = sock.shared();
    let (context, scope) = (&shared.context, shared.namespace.scope);
    let cid = context.bound_cid(address.cid).ok_or(EADDRNOTAVAIL)?;
    // Held from the look to the insertion: the table itself only sees equal addresses.
    let _binding = context.binding.lock();
    let port = address.port;
    let bound = context.bound(sock.kind());
    let covered = |cid| bound.find(&scope.place(cid, port)).is_some();
    let taken = if cid == Cid::ANY {
        covered(Cid::LOCAL) || covered(Cid::OWN)
    } else {
        covered(Cid::ANY)
    };
    if taken {
        return Err(EADDRINUSE);
    }
    let place = scope.place(cid, port);
    let entry = Table::insert(bound, place, ARef::from(sock), GFP_KERNEL).map_err(|error| {
        if error == EEXIST {
            EADDRINUSE
        } else {
            error
        }
    })?;
    Ok(Bound {
        address,
        own: (cid == Cid::OWN).then(|| context.clone()),
        _entry: entry,
    })
}

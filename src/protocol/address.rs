// SPDX-License-Identifier: GPL-2.0

//! Context identifiers, ports, and the socket address that programs hand in.
//!
//! Sources: vsock(7); virtio specification, 5.10.4 (reserved context identifiers) and 5.10.6.1
//! (addressing).

use zerocopy::native_endian;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A context identifier: the address of a virtual machine or of its host.
///
/// On the wire it has 64 bits, of which the specification reserves the upper half as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Cid(pub(crate) u32);

impl Cid {
    /// The hypervisor: reserved, and never the address of a socket here.
    pub(crate) const HYPERVISOR: Cid = Cid(0);
    /// Local communication (loopback).
    pub(crate) const LOCAL: Cid = Cid(1);
    /// The host of this virtual machine.
    pub(crate) const HOST: Cid = Cid(2);
    /// Any identifier: a wildcard for `bind`, never the address of a packet.
    pub(crate) const ANY: Cid = Cid(u32::MAX);
    /// Whatever the device says is the guest's: the name of the machine in a table of addresses, which
    /// outlives a change of its number. The value is one that no address has.
    pub(crate) const OWN: Cid = Cid::HYPERVISOR;

    /// Checks an identifier that a device offers as the guest's own.
    ///
    /// Reserved values (0, 1, 2, 2^32 - 1) and values whose upper half is not zero give `None`.
    pub(crate) fn of_guest(value: u64) -> Option<Cid> {
        let cid = Cid(u32::try_from(value).ok()?);
        match cid {
            Cid::HYPERVISOR | Cid::LOCAL | Cid::HOST | Cid::ANY => None,
            _ => Some(cid),
        }
    }
}

/// A port number within one context identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Port(pub(crate) u32);

impl Port {
    /// Any port: a wildcard for `bind`, never the address of a packet.
    pub(crate) const ANY: Port = Port(u32::MAX);

    /// Ports up to this one are bound only with `CAP_NET_BIND_SERVICE`.
    const LAST_RESERVED: u32 = 1023;

    /// How many ports `bind` tries before it gives up looking for a free one.
    pub(crate) const AUTOBIND_TRIES: u32 = 24;

    /// Tells whether binding to this port takes `CAP_NET_BIND_SERVICE`.
    pub(crate) fn is_reserved(self) -> bool {
        self.0 <= Self::LAST_RESERVED
    }

    /// Turns any number, a random one say, into a port that may be bound without a capability.
    pub(crate) fn unreserved_from(seed: u32) -> Port {
        let port = Port(seed);
        if port.is_reserved() || port == Port::ANY {
            Port(Self::LAST_RESERVED.wrapping_add(1))
        } else {
            port
        }
    }

    /// The port that autobind tries after this one: never [`Port::ANY`] and never a reserved one.
    pub(crate) fn following(self) -> Port {
        Self::unreserved_from(self.0.wrapping_add(1))
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Address {
    /// Which machine.
    pub(crate) cid: Cid,
    /// Which port on it.
    pub(crate) port: Port,
}

impl Address {
    /// What a socket has before it is bound.
    pub(crate) const ANY: Address = Address {
        cid: Cid::ANY,
        port: Port::ANY,
    };
}

/// The two ends of a connection, as one of them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Flow {
    /// The end on this side.
    pub(crate) local: Address,
    /// The end on the other side.
    pub(crate) peer: Address,
}

impl Flow {
    /// Whether these can be the ends of a packet that a device brings to the guest `guest`: it is
    /// for this guest, and from another machine.
    pub(crate) fn is_between(self, guest: Cid) -> bool {
        let from = self.peer.cid;
        self.local.cid == guest
            && from != guest
            && !matches!(from, Cid::HYPERVISOR | Cid::LOCAL | Cid::ANY)
    }

    /// The same connection as the other end sees it.
    pub(crate) fn reversed(self) -> Flow {
        Flow {
            local: self.peer,
            peer: self.local,
        }
    }
}

/// Why a socket address was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressError {
    /// Fewer bytes than a `struct sockaddr_vm` has, or reserved bytes that are not zero: `EINVAL`.
    Malformed,
    /// `svm_family` is not that of the socket: `EAFNOSUPPORT`.
    Family,
}

/// `struct sockaddr_vm` of `<linux/vm_sockets.h>`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct SockaddrVm {
    family: native_endian::U16,
    reserved1: native_endian::U16,
    port: native_endian::U32,
    cid: native_endian::U32,
    flags: u8,
    zero: [u8; 3],
}

impl SockaddrVm {
    /// `VMADDR_FLAG_TO_HOST`: the caller asks for the packet to go to the host, which is where
    /// this transport sends everything that is not local.
    const TO_HOST: u8 = 0x01;

    /// Writes down an address for a program to read.
    pub(crate) fn new(family: u16, address: Address) -> Self {
        SockaddrVm {
            family: family.into(),
            reserved1: 0.into(),
            port: address.port.0.into(),
            cid: address.cid.0.into(),
            flags: 0,
            zero: [0; 3],
        }
    }

    /// Whether a program handed in no address (`AF_UNSPEC`), whatever comes behind that. Fewer bytes
    /// than a family has are nothing at all.
    pub(crate) fn is_unspecified(bytes: &[u8]) -> bool {
        bytes.starts_with(&[0, 0])
    }

    /// Reads what a program handed in for a socket of `family`. Bytes beyond the structure are
    /// ignored.
    pub(crate) fn parse(bytes: &[u8], family: u16) -> Result<Address, AddressError> {
        let (raw, _) = <Self as zerocopy::FromBytes>::read_from_prefix(bytes)
            .map_err(|_| AddressError::Malformed)?;
        if raw.family.get() != family {
            return Err(AddressError::Family);
        }
        if raw.zero != [0; 3] || raw.reserved1.get() != 0 || raw.flags & !Self::TO_HOST != 0 {
            return Err(AddressError::Malformed);
        }
        Ok(Address {
            cid: Cid(raw.cid.get()),
            port: Port(raw.port.get()),
        })
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The packet header: its layout, and what makes a packet invalid.
//!
//! Source: virtio specification, 5.10.6 (device operation).

use super::address::{Address, Cid, Flow, Port};
use super::credit::{Advertisement, Counter};
use super::reason::DropReason;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the header on the wire, in bytes.
pub(crate) const HEADER_LEN: usize = 44;

/// A header as it stands in memory, ready to be sent.
pub(crate) type HeaderBytes = [u8; HEADER_LEN];

/// `struct virtio_vsock_hdr`: all fields little endian, no padding.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Wire {
    src_cid: U64,
    dst_cid: U64,
    src_port: U32,
    dst_port: U32,
    len: U32,
    kind: U16,
    op: U16,
    flags: U32,
    buf_alloc: U32,
    fwd_cnt: U32,
}

const _: () = assert!(size_of::<Wire>() == HEADER_LEN);

/// What a packet asks for (`op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Operation {
    /// Open a connection.
    Request = 1,
    /// The connection is accepted.
    Response = 2,
    /// There is no such connection, or no longer.
    Reset = 3,
    /// One or both directions end; see [`Halves`].
    Shutdown = 4,
    /// Payload.
    ReadWrite = 5,
    /// Nothing but the credit that every packet carries.
    CreditUpdate = 6,
    /// The sender wants a [`Operation::CreditUpdate`].
    CreditRequest = 7,
}

impl Operation {
    /// A name for each operation, in the order of the variants.
    pub(crate) const NAMES: [&'static str; 7] = [
        "request",
        "response",
        "reset",
        "shutdown",
        "rw",
        "credit_update",
        "credit_request",
    ];

    /// Where the operation stands in [`Operation::NAMES`].
    pub(crate) fn index(self) -> usize {
        (self as usize).saturating_sub(1)
    }

    fn from_wire(op: u16) -> Option<Operation> {
        Some(match op {
            1 => Operation::Request,
            2 => Operation::Response,
            3 => Operation::Reset,
            4 => Operation::Shutdown,
            5 => Operation::ReadWrite,
            6 => Operation::CreditUpdate,
            7 => Operation::CreditRequest,
            _ => return None,
        })
    }
}

/// The type of a socket (`type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum SocketType {
    /// A byte stream.
    Stream = 1,
    /// Messages with boundaries.
    Seqpacket = 2,
}

impl SocketType {
    fn from_wire(kind: u16) -> Option<SocketType> {
        Some(match kind {
            1 => SocketType::Stream,
            2 => SocketType::Seqpacket,
            _ => return None,
        })
    }
}

/// The two directions of a connection, as bits of one end: what it will no longer do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Halves {
    /// It will not receive any more.
    pub(crate) receive: bool,
    /// It will not send any more.
    pub(crate) send: bool,
}

impl Halves {
    const RECEIVE: u32 = 1;
    const SEND: u32 = 2;

    /// Both directions.
    pub(crate) const BOTH: Halves = Halves {
        receive: true,
        send: true,
    };

    /// Reads the flags of a [`Operation::Shutdown`]; bits that are not defined are ignored.
    fn from_wire(flags: u32) -> Halves {
        Halves {
            receive: flags & Self::RECEIVE != 0,
            send: flags & Self::SEND != 0,
        }
    }

    /// The flags of a [`Operation::Shutdown`].
    pub(super) fn to_wire(self) -> u32 {
        let receive = if self.receive { Self::RECEIVE } else { 0 };
        let send = if self.send { Self::SEND } else { 0 };
        receive | send
    }

    /// What either of the two has.
    pub(crate) fn union(self, other: Halves) -> Halves {
        Halves {
            receive: self.receive || other.receive,
            send: self.send || other.send,
        }
    }

    /// Whether no direction is left.
    pub(crate) fn is_both(self) -> bool {
        self == Self::BOTH
    }
}

/// The end of a message, which the last of its packets carries.
///
/// Source: virtio specification, 5.10.6.7 (seqpacket sockets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageEnd {
    /// It ends a record of the sender's as well (`MSG_EOR`).
    pub(crate) record: bool,
}

impl MessageEnd {
    /// `VIRTIO_VSOCK_SEQ_EOM`
    const MESSAGE: u32 = 1;
    /// `VIRTIO_VSOCK_SEQ_EOR`
    const RECORD: u32 = 2;

    /// Reads the flags of a [`Operation::ReadWrite`]; bits that are not defined are ignored, and so
    /// is the end of a record that is not one of a message.
    pub(crate) fn from_wire(flags: u32) -> Option<MessageEnd> {
        (flags & Self::MESSAGE != 0).then_some(MessageEnd {
            record: flags & Self::RECORD != 0,
        })
    }

    /// The flags of a [`Operation::ReadWrite`] that does or does not end a message.
    pub(crate) fn to_wire(end: Option<MessageEnd>) -> u32 {
        match end {
            None => 0,
            Some(MessageEnd { record: false }) => Self::MESSAGE,
            Some(MessageEnd { record: true }) => Self::MESSAGE | Self::RECORD,
        }
    }
}

/// A valid header.
///
/// The flow is as the receiver of the packet sees it: `flow.peer` sent it to `flow.local`. For a
/// packet to be sent, [`Header::encode`] takes the flow as its sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Both ends, from this side.
    pub(crate) flow: Flow,
    /// Stream or message socket.
    pub(crate) kind: SocketType,
    /// What is asked for.
    pub(crate) operation: Operation,
    /// Meaning depends on the operation.
    pub(crate) flags: u32,
    /// Bytes of payload.
    pub(crate) len: u32,
    /// Ends of messages that came without payload, and so at the cost of no credit: 1 if this packet
    /// is such an end, more in a header that stands for several packets. Not a field of the wire.
    pub(crate) empty_ends: u32,
    /// The credit that the packet's sender grants.
    pub(crate) credit: Advertisement,
}

/// Why a packet is invalid, and what is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// For the counters.
    pub(crate) reason: DropReason,
    /// A reset that the specification wants sent back, and the ends of the packet it answers.
    pub(crate) answer: Option<(Flow, HeaderBytes)>,
}

impl Invalid {
    fn silent(reason: DropReason) -> Self {
        Invalid {
            reason,
            answer: None,
        }
    }
}

impl Header {
    /// Checks a received header. `written` is how many bytes the device wrote, header included.
    ///
    /// `bytes` must be a copy that the device can no longer change.
    pub(crate) fn parse(bytes: &HeaderBytes, written: usize) -> Result<Header, Invalid> {
        let payload_written = written
            .checked_sub(HEADER_LEN)
            .ok_or(Invalid::silent(DropReason::ShortHeader))?;
        let wire: Wire = zerocopy::transmute!(*bytes);
        let cid = |value: U64| {
            u32::try_from(value.get())
                .map(Cid)
                .map_err(|_| Invalid::silent(DropReason::ReservedCid))
        };
        let source = Address {
            cid: cid(wire.src_cid)?,
            port: Port(wire.src_port.get()),
        };
        let destination = Address {
            cid: cid(wire.dst_cid)?,
            port: Port(wire.dst_port.get()),
        };
        let flow = Flow {
            local: destination,
            peer: source,
        };
        // An unknown type is answered with a reset (5.10.6.4), but never a reset with a reset.
        let kind = SocketType::from_wire(wire.kind.get()).ok_or_else(|| Invalid {
            reason: DropReason::Type,
            answer: (wire.op.get() != Operation::Reset as u16).then(|| (flow, wire.reset())),
        })?;
        let operation =
            Operation::from_wire(wire.op.get()).ok_or(Invalid::silent(DropReason::Operation))?;
        let len = wire.len.get();
        if u64::from(len) > payload_written as u64 {
            return Err(Invalid::silent(DropReason::ShortPayload));
        }
        if len > 0 && operation != Operation::ReadWrite {
            return Err(Invalid::silent(DropReason::Payload));
        }
        Ok(Header {
            flow,
            kind,
            operation,
            flags: wire.flags.get(),
            len,
            empty_ends: empty_ends(kind, operation, wire.flags.get(), len),
            credit: Advertisement {
                buf_alloc: wire.buf_alloc.get(),
                fwd_cnt: Counter::from_wire(wire.fwd_cnt.get()),
            },
        })
    }

    /// The header's bytes. `flow.local` becomes the source, `flow.peer` the destination.
    pub(crate) fn encode(&self) -> HeaderBytes {
        let wire = Wire {
            src_cid: u64::from(self.flow.local.cid.0).into(),
            dst_cid: u64::from(self.flow.peer.cid.0).into(),
            src_port: self.flow.local.port.0.into(),
            dst_port: self.flow.peer.port.0.into(),
            len: self.len.into(),
            kind: (self.kind as u16).into(),
            op: (self.operation as u16).into(),
            flags: self.flags.into(),
            buf_alloc: self.credit.buf_alloc.into(),
            fwd_cnt: self.credit.fwd_cnt.to_wire().into(),
        };
        zerocopy::transmute!(wire)
    }

    /// The same packet as its receiver sees it.
    pub(crate) fn to_receiver(self) -> Header {
        Header {
            flow: self.flow.reversed(),
            ..self
        }
    }

    /// The end of a message, if the packet has one.
    pub(crate) fn message_end(&self) -> Option<MessageEnd> {
        match (self.kind, self.operation) {
            (SocketType::Seqpacket, Operation::ReadWrite) => MessageEnd::from_wire(self.flags),
            _ => None,
        }
    }

    /// A packet with `len` bytes of payload, for a message socket with its `end` if it has one.
    pub(crate) fn data(
        flow: Flow,
        kind: SocketType,
        len: u32,
        end: Option<MessageEnd>,
        credit: Advertisement,
    ) -> Header {
        let flags = MessageEnd::to_wire(end);
        Header {
            flow,
            kind,
            operation: Operation::ReadWrite,
            flags,
            len,
            empty_ends: empty_ends(kind, Operation::ReadWrite, flags, len),
            credit,
        }
    }

    /// The halves that a [`Operation::Shutdown`] ends.
    pub(crate) fn halves(&self) -> Halves {
        Halves::from_wire(self.flags)
    }

    /// A packet without payload.
    pub(crate) fn control(
        flow: Flow,
        kind: SocketType,
        control: Control,
        credit: Advertisement,
    ) -> Header {
        let (operation, flags) = control.to_wire();
        Header {
            flow,
            kind,
            operation,
            flags,
            len: 0,
            empty_ends: 0,
            credit,
        }
    }

    /// The reset that answers this packet when it belongs to no connection; a reset is not
    /// answered.
    pub(crate) fn refusal(&self) -> Option<HeaderBytes> {
        (self.operation != Operation::Reset).then(|| {
            Header::control(
                self.flow,
                self.kind,
                Control::Reset,
                Advertisement::default(),
            )
            .encode()
        })
    }
}

/// Ends of messages without payload that such a packet has: one or none.
fn empty_ends(kind: SocketType, operation: Operation, flags: u32, len: u32) -> u32 {
    let is_end = kind == SocketType::Seqpacket
        && operation == Operation::ReadWrite
        && MessageEnd::from_wire(flags).is_some();
    u32::from(is_end && len == 0)
}

impl Wire {
    /// A reset back to the sender that repeats the type, known or not.
    fn reset(&self) -> HeaderBytes {
        let reset = Wire {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            len: 0.into(),
            kind: self.kind,
            op: (Operation::Reset as u16).into(),
            flags: 0.into(),
            buf_alloc: 0.into(),
            fwd_cnt: 0.into(),
        };
        zerocopy::transmute!(reset)
    }
}

/// A packet without payload that a connection wants sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Open the connection.
    Request,
    /// Accept it.
    Response,
    /// End it at once.
    Reset,
    /// These halves end.
    Shutdown(Halves),
    /// Tell the peer what it may send.
    CreditUpdate,
    /// Ask the peer what we may send.
    CreditRequest,
}

impl Control {
    fn to_wire(self) -> (Operation, u32) {
        match self {
            Control::Request => (Operation::Request, 0),
            Control::Response => (Operation::Response, 0),
            Control::Reset => (Operation::Reset, 0),
            Control::Shutdown(halves) => (Operation::Shutdown, halves.to_wire()),
            Control::CreditUpdate => (Operation::CreditUpdate, 0),
            Control::CreditRequest => (Operation::CreditRequest, 0),
        }
    }
}

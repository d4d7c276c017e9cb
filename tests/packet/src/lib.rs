// SPDX-License-Identifier: GPL-2.0

//! Packets: the header of the wire, field by field, with any value in each of them.
//!
//! Source: virtio specification, 5.10.6 (device operation).

#![forbid(unsafe_code)]

use std::fmt;

/// Length of the header, in bytes.
pub const HEADER_LEN: usize = 44;

/// The CID of the host.
pub const HOST_CID: u64 = 2;

/// The type of a stream socket.
pub const STREAM: u16 = 1;
/// The type of a message socket.
pub const SEQPACKET: u16 = 2;

/// The flag of a message's last packet.
pub const END_OF_MESSAGE: u32 = 1;
/// The flag of a record's last packet.
pub const END_OF_RECORD: u32 = 2;

/// The operations with a name, and their names in scenarios.
const OPERATIONS: [(u16, &str); 8] = [
    (0, "INVALID"),
    (Operation::REQUEST.0, "REQUEST"),
    (Operation::RESPONSE.0, "RESPONSE"),
    (Operation::RESET.0, "RST"),
    (Operation::SHUTDOWN.0, "SHUTDOWN"),
    (Operation::PAYLOAD.0, "RW"),
    (Operation::CREDIT_UPDATE.0, "CREDIT_UPDATE"),
    (Operation::CREDIT_REQUEST.0, "CREDIT_REQUEST"),
];

/// What a packet asks for; any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(pub u16);

impl Operation {
    /// Open a connection.
    pub const REQUEST: Self = Self(1);
    /// The connection is accepted.
    pub const RESPONSE: Self = Self(2);
    /// There is no such connection.
    pub const RESET: Self = Self(3);
    /// Directions end.
    pub const SHUTDOWN: Self = Self(4);
    /// Payload.
    pub const PAYLOAD: Self = Self(5);
    /// Credit.
    pub const CREDIT_UPDATE: Self = Self(6);
    /// A request for credit.
    pub const CREDIT_REQUEST: Self = Self(7);

    /// The operation that has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        OPERATIONS
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(number, _)| Self(*number))
    }

    /// Whether the packet only carries or asks for credit, which either end may do at any time.
    pub fn is_credit(self) -> bool {
        matches!(self, Self::CREDIT_UPDATE | Self::CREDIT_REQUEST)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OPERATIONS.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => out.write_str(name),
            None => write!(out, "op={}", self.0),
        }
    }
}

/// A field of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `src_cid`
    SourceCid,
    /// `dst_cid`
    DestinationCid,
    /// `src_port`
    SourcePort,
    /// `dst_port`
    DestinationPort,
    /// `len`
    Length,
    /// `type`
    Type,
    /// `op`
    Operation,
    /// `flags`
    Flags,
    /// `buf_alloc`
    Buffer,
    /// `fwd_cnt`
    Forwarded,
}

impl Field {
    /// All fields in the order of the wire, with their names in the specification and their
    /// lengths in bytes.
    pub const ALL: [(Field, &'static str, u32); 10] = [
        (Field::SourceCid, "src_cid", 8),
        (Field::DestinationCid, "dst_cid", 8),
        (Field::SourcePort, "src_port", 4),
        (Field::DestinationPort, "dst_port", 4),
        (Field::Length, "len", 4),
        (Field::Type, "type", 2),
        (Field::Operation, "op", 2),
        (Field::Flags, "flags", 4),
        (Field::Buffer, "buf_alloc", 4),
        (Field::Forwarded, "fwd_cnt", 4),
    ];

    /// The field that has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known, _)| *known == name)
            .map(|(field, _, _)| *field)
    }

    /// The largest number that it can hold.
    pub fn max(self) -> u64 {
        Self::ALL
            .iter()
            .find(|(field, _, _)| *field == self)
            .map_or(u64::MAX, |(_, _, bytes)| u64::MAX >> (64 - 8 * bytes))
    }
}

/// A header. Any value can be in any field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's CID, 64 bits as on the wire.
    pub src_cid: u64,
    /// The receiver's.
    pub dst_cid: u64,
    /// The sender's port.
    pub src_port: u32,
    /// The receiver's.
    pub dst_port: u32,
    /// Bytes of payload, as the header says.
    pub len: u32,
    /// Stream or messages.
    pub kind: u16,
    /// What it asks for.
    pub operation: Operation,
    /// Their meaning is the operation's.
    pub flags: u32,
    /// The size of the sender's buffer, in bytes.
    pub buf_alloc: u32,
    /// Bytes that the sender has taken out of its buffer, modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// The value of a field.
    pub fn get(&self, field: Field) -> u64 {
        match field {
            Field::SourceCid => self.src_cid,
            Field::DestinationCid => self.dst_cid,
            Field::SourcePort => self.src_port.into(),
            Field::DestinationPort => self.dst_port.into(),
            Field::Length => self.len.into(),
            Field::Type => self.kind.into(),
            Field::Operation => self.operation.0.into(),
            Field::Flags => self.flags.into(),
            Field::Buffer => self.buf_alloc.into(),
            Field::Forwarded => self.fwd_cnt.into(),
        }
    }

    /// Sets a field to the lower bits of `value`, as many as it has.
    pub fn set(&mut self, field: Field, value: u64) {
        let narrow = value as u32;
        match field {
            Field::SourceCid => self.src_cid = value,
            Field::DestinationCid => self.dst_cid = value,
            Field::SourcePort => self.src_port = narrow,
            Field::DestinationPort => self.dst_port = narrow,
            Field::Length => self.len = narrow,
            Field::Type => self.kind = value as u16,
            Field::Operation => self.operation = Operation(value as u16),
            Field::Flags => self.flags = narrow,
            Field::Buffer => self.buf_alloc = narrow,
            Field::Forwarded => self.fwd_cnt = narrow,
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        for (field, _, length) in Field::ALL {
            let value = self.get(field).to_le_bytes();
            bytes.extend(value.iter().take(length as usize));
        }
        bytes
    }

    /// Reads a header from the beginning of `bytes`; `None` if they are too few.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut header = Header {
            src_cid: 0,
            dst_cid: 0,
            src_port: 0,
            dst_port: 0,
            len: 0,
            kind: 0,
            operation: Operation(0),
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        };
        let mut rest = bytes;
        for (field, _, length) in Field::ALL {
            let (value, behind) = rest.split_at_checked(length as usize)?;
            let number = value
                .iter()
                .rev()
                .fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
            header.set(field, number);
            rest = behind;
        }
        Some(header)
    }
}

/// A packet that the guest has sent, or that it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What stands before the payload.
    pub header: Header,
    /// What stands behind the header, however much that header says.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Reads a packet; `None` if there is no whole header.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Packet {
            header: Header::decode(bytes)?,
            payload: bytes.get(HEADER_LEN..)?.to_vec(),
        })
    }

    /// The packet's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.header.encode();
        bytes.extend(&self.payload);
        bytes
    }

    /// A reset that answers this packet, as a host sends it that knows no such connection; a reset
    /// is not answered.
    pub fn refusal(&self) -> Option<Packet> {
        let header = &self.header;
        (header.operation != Operation::RESET).then(|| Packet {
            header: Header {
                src_cid: header.dst_cid,
                dst_cid: header.src_cid,
                src_port: header.dst_port,
                dst_port: header.src_port,
                len: 0,
                operation: Operation::RESET,
                flags: 0,
                buf_alloc: 0,
                fwd_cnt: 0,
                ..*header
            },
            payload: Vec::new(),
        })
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.header.operation)?;
        for (field, name, _) in Field::ALL {
            if field != Field::Operation {
                write!(out, " {name}={}", self.header.get(field))?;
            }
        }
        if self.payload.len() != self.header.len as usize {
            write!(out, " with {} bytes of payload", self.payload.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            src_cid: 0x0102_0304_0506_0708,
            dst_cid: 2,
            src_port: 0x1112_1314,
            dst_port: 7000,
            len: 3,
            kind: 1,
            operation: Operation::PAYLOAD,
            flags: 0x2122_2324,
            buf_alloc: 65536,
            fwd_cnt: u32::MAX,
        }
    }

    #[test]
    fn header_stands_in_little_endian() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(bytes.get(..8), Some(&[8, 7, 6, 5, 4, 3, 2, 1][..]));
        assert_eq!(bytes.get(16..20), Some(&[0x14, 0x13, 0x12, 0x11][..]));
        assert_eq!(bytes.get(28..32), Some(&[1, 0, 5, 0][..]));
        assert_eq!(bytes.get(40..), Some(&[0xff; 4][..]));
    }

    #[test]
    fn packet_comes_back_as_it_was() {
        let packet = Packet {
            header: header(),
            payload: b"abc".to_vec(),
        };
        assert_eq!(Packet::decode(&packet.encode()), Some(packet.clone()));
        assert_eq!(
            Packet::decode(packet.encode().get(..43).unwrap_or_default()),
            None
        );
    }

    #[test]
    fn fields_hold_what_they_can() {
        assert_eq!(Field::SourceCid.max(), u64::MAX);
        assert_eq!(Field::Flags.max(), u64::from(u32::MAX));
        assert_eq!(Field::Type.max(), u64::from(u16::MAX));
    }

    #[test]
    fn reset_is_not_refused() {
        let mut packet = Packet {
            header: header(),
            payload: Vec::new(),
        };
        let refusal = packet.refusal();
        assert_eq!(
            refusal.as_ref().map(|reset| reset.header.dst_port),
            Some(0x1112_1314)
        );
        packet.header.operation = Operation::RESET;
        assert_eq!(packet.refusal(), None);
    }
}

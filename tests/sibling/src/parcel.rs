// SPDX-License-Identifier: GPL-2.0

//! A packet on its way into the buffers of the guest that it is for.

use rvsock_packet::{
    Header, Operation, Packet, END_OF_MESSAGE, END_OF_RECORD, HEADER_LEN, SEQPACKET,
};

/// What can be done with a packet and a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Fit {
    /// These bytes go into it.
    Bytes(Vec<u8>),
    /// Nothing can go into a buffer that has no room behind a header.
    TooSmall,
    /// The packet is longer than the buffer, and of a kind that cannot be split.
    TooLong,
}

/// A packet of which a part may be delivered.
#[derive(Debug)]
pub struct Parcel {
    packet: Packet,
    /// Bytes of its payload that are in earlier parts.
    sent: usize,
    /// Whether one of those was the last.
    is_delivered: bool,
}

impl Parcel {
    /// A packet of which nothing is delivered.
    pub fn new(packet: Packet) -> Self {
        Parcel {
            packet,
            sent: 0,
            is_delivered: false,
        }
    }

    /// The packet's header.
    pub fn header(&self) -> &Header {
        &self.packet.header
    }

    /// The reset that answers the packet; `None` if it is one itself.
    pub fn refusal(&self) -> Option<Packet> {
        self.packet.refusal()
    }

    /// Whether all of it is in the parts so far.
    pub fn is_delivered(&self) -> bool {
        self.is_delivered
    }

    /// The next part, for a buffer of `room` bytes. The whole packet if it fits; otherwise as much
    /// payload as there is room for, behind a header of its own. Only the last part ends a message
    /// or a record.
    pub fn next(&mut self, room: usize) -> Fit {
        let rest = self.packet.payload.get(self.sent..).unwrap_or_default();
        let header = &self.packet.header;
        let Some(space) = room.checked_sub(HEADER_LEN) else {
            return Fit::TooSmall;
        };
        let len = rest.len().min(space);
        let is_last = len == rest.len();
        if !is_last {
            if header.operation != Operation::PAYLOAD {
                return Fit::TooLong;
            }
            if len == 0 {
                return Fit::TooSmall;
            }
        }
        let mut flags = header.flags;
        if header.kind == SEQPACKET && !is_last {
            flags &= !(END_OF_MESSAGE | END_OF_RECORD);
        }
        let part = Header {
            len: len as u32,
            flags,
            ..header.clone()
        };
        let mut bytes = part.encode();
        bytes.extend(rest.iter().take(len));
        self.sent += len;
        self.is_delivered = is_last;
        Fit::Bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(operation: Operation, kind: u16, len: u8) -> Parcel {
        Parcel::new(Packet {
            header: Header {
                src_cid: 3,
                dst_cid: 4,
                src_port: 1025,
                dst_port: 9998,
                len: len.into(),
                kind,
                operation,
                flags: END_OF_MESSAGE | END_OF_RECORD | 4,
                buf_alloc: 262_144,
                fwd_cnt: 17,
            },
            payload: (0..len).collect(),
        })
    }

    /// The parts that a parcel comes in, and whether it has come to its end after each.
    fn parts(parcel: &mut Parcel, room: usize, count: usize) -> Vec<(Packet, bool)> {
        let mut parts = Vec::new();
        for _ in 0..count {
            if let Fit::Bytes(bytes) = parcel.next(room) {
                assert!(bytes.len() <= room);
                parts.extend(Packet::decode(&bytes).map(|part| (part, parcel.is_delivered())));
            }
        }
        parts
    }

    #[test]
    fn what_fits_stays_whole() {
        for room in [144, 145, 65536] {
            let mut whole = parcel(Operation::PAYLOAD, SEQPACKET, 100);
            let packet = whole.packet.clone();
            assert_eq!(parts(&mut whole, room, 1), [(packet, true)]);
        }
    }

    #[test]
    fn a_message_ends_with_its_last_part() {
        let mut long = parcel(Operation::PAYLOAD, SEQPACKET, 100);
        let parts = parts(&mut long, 44 + 40, 3);
        let told: Vec<_> = parts
            .iter()
            .map(|(part, last)| {
                (
                    part.header.len,
                    part.payload.len(),
                    part.header.flags,
                    *last,
                )
            })
            .collect();
        assert_eq!(
            told,
            [(40, 40, 4, false), (40, 40, 4, false), (20, 20, 7, true)]
        );
        let all: Vec<u8> = parts
            .into_iter()
            .flat_map(|(part, _)| part.payload)
            .collect();
        assert_eq!(all, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn all_else_in_a_part_is_as_it_was() {
        let mut long = parcel(Operation::PAYLOAD, SEQPACKET, 100);
        let whole = long.packet.header.clone();
        for (part, _) in parts(&mut long, 44 + 99, 2) {
            let same = Header {
                len: whole.len,
                flags: whole.flags,
                ..part.header
            };
            assert_eq!(same, whole);
        }
    }

    #[test]
    fn flags_of_a_stream_are_nobodys_here() {
        let mut long = parcel(Operation::PAYLOAD, rvsock_packet::STREAM, 100);
        let flags: Vec<_> = parts(&mut long, 44 + 60, 2)
            .into_iter()
            .map(|(part, _)| part.header.flags)
            .collect();
        assert_eq!(flags, [7, 7]);
    }

    #[test]
    fn an_empty_message_has_one_part() {
        let mut empty = parcel(Operation::PAYLOAD, SEQPACKET, 0);
        let packet = empty.packet.clone();
        assert_eq!(parts(&mut empty, 44, 1), [(packet, true)]);
    }

    #[test]
    fn a_buffer_needs_room_behind_the_header() {
        let mut long = parcel(Operation::PAYLOAD, SEQPACKET, 2);
        for room in [0, 43, 44] {
            assert_eq!(long.next(room), Fit::TooSmall);
        }
        assert!(matches!(long.next(45), Fit::Bytes(_)));
        assert!(!long.is_delivered());
    }

    #[test]
    fn only_payload_is_split() {
        let mut other = parcel(Operation::SHUTDOWN, rvsock_packet::STREAM, 2);
        assert_eq!(other.next(45), Fit::TooLong);
        assert_eq!(parts(&mut other, 46, 1).len(), 1);
    }
}

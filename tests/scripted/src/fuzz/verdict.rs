// SPDX-License-Identifier: GPL-2.0

//! What a correct guest makes of a packet before it looks for the connection.

use rvsock_packet::{Header, Operation, HEADER_LEN, SEQPACKET, STREAM};

use crate::live;

/// The largest receive buffer of any driver, in bytes: what says that it is longer is a lie.
const LARGEST_BUFFER: u32 = 65536;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is dropped without a word.
    Dropped,
    /// It is answered with a reset, whatever there is at its port.
    Refused,
    /// It reaches its connection or its listener, if there is one.
    Valid,
}

/// What becomes of a packet with this header and this length by the used ring, in a guest with
/// this CID. In doubt it is valid.
pub fn verdict(header: &Header, used: u32, guest: u64) -> Verdict {
    let Some(payload) = used.checked_sub(HEADER_LEN as u32) else {
        return Verdict::Dropped;
    };
    let cids = [header.src_cid, header.dst_cid];
    let known = matches!(header.operation.0, 1..=7);
    // The host, and guests beside this one.
    let from = !matches!(header.src_cid, 0 | 1 | 0xffff_ffff) && header.src_cid != guest;
    if used > LARGEST_BUFFER
        || cids.iter().any(|cid| *cid > u64::from(u32::MAX))
        || header.dst_cid != guest
        || !from
    {
        return Verdict::Dropped;
    }
    if !matches!(header.kind, STREAM | SEQPACKET) {
        return Verdict::Refused;
    }
    let has_payload = header.len > 0 && header.operation != Operation::PAYLOAD;
    if !known || header.len > payload || has_payload {
        return Verdict::Dropped;
    }
    Verdict::Valid
}

/// Whether a packet would disturb a connection of the services, or make the guest do so.
pub fn disturbs_services(header: &Header, used: u32, guest: u64) -> bool {
    live::is_service(header.src_port) && verdict(header, used, guest) != Verdict::Dropped
}

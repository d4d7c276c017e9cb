// SPDX-License-Identifier: GPL-2.0

//! Headers: any bytes at all, against a parser of the specification's table, written anew.

use proptest::prelude::*;

use crate::protocol::packet::{Header, HeaderBytes, Operation, HEADER_LEN};
use crate::protocol::reason::DropReason;

fn field<const N: usize>(bytes: &HeaderBytes, offset: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(&bytes[offset..offset + N]);
    u64::from_le_bytes(wide)
}

/// What is wrong with a header, in the order of the checks.
fn fault(bytes: &HeaderBytes, written: usize) -> Option<DropReason> {
    let operation = field::<2>(bytes, 30);
    if written < HEADER_LEN {
        Some(DropReason::ShortHeader)
    } else if field::<8>(bytes, 0) >> 32 != 0 || field::<8>(bytes, 8) >> 32 != 0 {
        Some(DropReason::ReservedCid)
    } else if !(1..=2).contains(&field::<2>(bytes, 28)) {
        Some(DropReason::Type)
    } else if !(1..=7).contains(&operation) {
        Some(DropReason::Operation)
    } else if field::<4>(bytes, 24) > (written - HEADER_LEN) as u64 {
        Some(DropReason::ShortPayload)
    } else if field::<4>(bytes, 24) > 0 && operation != 5 {
        Some(DropReason::Payload)
    } else {
        None
    }
}

fn number(bits: u32) -> impl Strategy<Value = u64> {
    let max = u64::MAX >> (64 - bits);
    prop_oneof![
        4 => 0_u64..10,
        1 => Just(max),
        1 => Just(max - 1),
        1 => any::<u64>().prop_map(move |value| value & max),
    ]
}

fn bytes() -> impl Strategy<Value = HeaderBytes> {
    let cid = || prop_oneof![6 => number(32), 1 => number(64)];
    (
        [cid().boxed(), cid().boxed()],
        [number(32).boxed(), number(32).boxed(), number(32).boxed()],
        [number(16).boxed(), number(16).boxed()],
        [number(32).boxed(), number(32).boxed(), number(32).boxed()],
    )
        .prop_map(|(cids, ports_and_len, kind_and_op, rest)| {
            let mut bytes = Vec::new();
            bytes.extend(cids.iter().flat_map(|&value| value.to_le_bytes()));
            bytes.extend(
                ports_and_len
                    .iter()
                    .flat_map(|&value| (value as u32).to_le_bytes()),
            );
            bytes.extend(
                kind_and_op
                    .iter()
                    .flat_map(|&value| (value as u16).to_le_bytes()),
            );
            bytes.extend(rest.iter().flat_map(|&value| (value as u32).to_le_bytes()));
            bytes.try_into().expect("the fields make up a header")
        })
}

proptest! {
    #![proptest_config(super::config(100_000))]

    #[test]
    fn any_bytes_are_a_header_or_have_a_fault(
        bytes in bytes(),
        written in prop_oneof![8 => 44_usize..80, 1 => 0_usize..44, 1 => Just(usize::MAX)],
    ) {
        match Header::parse(&bytes, written) {
            Ok(header) => {
                prop_assert_eq!(fault(&bytes, written), None);
                prop_assert_eq!(u64::from(header.flow.peer.cid.0), field::<8>(&bytes, 0));
                prop_assert_eq!(u64::from(header.flow.local.cid.0), field::<8>(&bytes, 8));
                prop_assert_eq!(u64::from(header.flow.peer.port.0), field::<4>(&bytes, 16));
                prop_assert_eq!(u64::from(header.flow.local.port.0), field::<4>(&bytes, 20));
                prop_assert_eq!(u64::from(header.len), field::<4>(&bytes, 24));
                prop_assert_eq!(header.kind as u64, field::<2>(&bytes, 28));
                prop_assert_eq!(header.operation as u64, field::<2>(&bytes, 30));
                prop_assert_eq!(u64::from(header.flags), field::<4>(&bytes, 32));
                prop_assert_eq!(u64::from(header.credit.buf_alloc), field::<4>(&bytes, 36));
                prop_assert_eq!(u64::from(header.credit.fwd_cnt.to_wire()), field::<4>(&bytes, 40));
                // As its sender sees it, it encodes to the same bytes.
                let sent = Header { flow: header.flow.reversed(), ..header };
                prop_assert_eq!(sent.encode(), bytes);
                let answered = header.refusal().is_some();
                prop_assert_eq!(answered, header.operation != Operation::Reset);
            }
            Err(invalid) => {
                prop_assert_eq!(Some(invalid.reason), fault(&bytes, written));
                let answered = invalid.reason == DropReason::Type && field::<2>(&bytes, 30) != 3;
                prop_assert_eq!(invalid.answer.is_some(), answered);
            }
        }
    }
}

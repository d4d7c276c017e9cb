// SPDX-License-Identifier: GPL-2.0

//! Context identifiers, ports, and the address that programs hand in.

use zerocopy::IntoBytes;

use crate::protocol::address::{Address, AddressError, Cid, Port, SockaddrVm};

/// The family's number in these tests.
const FAMILY: u16 = 18;

#[test]
fn spec_8_reserved_identifiers_are_no_guests() {
    for reserved in [0, 1, 2, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(Cid::of_guest(reserved), None, "{reserved}");
    }
    for cid in [3, 4, u32::MAX - 1] {
        assert_eq!(Cid::of_guest(cid.into()), Some(Cid(cid)));
    }
}

#[test]
fn spec_7_the_upper_half_of_a_guests_identifier_is_zero() {
    for cid in [1_u64 << 32, (1 << 32) | 3, 3 << 32, u64::MAX - 1] {
        assert_eq!(Cid::of_guest(cid), None, "{cid:#x}");
    }
}

#[test]
fn ports_below_1024_are_reserved() {
    assert!(Port(0).is_reserved());
    assert!(Port(1023).is_reserved());
    assert!(!Port(1024).is_reserved());
    assert!(!Port::ANY.is_reserved());
}

#[test]
fn autobind_never_yields_a_reserved_port_or_the_wildcard() {
    for seed in [0, 1, 1022, 1023, 1024, 50_000, u32::MAX - 1, u32::MAX] {
        let mut port = Port::unreserved_from(seed);
        for _ in 0..Port::AUTOBIND_TRIES {
            assert!(!port.is_reserved() && port != Port::ANY, "{seed}: {port:?}");
            port = port.following();
        }
    }
    assert_eq!(Port::unreserved_from(50_000), Port(50_000));
    assert_eq!(Port::unreserved_from(5), Port(1024));
    assert_eq!(Port(1024).following(), Port(1025));
    assert_eq!(Port(u32::MAX - 2).following(), Port(u32::MAX - 1));
    assert_eq!(Port(u32::MAX - 1).following(), Port(1024));
    assert_eq!(Port::AUTOBIND_TRIES, 24);
}

/// `struct sockaddr_vm` as a program lays it out.
fn sockaddr(family: u16, reserved: u16, port: u32, cid: u32, flags: u8, zero: [u8; 3]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(family.to_ne_bytes());
    bytes.extend(reserved.to_ne_bytes());
    bytes.extend(port.to_ne_bytes());
    bytes.extend(cid.to_ne_bytes());
    bytes.push(flags);
    bytes.extend(zero);
    bytes
}

#[test]
fn an_address_is_read_as_programs_write_it() {
    let bytes = sockaddr(FAMILY, 0, 9999, 2, 0, [0; 3]);
    let address = Address {
        cid: Cid::HOST,
        port: Port(9999),
    };
    assert_eq!(SockaddrVm::parse(&bytes, FAMILY), Ok(address));
    assert_eq!(SockaddrVm::new(FAMILY, address).as_bytes(), bytes);
    // More than the structure is fine, as with every socket address.
    let longer: Vec<u8> = bytes.iter().copied().chain([0xff; 100]).collect();
    assert_eq!(SockaddrVm::parse(&longer, FAMILY), Ok(address));
}

#[test]
fn the_wildcards_are_all_ones() {
    let bytes = sockaddr(FAMILY, 0, u32::MAX, u32::MAX, 0, [0; 3]);
    assert_eq!(SockaddrVm::parse(&bytes, FAMILY), Ok(Address::ANY));
}

#[test]
fn the_hint_to_go_to_the_host_is_taken() {
    let bytes = sockaddr(FAMILY, 0, 1, 2, 1, [0; 3]);
    assert!(SockaddrVm::parse(&bytes, FAMILY).is_ok());
}

#[test]
fn an_address_of_another_family_is_refused() {
    let bytes = sockaddr(40, 0, 9999, 2, 0, [0; 3]);
    assert_eq!(SockaddrVm::parse(&bytes, FAMILY), Err(AddressError::Family));
}

#[test]
fn malformed_addresses_are_refused() {
    let valid = sockaddr(FAMILY, 0, 9999, 2, 0, [0; 3]);
    let mut malformed = vec![
        sockaddr(FAMILY, 1, 9999, 2, 0, [0; 3]),
        sockaddr(FAMILY, 0, 9999, 2, 2, [0; 3]),
        sockaddr(FAMILY, 0, 9999, 2, 0x81, [0; 3]),
        sockaddr(FAMILY, 0, 9999, 2, 0, [1, 0, 0]),
        sockaddr(FAMILY, 0, 9999, 2, 0, [0, 0, 1]),
    ];
    malformed.extend((0..valid.len()).map(|len| valid[..len].to_vec()));
    for bytes in malformed {
        let error = SockaddrVm::parse(&bytes, FAMILY);
        assert_eq!(error, Err(AddressError::Malformed), "{bytes:?}");
    }
}

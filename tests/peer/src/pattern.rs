// SPDX-License-Identifier: GPL-2.0

//! The byte pattern that `send` writes, which the guest's programs know too.
//!
//! Each byte follows from its offset in the stream alone, so a reader can tell lost, repeated and
//! moved bytes from changed ones, whatever the sizes of the writes and reads were.

/// Returns the pattern's byte at `offset` (in bytes from the start of the stream).
pub fn byte_at(offset: u64) -> u8 {
    let [low, middle, high, ..] = offset.to_le_bytes();
    low ^ middle ^ high
}

/// Fills `buffer` with the pattern from `offset` on.
pub fn fill(offset: u64, buffer: &mut [u8]) {
    let mut position = offset;
    for byte in buffer {
        *byte = byte_at(position);
        position = position.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula as the interface states it, written down a second time.
    fn formula(i: u64) -> u8 {
        (((i >> 8) ^ i ^ (i >> 16)) & 0xff) as u8
    }

    #[test]
    fn agrees_with_the_stated_formula() {
        for i in (0..70_000).chain([0xff_ffff, 1 << 24, u64::MAX - 1, u64::MAX]) {
            assert_eq!(byte_at(i), formula(i), "at offset {i}");
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(byte_at(0), 0);
        assert_eq!(byte_at(255), 255);
        assert_eq!(byte_at(256), 1);
        assert_eq!(byte_at(0x01_02_03), 0x01 ^ 0x02 ^ 0x03);
    }

    #[test]
    fn filling_in_pieces_is_filling_at_once() {
        let mut whole = vec![0; 5000];
        fill(1000, &mut whole);
        let mut pieces = vec![0; 5000];
        let mut offset = 1000;
        for piece in pieces.chunks_mut(333) {
            fill(offset, piece);
            offset += piece.len() as u64;
        }
        assert_eq!(whole, pieces);
    }
}

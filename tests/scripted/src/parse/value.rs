// SPDX-License-Identifier: GPL-2.0

//! The words of a step: names, numbers, times and texts.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rvsock_packet::{Field, Operation};

use crate::scenario::{Value, Values};

/// Names for numbers, by the field in which they stand.
const NAMES: [(Field, &str, u64); 6] = [
    (Field::Flags, "RCV", 1),
    (Field::Flags, "SEND", 2),
    (Field::Flags, "EOM", 1),
    (Field::Flags, "EOR", 2),
    (Field::Type, "stream", 1),
    (Field::Type, "seqpacket", 2),
];

/// Reads an operation: its name or its number.
pub(super) fn operation(name: &str) -> Result<Operation> {
    Operation::from_name(name)
        .or_else(|| name.parse().ok().map(Operation))
        .with_context(|| format!("'{name}' is neither a step nor an operation"))
}

/// Reads a field's name.
pub(super) fn field(name: &str) -> Result<Field> {
    Field::from_name(name).with_context(|| format!("packets have no field '{name}'"))
}

/// Reads the values of a field.
pub(super) fn values(field: Field, text: &str) -> Result<Values> {
    if let Some(first) = text.strip_suffix("..") {
        return Ok(Values::From(absolute(field, first)?));
    }
    let value = |word: &str| {
        Ok(match word.as_bytes().first() {
            Some(b'+' | b'-') => Value::Relative(
                word.parse()
                    .with_context(|| format!("'{word}' is not a number"))?,
            ),
            _ => Value::Absolute(absolute(field, word)?),
        })
    };
    Ok(Values::Each(
        text.split(',').map(value).collect::<Result<_>>()?,
    ))
}

/// Reads a number that a field can hold.
pub(super) fn absolute(field: Field, text: &str) -> Result<u64> {
    let mut number = 0;
    for part in text.split('|') {
        let named = NAMES
            .iter()
            .find(|(of, name, _)| *of == field && *name == part);
        number |= match (named, part) {
            (Some((_, _, value)), _) => *value,
            (None, "max") => field.max(),
            (None, "max-1") => field.max() - 1,
            (None, _) => match part.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => part.parse().ok(),
            }
            .with_context(|| format!("'{part}' is not a number"))?,
        };
    }
    ensure!(
        number <= field.max(),
        "'{text}' is more than the field can hold"
    );
    Ok(number)
}

/// Reads a number of 32 bits.
pub(super) fn small(text: &str) -> Result<u32> {
    Ok(absolute(Field::Length, text)? as u32)
}

/// Reads a time in milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<Duration> {
    Ok(Duration::from_millis(small(text)?.into()))
}

/// What stands in quotes; `None` if the word does not.
pub(super) fn quoted(word: &str) -> Option<Vec<u8>> {
    let inner = word.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.as_bytes().to_vec())
}

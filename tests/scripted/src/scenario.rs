// SPDX-License-Identifier: GPL-2.0

//! What a scenario is made of. How it is written is told in [`crate::parse`].

use std::time::Duration;

use rvsock_packet::{Field, Operation};

/// What a device does and expects, step by step.
#[derive(Debug, PartialEq, Eq)]
pub struct Scenario {
    /// By which it is asked for.
    pub name: String,
    /// In this order.
    pub steps: Vec<Line>,
}

/// A step, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// File and line, for whoever reads why the step failed.
    pub place: String,
    /// What it is.
    pub step: Step,
}

/// One step of a scenario.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The guest sends these packets.
    Expect(Expected),
    /// The guest sends so many bytes of the pattern, in packets as it likes.
    Receive {
        /// On this connection.
        connection: String,
        /// How many.
        bytes: u32,
    },
    /// The guest sends nothing for so long but what is about credit alone.
    Silence(Duration),
    /// Whatever the guest sends in this time is passed by.
    Anything(Duration),
    /// The guest has put so many packets into the held transmit queue as it takes.
    FillTransmission,
    /// A driver takes the device into use, and fills the event queue before the receive queue.
    Begin,
    /// The guest has at least so many buffers in the event queue.
    EventBuffers(u16),
    /// The guest has told of new receive buffers so often since the scenario began.
    ToldOfBuffers {
        /// At least.
        least: u32,
        /// At most.
        most: u32,
    },
    /// The device sends these packets.
    Send(Sent),
    /// The device sends so many bytes of the pattern.
    SendBytes {
        /// On this connection.
        connection: String,
        /// How many.
        bytes: u32,
        /// In packets of so many.
        each: u32,
    },
    /// The device raises an event.
    Event {
        /// Which one: 0 is a transport reset.
        number: u32,
        /// How it is raised.
        manner: Manner,
        /// How often.
        times: u32,
    },
    /// The device has another CID in its configuration space from now on.
    Cid(u64),
    /// The device does nothing for so long.
    Wait(Duration),
    /// The device takes nothing out of the transmit queue any more.
    HoldTransmission,
    /// The device takes what is in the transmit queue again.
    ResumeTransmission,
    /// The device takes so many receive buffers and gives them back never.
    KeepBuffers(u32),
    /// The device interrupts for a queue, whatever there is in it.
    Interrupt(usize),
}

/// Packets that are expected.
#[derive(Debug, PartialEq, Eq)]
pub struct Expected {
    /// Whose they are.
    pub connection: String,
    /// What they ask for.
    pub operation: Operation,
    /// What their headers say.
    pub checks: Vec<(Field, Comparison, Values)>,
    /// What they carry, if it matters.
    pub payload: Option<Vec<u8>>,
    /// How many they are.
    pub times: u32,
}

/// How a field of a packet and a value are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The field is the value.
    Equal,
    /// The field is that or more.
    AtLeast,
    /// The field is that or less.
    AtMost,
}

/// Packets that the device sends.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent {
    /// Whose they are.
    pub connection: String,
    /// What they ask for.
    pub operation: Operation,
    /// What is not as a well-behaved host has it.
    pub fields: Vec<(Field, Values)>,
    /// What they carry.
    pub payload: Carried,
    /// How they are put into the queue.
    pub manner: Manner,
    /// How many they are.
    pub times: u32,
}

/// The payload of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Carried {
    /// As much of the pattern as the header says.
    AsTold,
    /// So many bytes of the pattern.
    Pattern(u32),
    /// These.
    Text(Vec<u8>),
}

/// How something is put into a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// The length that the used ring tells, instead of the true one.
    pub used: Option<u32>,
    /// The descriptor that the used ring names, instead of the buffer's.
    pub id: Option<u32>,
    /// By how much too far the used ring's index goes.
    pub ahead: u16,
    /// Whether the used ring has it twice.
    pub twice: bool,
    /// Whether the header is overwritten after the buffer was given to the guest.
    pub overwritten: bool,
    /// Whether the buffer is given to the guest as it was.
    pub unwritten: bool,
    /// Whether the guest is not interrupted.
    pub quiet: bool,
    /// Whether the device asks to be told of the next buffer, and gives the guest time to add one.
    pub asking: bool,
}

/// A number of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// As it is.
    Absolute(u64),
    /// By so much more (or less, if negative) than would be true, modulo the field's size.
    Relative(i64),
}

/// The values of a field in the packets of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// In turn.
    Each(Vec<Value>),
    /// Counted up from this one, modulo the field's size.
    From(u64),
}

impl Values {
    /// The value in the packet with this number, where `truth` would be true.
    pub fn nth(&self, number: u32, field: Field, truth: u64) -> u64 {
        let value = match self {
            Values::From(first) => Value::Absolute(first.wrapping_add(number.into())),
            Values::Each(values) => values
                .iter()
                .cycle()
                .nth(number as usize)
                .copied()
                .unwrap_or(Value::Relative(0)),
        };
        field.max()
            & match value {
                Value::Absolute(value) => value,
                Value::Relative(more) => truth.wrapping_add_signed(more),
            }
    }

    /// How many packets it takes for each value to have its turn.
    pub fn count(&self) -> u32 {
        match self {
            Values::From(_) => 1,
            Values::Each(values) => values.len() as u32,
        }
    }
}

/// The byte at `offset` of the pattern that both ends know. Each byte follows from its offset alone.
pub fn pattern(offset: u32) -> u8 {
    let [low, middle, high, _] = offset.to_le_bytes();
    low ^ middle ^ high
}

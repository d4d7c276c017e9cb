// SPDX-License-Identifier: GPL-2.0

//! How scenarios are written.
//!
//! A file has scenarios one after another, a line for each step. `#` begins a comment.
//!
//! ```text
//! scenario clean_close
//!     guest: REQUEST
//!     host: RESPONSE buf_alloc=4096
//!     guest: RW "ping"
//!     host: RW "pong" fwd_cnt=4
//!     guest: SHUTDOWN flags=RCV|SEND
//!     host: RST
//!     guest: silence 200
//! ```
//!
//! `guest: OPERATION` expects a packet and `host: OPERATION` sends one; an operation without a name
//! is a number. `guest.b:` and `host.b:` speak of another connection, whose name is `b`. Fields have
//! the names of the specification. What a line does not say is as a well-behaved host has it: in a
//! packet of the guest it must be true, in one of the host it is true. So `host: RW "x"` tells how
//! much the host has received, and `guest: RW` must be from the guest's CID, to the host, between
//! the ports of the connection, of its type, and within the credit.
//!
//! | value | |
//! |---|---|
//! | `7`, `0x7`, `max`, `max-1` | the number; the largest that the field holds |
//! | `+1`, `-1` | one more or less than is true, modulo the field's size |
//! | `0,1,max` | in a packet each; several fields may have lists |
//! | `2000..` | counted up from packet to packet |
//! | `RCV`, `SEND`, `EOM`, `EOR`, joined by a bar | flags |
//! | `stream`, `seqpacket` | types |
//!
//! In a packet of the guest a field may also be `>=` or `<=` a value.
//!
//! | behind a packet | |
//! |---|---|
//! | `"text"` | its payload; without it, as much of the pattern as `len` says |
//! | `times=N` | so many packets |
//! | `payload=N` | host: so many bytes of the pattern, whatever `len` says |
//! | `used=N`, `id=N`, `ahead=N` | host: lies in the used ring: the length, the descriptor, the index |
//! | `twice` | host: the used ring has it twice |
//! | `overwritten` | host: the header is overwritten once the guest has it |
//! | `unwritten` | host: nothing is written into the guest's buffer |
//! | `quiet` | host: no interrupt tells of it |
//! | `asking` | host: behind it the device asks to be told of the next buffer, and waits a little |
//!
//! | other steps | |
//! |---|---|
//! | `guest: bytes N` | payload of the pattern, in packets as the guest likes |
//! | `guest: silence MS` | nothing but updates of credit and requests for it |
//! | `guest: anything MS` | whatever comes in this time is good |
//! | `guest: begins` | a driver takes the device into use, the event queue before the receive queue |
//! | `guest: fills transmission` | the queue that is held takes no more |
//! | `guest: event buffers N` | so many at least are in the event queue |
//! | `guest: tells of buffers N to M` | so often since the scenario began, of those of the receive queue |
//! | `host: bytes N by M` | payload of the pattern, in packets of M |
//! | `host: event N` | with `used=`, `id=`, `ahead=`, `times=` as above |
//! | `host: cid N` | in the configuration space, from now on |
//! | `host: waits MS` | |
//! | `host: holds transmission`, `host: resumes transmission` | |
//! | `host: keeps buffers N` | takes receive buffers, for ever |
//! | `host: interrupts QUEUE` | `rx`, `tx` or `event` |

mod value;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail, ensure, Context, Result};
use rvsock_packet::Field;

use crate::rings::{EVENT, RECEIVE, TRANSMIT};
use crate::scenario::{Carried, Comparison, Expected, Line, Manner, Scenario, Sent, Step};
use value::{absolute, field, milliseconds, operation, quoted, small, values};

/// What the names of files with scenarios end with.
const EXTENSION: &str = "scenario";

/// Scenarios by their names.
pub type Scenarios = BTreeMap<String, Scenario>;

/// Reads all scenarios of a directory.
///
/// # Errors
///
/// A sentence with the file and the line, for the first one that is not as it should be.
pub fn read_directory(directory: &Path) -> Result<Scenarios> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == EXTENSION));
    files.sort();
    let mut scenarios = Scenarios::new();
    for path in files {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        read(&text, &name, &mut scenarios)?;
    }
    ensure!(
        !scenarios.is_empty(),
        "no file in {} has a scenario",
        directory.display()
    );
    Ok(scenarios)
}

/// Reads the scenarios of a text.
fn read(text: &str, file: &str, scenarios: &mut Scenarios) -> Result<()> {
    let mut current: Option<Scenario> = None;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        let words = words(line).with_context(|| place.clone())?;
        let Some((first, rest)) = words.split_first() else {
            continue;
        };
        if *first == "scenario" {
            let [name] = rest else {
                bail!("{place}: a scenario has a name, of one word");
            };
            add(current.take(), scenarios)?;
            ensure!(
                !scenarios.contains_key(*name),
                "{place}: there is a scenario {name} already"
            );
            current = Some(Scenario {
                name: (*name).to_owned(),
                steps: Vec::new(),
            });
        } else {
            let scenario = current
                .as_mut()
                .with_context(|| format!("{place}: a step stands before any 'scenario NAME'"))?;
            let step = step(first, rest).map_err(|error| anyhow!("{place}: {error:#}"))?;
            scenario.steps.push(Line { place, step });
        }
    }
    add(current, scenarios)
}

/// Adds a scenario that has come to its end.
fn add(scenario: Option<Scenario>, scenarios: &mut Scenarios) -> Result<()> {
    if let Some(scenario) = scenario {
        ensure!(
            !scenario.steps.is_empty(),
            "the scenario {} has no steps",
            scenario.name
        );
        scenarios.insert(scenario.name.clone(), scenario);
    }
    Ok(())
}

/// The words of a line up to a comment; what stands in quotes is one.
fn words(line: &str) -> Result<Vec<&str>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let end = match rest.strip_prefix('"') {
            Some(quoted) => quoted.find('"').context("a quote has no end")? + 2,
            None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        let (word, behind) = rest.split_at(end);
        words.push(word);
        rest = behind.trim_start();
    }
    Ok(words)
}

/// Reads a step: who, and what.
fn step(speaker: &str, words: &[&str]) -> Result<Step> {
    let speaker = speaker
        .strip_suffix(':')
        .with_context(|| format!("'{speaker}' is not 'guest:', 'host:' or 'scenario'"))?;
    let (speaker, connection) = speaker.split_once('.').unwrap_or((speaker, ""));
    match speaker {
        "guest" => guest(connection, words),
        "host" => host(connection, words),
        _ => bail!("'{speaker}' is neither guest nor host"),
    }
}

/// Reads what the guest does.
fn guest(connection: &str, words: &[&str]) -> Result<Step> {
    Ok(match words {
        ["bytes", bytes] => Step::Receive {
            connection: connection.to_owned(),
            bytes: small(bytes)?,
        },
        ["silence", time] => Step::Silence(milliseconds(time)?),
        ["anything", time] => Step::Anything(milliseconds(time)?),
        ["begins"] => Step::Begin,
        ["fills", "transmission"] => Step::FillTransmission,
        ["event", "buffers", count] => Step::EventBuffers(small(count)?.try_into()?),
        ["tells", "of", "buffers", least, "to", most] => Step::ToldOfBuffers {
            least: small(least)?,
            most: small(most)?,
        },
        [operation, rest @ ..] => Step::Expect(expected(connection, operation, rest)?),
        [] => bail!("what does the guest do?"),
    })
}

/// Reads what the host does.
fn host(connection: &str, words: &[&str]) -> Result<Step> {
    Ok(match words {
        ["bytes", bytes, "by", each] => Step::SendBytes {
            connection: connection.to_owned(),
            bytes: small(bytes)?,
            each: small(each)?.max(1),
        },
        ["event", number, rest @ ..] => {
            let (mut manner, mut times) = (Manner::default(), 1);
            for word in rest {
                match word.split_once('=') {
                    Some(("times", value)) => times = small(value)?,
                    _ if ring(word, &mut manner)? => {}
                    _ => bail!("'{word}' does not belong behind an event"),
                }
            }
            Step::Event {
                number: small(number)?,
                manner,
                times,
            }
        }
        ["cid", number] => Step::Cid(absolute(Field::SourceCid, number)?),
        ["waits", time] => Step::Wait(milliseconds(time)?),
        ["holds", "transmission"] => Step::HoldTransmission,
        ["resumes", "transmission"] => Step::ResumeTransmission,
        ["keeps", "buffers", count] => Step::KeepBuffers(small(count)?),
        ["interrupts", queue] => Step::Interrupt(match *queue {
            "rx" => RECEIVE,
            "tx" => TRANSMIT,
            "event" => EVENT,
            _ => bail!("there is no queue '{queue}': rx, tx, event"),
        }),
        [operation, rest @ ..] => Step::Send(sent(connection, operation, rest)?),
        [] => bail!("what does the host do?"),
    })
}

/// Reads packets that are expected.
fn expected(connection: &str, name: &str, words: &[&str]) -> Result<Expected> {
    let mut expected = Expected {
        connection: connection.to_owned(),
        operation: operation(name)?,
        checks: Vec::new(),
        payload: None,
        times: 1,
    };
    for word in words {
        if let Some(text) = quoted(word) {
            expected.payload = Some(text);
        } else if let Some(count) = word.strip_prefix("times=") {
            expected.times = small(count)?;
        } else {
            let (name, comparison, value) = [
                (">=", Comparison::AtLeast),
                ("<=", Comparison::AtMost),
                ("=", Comparison::Equal),
            ]
            .into_iter()
            .find_map(|(sign, comparison)| {
                let (name, value) = word.split_once(sign)?;
                Some((name, comparison, value))
            })
            .with_context(|| format!("'{word}' says nothing of a packet"))?;
            let field = field(name)?;
            let values = values(field, value)?;
            expected.times = expected.times.max(values.count());
            expected.checks.push((field, comparison, values));
        }
    }
    Ok(expected)
}

/// Reads packets that the host sends.
fn sent(connection: &str, name: &str, words: &[&str]) -> Result<Sent> {
    let mut sent = Sent {
        connection: connection.to_owned(),
        operation: operation(name)?,
        fields: Vec::new(),
        payload: Carried::AsTold,
        manner: Manner::default(),
        times: 1,
    };
    for word in words {
        if let Some(text) = quoted(word) {
            sent.payload = Carried::Text(text);
        } else if let Some(count) = word.strip_prefix("times=") {
            sent.times = small(count)?;
        } else if let Some(count) = word.strip_prefix("payload=") {
            sent.payload = Carried::Pattern(small(count)?);
        } else if !ring(word, &mut sent.manner)? {
            let (name, value) = word
                .split_once('=')
                .with_context(|| format!("'{word}' says nothing of a packet"))?;
            let field = field(name)?;
            let values = values(field, value)?;
            sent.times = sent.times.max(values.count());
            sent.fields.push((field, values));
        }
    }
    Ok(sent)
}

/// Reads a word about the rings; false if it is none.
fn ring(word: &str, manner: &mut Manner) -> Result<bool> {
    match word.split_once('=') {
        Some(("used", value)) => manner.used = Some(small(value)?),
        Some(("id", value)) => manner.id = Some(small(value)?),
        Some(("ahead", value)) => manner.ahead = small(value)?.try_into()?,
        None if word == "twice" => manner.twice = true,
        None if word == "overwritten" => manner.overwritten = true,
        None if word == "unwritten" => manner.unwritten = true,
        None if word == "quiet" => manner.quiet = true,
        None if word == "asking" => manner.asking = true,
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::{Value, Values};
    use rvsock_packet::Operation;

    fn parsed(text: &str) -> Result<Scenarios> {
        let mut scenarios = Scenarios::new();
        read(text, "f", &mut scenarios)?;
        Ok(scenarios)
    }

    /// The only step of a scenario.
    fn one(line: &str) -> Step {
        let mut scenarios = match parsed(&format!("scenario one\n{line}\n")) {
            Ok(scenarios) => scenarios,
            Err(error) => unreachable!("{error:#}"),
        };
        let mut steps = scenarios.remove("one").map(|one| one.steps);
        steps
            .as_mut()
            .and_then(Vec::pop)
            .map_or(Step::Cid(0), |line| line.step)
    }

    /// What is said of a text that is wrong.
    fn wrong(text: &str) -> String {
        parsed(text).map_or_else(|error| format!("{error:#}"), |_| "nothing".to_owned())
    }

    #[test]
    fn scenarios_follow_each_other() {
        let scenarios =
            parsed("# a\nscenario a\n guest: REQUEST # b\n\nscenario b\n host: waits 5\n");
        let scenarios = scenarios.unwrap_or_default();
        assert_eq!(scenarios.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            scenarios.get("b").map(|b| &b.steps),
            Some(&vec![Line {
                place: "f:6".to_owned(),
                step: Step::Wait(Duration::from_millis(5)),
            }])
        );
    }

    #[test]
    fn packets_of_the_host() {
        let Step::Send(sent) = one("host.b: RW \"a b\" len=max fwd_cnt=-1 used=20 type=0,3") else {
            unreachable!("it is a packet");
        };
        assert_eq!(sent.connection, "b");
        assert_eq!(sent.payload, Carried::Text(b"a b".to_vec()));
        assert_eq!(sent.manner.used, Some(20));
        assert_eq!(sent.times, 2);
        let nth = |number: usize, packet| {
            let (field, values) = sent.fields.get(number)?;
            Some(values.nth(packet, *field, 0))
        };
        assert_eq!(nth(0, 0), Some(u64::from(u32::MAX)));
        assert_eq!(nth(1, 0), Some(u64::from(u32::MAX)));
        assert_eq!(nth(2, 1), Some(3));
    }

    #[test]
    fn packets_of_the_guest() {
        let Step::Expect(expected) = one("guest: SHUTDOWN flags=RCV|SEND fwd_cnt>=4 times=3")
        else {
            unreachable!("it is a packet");
        };
        assert_eq!(expected.operation, Operation::SHUTDOWN);
        assert_eq!(expected.times, 3);
        assert_eq!(
            expected.checks,
            [
                (
                    Field::Flags,
                    Comparison::Equal,
                    Values::Each(vec![Value::Absolute(3)])
                ),
                (
                    Field::Forwarded,
                    Comparison::AtLeast,
                    Values::Each(vec![Value::Absolute(4)])
                ),
            ]
        );
    }

    #[test]
    fn values_count_up_and_wrap() {
        let counted = Values::From(u64::from(u32::MAX));
        assert_eq!(counted.nth(0, Field::SourcePort, 0), u64::from(u32::MAX));
        assert_eq!(counted.nth(1, Field::SourcePort, 0), 0);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, told) in [
            (
                "guest: REQUEST",
                "f:1: a step stands before any 'scenario NAME'",
            ),
            (
                "scenario a\n\nguest: HELLO",
                "f:3: 'HELLO' is neither a step nor an operation",
            ),
            (
                "scenario a\nguset: RW",
                "f:2: 'guset' is neither guest nor host",
            ),
            (
                "scenario a\nguest RW",
                "f:2: 'guest' is not 'guest:', 'host:' or 'scenario'",
            ),
            (
                "scenario a\nhost: RW type=70000",
                "f:2: '70000' is more than the field can hold",
            ),
            (
                "scenario a\nhost: RW typ=7",
                "f:2: packets have no field 'typ'",
            ),
            ("scenario a\nhost: RW len=x", "f:2: 'x' is not a number"),
            (
                "scenario a\nhost: event 0 type=1",
                "f:2: 'type=1' does not belong behind an event",
            ),
            ("scenario a\nhost: RW \"x", "f:2: a quote has no end"),
            (
                "scenario a\nscenario b\nhost: waits 1",
                "the scenario a has no steps",
            ),
            (
                "scenario a\nhost: waits 1\nscenario a\nhost: waits 1",
                "f:3: there is a scenario a already",
            ),
            ("scenario", "f:1: a scenario has a name, of one word"),
        ] {
            assert_eq!(wrong(text), told);
        }
    }

    #[test]
    fn the_scenarios_of_the_tree_can_be_read() -> Result<()> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        read_directory(&directory).map(drop)
    }
}

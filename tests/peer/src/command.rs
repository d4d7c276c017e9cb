// SPDX-License-Identifier: GPL-2.0

//! The command line that a connection to the control port starts with.

use std::io::{self, Read};
use std::str::SplitAsciiWhitespace;
use std::time::Duration;

use thiserror::Error;

/// Longest command line, its newline included, in bytes.
pub const LONGEST_LINE: usize = 200;

/// Largest CHUNK of `send` and `send-close`, in bytes; it bounds what a guest can make us allocate.
pub const LARGEST_CHUNK: u64 = 16 << 20;

/// Longest delay that a command may ask for.
pub const LONGEST_DELAY: Duration = Duration::from_secs(600);

const COMMANDS: &str = "echo, send, send-close, sink, hold, reset, dial, pause, stats";

/// What the other end wants of the connection that it opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Be this service on the same connection.
    Serve(Service),
    /// Connect to a port of the guest and be the service on that connection.
    Dial {
        /// The guest's port.
        port: u32,
        /// What to do on the new connection.
        service: Service,
    },
    /// Stop the device for so long.
    Pause(Duration),
    /// Tell of the connections so far.
    Statistics,
}

/// What is done on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Write back what each read gave, until end of file.
    Echo,
    /// Write the pattern.
    Send {
        /// Bytes to write.
        total: u64,
        /// Bytes of each write, from 1 to [`LARGEST_CHUNK`].
        chunk: usize,
        /// Time between two writes.
        delay: Duration,
        /// Whether to wait for the other end to close, rather than to close at once.
        linger: bool,
    },
    /// Wait, then read, then answer the count and the checksum.
    Sink {
        /// Bytes to read.
        total: u64,
        /// Time before the first read.
        delay: Duration,
    },
    /// Read nothing, then close.
    Hold(Duration),
    /// Leave something unread, then close, which the other end sees as a reset.
    Reset(Duration),
}

/// Why a line is no command; each is answered as one sentence.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// The line did not end within [`LONGEST_LINE`].
    #[error("the command line is longer than {LONGEST_LINE} bytes; end it with a newline")]
    TooLong,
    /// End of file within the line.
    #[error("the connection ended before the command line did; end it with a newline")]
    Unfinished,
    /// Bytes beyond ASCII, or control characters.
    #[error("the command line holds bytes that are not printable ASCII")]
    NotText,
    /// No word on the line.
    #[error("the command line is empty; give one of {COMMANDS}")]
    Empty,
    /// The first word is not known.
    #[error("there is no command {0:?}; give one of {COMMANDS}")]
    Unknown(String),
    /// `dial` of something other than a service.
    #[error("{0:?} cannot be dialled; give echo, send, send-close, sink, hold or reset")]
    NotDialled(String),
    /// An argument is not there.
    #[error("the command {command} needs {argument}")]
    Missing {
        /// The command.
        command: &'static str,
        /// The argument's name.
        argument: &'static str,
    },
    /// An argument is no number, or out of its range.
    #[error("{argument} is {given:?}; give a number from {least} to {most}")]
    Range {
        /// The argument's name.
        argument: &'static str,
        /// What the line holds.
        given: String,
        /// Smallest number that is taken.
        least: u64,
        /// Largest number that is taken.
        most: u64,
    },
    /// Words after the last argument.
    #[error("{0:?} follows the last argument; leave it out")]
    Excess(String),
}

/// Reads one command line from `source`, and not one byte beyond its newline.
///
/// What follows the line belongs to the service, and `reset` must find it unread; so this reads
/// byte by byte.
///
/// # Errors
///
/// The outer error is that of `source`; the inner one says what is wrong with the line.
pub fn read_line(source: &mut impl Read) -> io::Result<Result<String, CommandError>> {
    let mut line = Vec::with_capacity(LONGEST_LINE);
    loop {
        let mut byte = [0];
        match source.read(&mut byte) {
            Ok(0) => return Ok(Err(CommandError::Unfinished)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match byte {
            [b'\n'] => break,
            [_] if line.len() + 1 >= LONGEST_LINE => return Ok(Err(CommandError::TooLong)),
            [byte] => line.push(byte),
        }
    }
    if line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        Ok(String::from_utf8(line).map_err(|_| CommandError::NotText))
    } else {
        Ok(Err(CommandError::NotText))
    }
}

/// Understands a command line without its newline.
///
/// # Errors
///
/// Says which word is wrong and what may stand there.
pub fn parse(line: &str) -> Result<Command, CommandError> {
    let mut words = line.split_ascii_whitespace();
    let command = match words.next().ok_or(CommandError::Empty)? {
        "pause" => Command::Pause(Arguments("pause", &mut words).milliseconds("MS")?),
        "stats" => Command::Statistics,
        "dial" => {
            let port = Arguments("dial", &mut words).number("PORT", 0, u64::from(u32::MAX - 1))?;
            let word = words.next().ok_or(CommandError::Missing {
                command: "dial",
                argument: "a COMMAND",
            })?;
            Command::Dial {
                // Cannot fail within the range above.
                port: u32::try_from(port).unwrap_or(u32::MAX),
                service: service(word, &mut words)?
                    .ok_or_else(|| CommandError::NotDialled(word.to_owned()))?,
            }
        }
        word => Command::Serve(
            service(word, &mut words)?.ok_or_else(|| CommandError::Unknown(word.to_owned()))?,
        ),
    };
    match words.next() {
        None => Ok(command),
        Some(word) => Err(CommandError::Excess(word.to_owned())),
    }
}

/// Understands a service by its name and the words that follow; [`None`] if it is not one.
fn service(
    name: &str,
    words: &mut SplitAsciiWhitespace<'_>,
) -> Result<Option<Service>, CommandError> {
    let service = match name {
        "echo" => Service::Echo,
        "send" => send(Arguments("send", words), true)?,
        "send-close" => send(Arguments("send-close", words), false)?,
        "sink" => {
            let mut arguments = Arguments("sink", words);
            Service::Sink {
                total: arguments.number("TOTAL", 0, u64::MAX)?,
                delay: arguments.milliseconds("DELAY_MS")?,
            }
        }
        "hold" => Service::Hold(Arguments("hold", words).milliseconds("MS")?),
        "reset" => Service::Reset(Arguments("reset", words).milliseconds("MS")?),
        _ => return Ok(None),
    };
    Ok(Some(service))
}

fn send(mut arguments: Arguments<'_, '_>, linger: bool) -> Result<Service, CommandError> {
    let total = arguments.number("TOTAL", 0, u64::MAX)?;
    let chunk = arguments.number("CHUNK", 1, LARGEST_CHUNK)?;
    Ok(Service::Send {
        total,
        // Within the range above, so nothing is cut off.
        chunk: usize::try_from(chunk).unwrap_or(1),
        delay: arguments.microseconds("DELAY_US")?,
        linger,
    })
}

/// The words that follow a command's name, taken one by one.
struct Arguments<'words, 'line>(&'static str, &'words mut SplitAsciiWhitespace<'line>);

impl Arguments<'_, '_> {
    fn number(
        &mut self,
        argument: &'static str,
        least: u64,
        most: u64,
    ) -> Result<u64, CommandError> {
        let given = self.1.next().ok_or(CommandError::Missing {
            command: self.0,
            argument,
        })?;
        match given.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(CommandError::Range {
                argument,
                given: given.to_owned(),
                least,
                most,
            }),
        }
    }

    fn milliseconds(&mut self, argument: &'static str) -> Result<Duration, CommandError> {
        self.number(argument, 0, LONGEST_DELAY.as_secs() * 1_000)
            .map(Duration::from_millis)
    }

    fn microseconds(&mut self, argument: &'static str) -> Result<Duration, CommandError> {
        self.number(argument, 0, LONGEST_DELAY.as_secs() * 1_000_000)
            .map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_understood() {
        let cases = [
            ("echo", Command::Serve(Service::Echo)),
            (
                "send 100000 4096 250",
                Command::Serve(Service::Send {
                    total: 100_000,
                    chunk: 4096,
                    delay: Duration::from_micros(250),
                    linger: true,
                }),
            ),
            (
                "send-close 1 1 0",
                Command::Serve(Service::Send {
                    total: 1,
                    chunk: 1,
                    delay: Duration::ZERO,
                    linger: false,
                }),
            ),
            (
                "sink 5 7",
                Command::Serve(Service::Sink {
                    total: 5,
                    delay: Duration::from_millis(7),
                }),
            ),
            (
                "hold 10",
                Command::Serve(Service::Hold(Duration::from_millis(10))),
            ),
            ("reset 0", Command::Serve(Service::Reset(Duration::ZERO))),
            ("pause 20", Command::Pause(Duration::from_millis(20))),
            ("stats", Command::Statistics),
            (
                "  dial 1234   hold 10 ",
                Command::Dial {
                    port: 1234,
                    service: Service::Hold(Duration::from_millis(10)),
                },
            ),
        ];
        for (line, command) in cases {
            assert_eq!(parse(line), Ok(command), "{line:?}");
        }
    }

    #[test]
    fn a_bad_line_is_named_in_one_sentence() {
        let cases = [
            ("", "the command line is empty"),
            ("   ", "the command line is empty"),
            ("ehco", "there is no command \"ehco\""),
            ("send", "the command send needs TOTAL"),
            ("send-close 1", "the command send-close needs CHUNK"),
            ("send 1 1", "the command send needs DELAY_US"),
            ("send 1 0 0", "CHUNK is \"0\"; give a number from 1 to"),
            ("send 1 99999999999 0", "CHUNK is \"99999999999\""),
            ("send -1 1 0", "TOTAL is \"-1\""),
            ("send 18446744073709551616 1 0", "TOTAL is"),
            ("sink 1 600001", "DELAY_MS is \"600001\""),
            ("hold x", "MS is \"x\""),
            ("reset 1 2", "\"2\" follows the last argument"),
            ("dial", "the command dial needs PORT"),
            ("dial 5", "the command dial needs a COMMAND"),
            ("dial 4294967295 echo", "PORT is \"4294967295\""),
            ("dial 5 dial 6 echo", "\"dial\" cannot be dialled"),
            ("dial 5 stats", "\"stats\" cannot be dialled"),
            ("dial 5 pause 1", "\"pause\" cannot be dialled"),
        ];
        for (line, start) in cases {
            let sentence = parse(line).map_err(|error| error.to_string());
            assert!(
                matches!(&sentence, Err(text) if text.starts_with(start) && !text.contains('\n')),
                "{line:?}: {sentence:?}"
            );
        }
    }

    #[test]
    fn nothing_beyond_the_line_is_read() -> io::Result<()> {
        let mut source: &[u8] = b"echo\nrest";
        assert_eq!(read_line(&mut source)?, Ok("echo".to_owned()));
        assert_eq!(source, b"rest");
        Ok(())
    }

    #[test]
    fn the_longest_line_is_taken_and_one_more_byte_is_not() -> io::Result<()> {
        let mut line = vec![b'x'; LONGEST_LINE - 1];
        line.push(b'\n');
        assert!(read_line(&mut line.as_slice())?.is_ok());
        line.insert(0, b'x');
        assert_eq!(read_line(&mut line.as_slice())?, Err(CommandError::TooLong));
        Ok(())
    }

    #[test]
    fn lines_that_are_no_text() -> io::Result<()> {
        for line in [&b"ec\0ho\n"[..], b"\xff\xfe\n", b"echo\r\n"] {
            assert_eq!(read_line(&mut &*line)?, Err(CommandError::NotText));
        }
        for line in [&b""[..], b"echo"] {
            assert_eq!(read_line(&mut &*line)?, Err(CommandError::Unfinished));
        }
        Ok(())
    }
}

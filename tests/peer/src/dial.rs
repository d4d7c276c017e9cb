// SPDX-License-Identifier: GPL-2.0

//! Connecting to a port of the guest, through the vhost-user device's socket.
//!
//! The device's host side speaks a line each way: `CONNECT PORT` and `OK N`, where N is the port
//! that the connection has on the host. A guest that has no listener makes the device close
//! without a line.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

/// How long the guest may take to accept.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer to `CONNECT`: `OK`, a blank, ten digits and a newline, in bytes.
const LONGEST_ANSWER: usize = 14;

/// Why a connection to the guest did not come about.
#[derive(Debug, Error)]
pub enum DialError {
    /// The device's socket is not there, or does not accept.
    #[error("cannot connect to the device's socket: {0}")]
    Device(io::Error),
    /// The socket failed during the handshake.
    #[error("the device's socket failed while it connected to port {port}: {source}")]
    Handshake {
        /// The guest's port.
        port: u32,
        /// The stream's error.
        source: io::Error,
    },
    /// The device closed without an answer.
    #[error("the guest refused the connection to port {0}; is it listening?")]
    Refused(u32),
    /// Nothing came in time.
    #[error("the guest did not answer the connection to port {0} in time")]
    TimedOut(u32),
    /// Some other line.
    #[error("the device answered {0:?} where OK and a port were due")]
    Answer(String),
}

/// Connects to `port` of the guest behind the device whose host socket is at `socket`.
///
/// # Errors
///
/// Says at which step it failed.
pub fn dial(socket: &Path, port: u32) -> Result<UnixStream, DialError> {
    let mut stream = UnixStream::connect(socket).map_err(DialError::Device)?;
    handshake(&mut stream, port, ACCEPT_TIMEOUT)?;
    Ok(stream)
}

fn handshake(stream: &mut UnixStream, port: u32, timeout: Duration) -> Result<(), DialError> {
    let failed = |source| DialError::Handshake { port, source };
    stream.set_read_timeout(Some(timeout)).map_err(failed)?;
    stream
        .write_all(format!("CONNECT {port}\n").as_bytes())
        .map_err(failed)?;
    let answer = read_answer(stream).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => DialError::TimedOut(port),
        io::ErrorKind::ConnectionReset => DialError::Refused(port),
        _ => DialError::Handshake { port, source },
    })?;
    match answer.as_slice() {
        [] => Err(DialError::Refused(port)),
        [b'O', b'K', b' ', digits @ .., b'\n']
            if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) =>
        {
            stream.set_read_timeout(None).map_err(failed)
        }
        other => Err(DialError::Answer(
            String::from_utf8_lossy(other).into_owned(),
        )),
    }
}

/// Reads up to and with a newline, byte by byte, since the guest's data may follow at once.
fn read_answer(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::with_capacity(LONGEST_ANSWER);
    let mut byte = [0];
    while answer.len() < LONGEST_ANSWER && !answer.ends_with(b"\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => answer.extend(byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shakes hands with a device that answers `answer` and then ends.
    fn shake(answer: &[u8]) -> io::Result<(Result<(), DialError>, Vec<u8>)> {
        let (mut ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(answer)?;
        theirs.shutdown(std::net::Shutdown::Write)?;
        let result = handshake(&mut ours, 4294967294, Duration::from_secs(5));
        drop(ours.shutdown(std::net::Shutdown::Write));
        let mut asked = Vec::new();
        theirs.read_to_end(&mut asked)?;
        assert_eq!(asked, b"CONNECT 4294967294\n");
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest)?;
        Ok((result, rest))
    }

    #[test]
    fn what_follows_the_answer_is_the_guests() -> io::Result<()> {
        let (result, rest) = shake(b"OK 1073741824\nfirst bytes")?;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(rest, b"first bytes");
        Ok(())
    }

    #[test]
    fn a_close_is_a_refusal() -> io::Result<()> {
        let (result, _) = shake(b"")?;
        assert!(matches!(result, Err(DialError::Refused(4294967294))));
        Ok(())
    }

    #[test]
    fn other_answers_are_named() -> io::Result<()> {
        for answer in [
            "NO 1\n",
            "OK\n",
            "OK \n",
            "OK x\n",
            "OK 1",
            "OK 123456789012345\n",
        ] {
            let (result, _) = shake(answer.as_bytes())?;
            assert!(matches!(result, Err(DialError::Answer(_))), "{answer:?}");
        }
        Ok(())
    }

    #[test]
    fn silence_ends_in_a_timeout() -> io::Result<()> {
        let (mut ours, _theirs) = UnixStream::pair()?;
        let result = handshake(&mut ours, 5, Duration::from_millis(20));
        assert!(matches!(result, Err(DialError::TimedOut(5))));
        Ok(())
    }
}

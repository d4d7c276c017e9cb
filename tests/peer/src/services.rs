// SPDX-License-Identifier: GPL-2.0

//! What the peer does on a connection.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use thiserror::Error;

use crate::command::Service;
use crate::connection::Connection;
use crate::pattern;

/// Size of the echo's read buffer, in bytes.
const ECHO_BUFFER: usize = 1 << 20;

/// Largest request that the two-byte service reads, in bytes.
const LARGEST_REQUEST: usize = 64;

/// How long `reset` waits, after its delay, for something that it can leave unread.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a service did not end as it should have.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The stream failed.
    #[error("{action}: {source}")]
    Stream {
        /// What was being done.
        action: &'static str,
        /// The stream's error.
        source: io::Error,
    },
    /// End of file where more was needed.
    #[error("the other end closed after {got} of {wanted} bytes")]
    Short {
        /// Bytes that came.
        got: u64,
        /// Bytes that were asked for.
        wanted: u64,
    },
    /// `reset` found nothing to leave unread, so the close was an orderly one.
    #[error("the other end sent nothing that could be left unread, so this was no reset")]
    NothingUnread,
}

fn during(action: &'static str) -> impl Fn(io::Error) -> ServiceError {
    move |source| ServiceError::Stream { action, source }
}

/// Flips one bit of one byte among those that pass, to show that a comparison notices.
#[derive(Debug)]
pub struct BitFlip {
    /// Offset of the byte among all that pass.
    offset: u64,
    passed: AtomicU64,
}

impl BitFlip {
    /// Makes one that changes the `nth` byte, counted from 1.
    pub fn new(nth: u64) -> Self {
        Self {
            offset: nth.saturating_sub(1),
            passed: AtomicU64::new(0),
        }
    }

    fn pass(&self, bytes: &mut [u8]) {
        let start = self.passed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let byte = self
            .offset
            .checked_sub(start)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| bytes.get_mut(index));
        if let Some(byte) = byte {
            *byte ^= 1;
        }
    }
}

/// Is `service` on `connection` until it ended; closing is left to the caller.
///
/// # Errors
///
/// Says why it did not end as the command says.
pub fn serve(connection: &mut Connection, service: &Service) -> Result<(), ServiceError> {
    match *service {
        Service::Echo => echo(connection, None),
        Service::Send {
            total,
            chunk,
            delay,
            linger,
        } => {
            send(connection, total, chunk, delay)?;
            if linger {
                await_close(connection)?;
            }
            Ok(())
        }
        Service::Sink { total, delay } => sink(connection, total, delay),
        Service::Hold(delay) => {
            thread::sleep(delay);
            Ok(())
        }
        Service::Reset(delay) => {
            thread::sleep(delay);
            await_unread(connection)
        }
    }
}

/// Reads a request of 1 to 64 bytes and answers the two bytes `OK`.
///
/// # Errors
///
/// Those of the stream, and end of file before the request.
pub fn two_bytes(connection: &mut Connection) -> Result<(), ServiceError> {
    let mut request = [0; LARGEST_REQUEST];
    match read(connection, &mut request)? {
        [] => Err(ServiceError::Short { got: 0, wanted: 1 }),
        _ => connection.write_all(b"OK").map_err(during("answering")),
    }
}

/// Writes back what each read gave, until end of file; `flip` may change a byte on its way.
///
/// # Errors
///
/// Those of the stream.
pub fn echo(connection: &mut Connection, flip: Option<&BitFlip>) -> Result<(), ServiceError> {
    let mut buffer = vec![0; ECHO_BUFFER];
    loop {
        let bytes = read(connection, &mut buffer)?;
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(flip) = flip {
            flip.pass(bytes);
        }
        connection.write_all(bytes).map_err(during("echoing"))?;
    }
}

fn send(
    connection: &mut Connection,
    total: u64,
    chunk: usize,
    delay: Duration,
) -> Result<(), ServiceError> {
    let mut buffer = vec![0; chunk];
    let mut offset = 0;
    while offset < total {
        if offset > 0 && !delay.is_zero() {
            thread::sleep(delay);
        }
        let left = usize::try_from(total - offset).unwrap_or(usize::MAX);
        let bytes = buffer.get_mut(..left.min(chunk)).unwrap_or_default();
        pattern::fill(offset, bytes);
        connection.write_all(bytes).map_err(during("sending"))?;
        offset += bytes.len() as u64;
    }
    Ok(())
}

fn sink(connection: &mut Connection, total: u64, delay: Duration) -> Result<(), ServiceError> {
    thread::sleep(delay);
    let mut buffer = vec![0; ECHO_BUFFER];
    let mut got = 0;
    while got < total {
        let left = usize::try_from(total - got).unwrap_or(usize::MAX);
        let room = left.min(ECHO_BUFFER);
        let bytes = read(connection, buffer.get_mut(..room).unwrap_or_default())?;
        if bytes.is_empty() {
            return Err(ServiceError::Short { got, wanted: total });
        }
        got += bytes.len() as u64;
    }
    let answer = format!("{got} {}\n", connection.so_far().crc_in);
    connection
        .write_all(answer.as_bytes())
        .map_err(during("answering"))?;
    await_close(connection)
}

/// Reads, counts and discards until the other end closes.
fn await_close(connection: &mut Connection) -> Result<(), ServiceError> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match read(connection, &mut buffer) {
            Ok([]) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until there is something unread, and leaves it so: closing is then a reset.
fn await_unread(connection: &mut Connection) -> Result<(), ServiceError> {
    let stream = connection.uncounted();
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(during("waiting for data"))?;
    match SockRef::from(&*stream).peek(&mut [MaybeUninit::uninit()]) {
        Ok(0) => Err(ServiceError::NothingUnread),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ServiceError::NothingUnread),
        Err(error) => Err(during("waiting for data")(error)),
    }
}

/// Reads once; the slice that came is empty at end of file.
fn read<'buffer>(
    connection: &mut Connection,
    buffer: &'buffer mut [u8],
) -> Result<&'buffer mut [u8], ServiceError> {
    let count = loop {
        match connection.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result.map_err(during("reading"))?,
        }
    };
    Ok(buffer.get_mut(..count).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_byte_is_flipped_once_wherever_it_falls() {
        for nth in 1..=12 {
            let flip = BitFlip::new(nth);
            let mut seen = Vec::new();
            for size in [0, 1, 4, 5, 3] {
                let mut bytes = vec![0; size];
                flip.pass(&mut bytes);
                seen.extend(bytes);
            }
            let changed: Vec<_> = (1_u64..).zip(seen).filter(|&(_, byte)| byte != 0).collect();
            assert_eq!(changed, [(nth, 1)]);
        }
    }
}

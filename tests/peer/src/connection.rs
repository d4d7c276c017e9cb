// SPDX-License-Identifier: GPL-2.0

//! A stream whose bytes are counted.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use crate::statistics::{Record, Tally};

/// A connection through the vhost-user device: all that is read and written is counted.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    tally: Tally,
}

impl Connection {
    /// Counts from here on what goes over `stream`.
    pub fn new(stream: UnixStream, tally: Tally) -> Self {
        Self { stream, tally }
    }

    /// The stream itself, for what is not to be counted.
    pub fn uncounted(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Returns the counts so far.
    pub fn so_far(&self) -> Record {
        self.tally.so_far()
    }

    /// Closes the stream, then writes the line of statistics.
    pub fn end(self, error: Option<String>) {
        // Closed first: who reads the line may rely on the connection's being gone.
        drop(self.stream);
        self.tally.end(error);
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if let Some(bytes) = buffer.get(..count) {
            self.tally.read(bytes);
        }
        Ok(count)
    }
}

impl Write for Connection {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(buffer)?;
        if let Some(bytes) = buffer.get(..count) {
            self.tally.written(bytes);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

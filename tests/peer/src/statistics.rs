// SPDX-License-Identifier: GPL-2.0

//! What went over each connection, counted and summed independently of the guest.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crc32fast::Hasher;
use serde::Serialize;

/// How many of the latest connections `stats` lists; the file has them all.
const LISTED: usize = 32;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The guest did; the port is ours.
    In,
    /// We did; the port is the guest's.
    Out,
}

/// One connection: one line of the statistics file.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Record {
    /// The port that was connected to.
    pub port: u32,
    /// Who opened it.
    pub direction: Direction,
    /// Bytes that the service read; the command line is not among them.
    pub bytes_in: u64,
    /// Their CRC-32 (zlib's), as eight hexadecimal digits.
    pub crc_in: String,
    /// Bytes that the service wrote, its answers among them.
    pub bytes_out: u64,
    /// Their CRC-32 (zlib's), as eight hexadecimal digits.
    pub crc_out: String,
    /// Why the service did not end as its command says.
    pub error: Option<String>,
}

/// A running count with its checksum, of one direction.
#[derive(Clone, Debug, Default)]
struct Sum {
    bytes: u64,
    crc: Hasher,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.crc.update(bytes);
    }

    fn hexadecimal(&self) -> String {
        format!("{:08x}", self.crc.clone().finalize())
    }
}

/// The two running counts of a connection that is open.
#[derive(Debug, Default)]
struct Counts {
    incoming: Sum,
    outgoing: Sum,
}

#[derive(Debug)]
struct Open {
    port: u32,
    direction: Direction,
    counts: Mutex<Counts>,
}

impl Open {
    fn record(&self, error: Option<String>) -> Record {
        let counts = lock(&self.counts);
        Record {
            port: self.port,
            direction: self.direction,
            bytes_in: counts.incoming.bytes,
            crc_in: counts.incoming.hexadecimal(),
            bytes_out: counts.outgoing.bytes,
            crc_out: counts.outgoing.hexadecimal(),
            error,
        }
    }
}

/// The answer to `stats`.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    open: usize,
    ended: u64,
    failed: u64,
    bytes_in: u64,
    bytes_out: u64,
    latest: &'a [Record],
}

#[derive(Debug)]
struct Inner {
    file: File,
    open: Vec<Arc<Open>>,
    latest: Vec<Record>,
    ended: u64,
    failed: u64,
    bytes_in: u64,
    bytes_out: u64,
    write_error: Option<io::Error>,
    closed: bool,
}

impl Inner {
    fn end(&mut self, open: &Arc<Open>, error: Option<String>) {
        if self.closed {
            // Its line was written when the program was told to end.
            return;
        }
        self.open.retain(|other| !Arc::ptr_eq(other, open));
        let record = open.record(error);
        if let Err(error) = self.write(&record) {
            eprintln!("rvsock-peer: cannot write the statistics: {error}");
            self.write_error.get_or_insert(error);
        }
        self.ended = self.ended.saturating_add(1);
        self.failed = self
            .failed
            .saturating_add(u64::from(record.error.is_some()));
        self.bytes_in = self.bytes_in.saturating_add(record.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(record.bytes_out);
        if self.latest.len() == LISTED {
            self.latest.remove(0);
        }
        self.latest.push(record);
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        // One write, so that who reads the file meanwhile sees whole lines.
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// The statistics of all connections.
#[derive(Debug)]
pub struct Statistics(Mutex<Inner>);

impl Statistics {
    /// Starts with no connections, and with an empty file at `path`.
    ///
    /// # Errors
    ///
    /// That of creating the file.
    pub fn create(path: &Path) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Arc::new(Self(Mutex::new(Inner {
            file,
            open: Vec::new(),
            latest: Vec::new(),
            ended: 0,
            failed: 0,
            bytes_in: 0,
            bytes_out: 0,
            write_error: None,
            closed: false,
        }))))
    }

    /// Begins to count a connection.
    pub fn begin(self: &Arc<Self>, port: u32, direction: Direction) -> Tally {
        let open = Arc::new(Open {
            port,
            direction,
            counts: Mutex::default(),
        });
        lock(&self.0).open.push(Arc::clone(&open));
        Tally {
            statistics: Arc::clone(self),
            open,
            ended: false,
        }
    }

    /// Returns the answer to `stats`: one line of JSON, its newline included.
    pub fn summary(&self) -> io::Result<String> {
        let inner = lock(&self.0);
        let mut line = serde_json::to_string(&Summary {
            open: inner.open.len(),
            ended: inner.ended,
            failed: inner.failed,
            bytes_in: inner.bytes_in,
            bytes_out: inner.bytes_out,
            latest: &inner.latest,
        })?;
        line.push('\n');
        Ok(line)
    }

    /// Writes the lines of the connections that are still open, and takes no more.
    ///
    /// # Errors
    ///
    /// The first that a line met on its way into the file.
    pub fn close(&self) -> io::Result<()> {
        let mut inner = lock(&self.0);
        for open in std::mem::take(&mut inner.open) {
            inner.end(&open, Some("still open when the peer was ended".to_owned()));
        }
        inner.closed = true;
        inner.write_error.take().map_or(Ok(()), Err)
    }
}

/// The counts of one connection; its line is written when it ends.
#[derive(Debug)]
pub struct Tally {
    statistics: Arc<Statistics>,
    open: Arc<Open>,
    ended: bool,
}

impl Tally {
    /// Counts bytes that were read.
    pub fn read(&self, bytes: &[u8]) {
        lock(&self.open.counts).incoming.add(bytes);
    }

    /// Counts bytes that were written.
    pub fn written(&self, bytes: &[u8]) {
        lock(&self.open.counts).outgoing.add(bytes);
    }

    /// Returns the counts so far.
    pub fn so_far(&self) -> Record {
        self.open.record(None)
    }

    /// Ends the connection, with `error` if it did not end as it should have.
    pub fn end(mut self, error: Option<String>) {
        self.ended = true;
        lock(&self.statistics.0).end(&self.open, error);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !self.ended {
            let error = Some("the peer itself failed".to_owned());
            lock(&self.statistics.0).end(&self.open, error);
        }
    }
}

/// Locks, also after a panic elsewhere: counts are whole after each statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
// A missing key of a JSON value is null, not a panic.
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> io::Result<Vec<serde_json::Value>> {
        let text = std::fs::read_to_string(path)?;
        Ok(text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?)
    }

    #[test]
    fn one_line_for_each_connection() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("peer.jsonl");
        let statistics = Statistics::create(&path)?;

        let first = statistics.begin(9998, Direction::In);
        first.read(b"1234");
        first.read(b"56789");
        let second = statistics.begin(77, Direction::Out);
        second.written(b"x");
        first.end(None);
        second.end(Some("a \"quoted\" reason".to_owned()));

        // 0xcbf43926 is the check value of CRC-32 over "123456789".
        assert_eq!(
            lines(&path)?,
            [
                serde_json::json!({
                    "port": 9998, "direction": "in", "bytes_in": 9, "crc_in": "cbf43926",
                    "bytes_out": 0, "crc_out": "00000000", "error": null
                }),
                serde_json::json!({
                    "port": 77, "direction": "out", "bytes_in": 0, "crc_in": "00000000",
                    "bytes_out": 1, "crc_out": "8cdc1683", "error": "a \"quoted\" reason"
                }),
            ]
        );
        Ok(())
    }

    #[test]
    fn what_is_open_at_the_end_has_its_line_once() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("peer.jsonl");
        let statistics = Statistics::create(&path)?;
        let tally = statistics.begin(9998, Direction::In);
        tally.read(b"x");
        statistics.close()?;
        tally.end(None);
        let lines = lines(&path)?;
        assert_eq!(lines.len(), 1);
        assert_eq!(
            lines.first().and_then(|line| line["error"].as_str()),
            Some("still open when the peer was ended")
        );
        Ok(())
    }

    #[test]
    fn the_summary_is_one_line_and_stays_bounded() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let statistics = Statistics::create(&directory.path().join("peer.jsonl"))?;
        for _ in 0..LISTED + 10 {
            let tally = statistics.begin(1, Direction::In);
            tally.read(b"ab");
            tally.end(None);
        }
        drop(statistics.begin(2, Direction::In));
        let _open = statistics.begin(3, Direction::In);
        let line = statistics.summary()?;
        assert_eq!(line.matches('\n').count(), 1);
        let summary: serde_json::Value = serde_json::from_str(&line)?;
        assert_eq!(summary["open"], 1);
        assert_eq!(summary["ended"], LISTED + 11);
        assert_eq!(summary["failed"], 1);
        assert_eq!(summary["bytes_in"], 2 * (LISTED + 10));
        assert_eq!(summary["latest"].as_array().map(Vec::len), Some(LISTED));
        Ok(())
    }
}

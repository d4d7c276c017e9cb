// SPDX-License-Identifier: GPL-2.0

//! The program as a guest sees it, with unix sockets in the place of the vhost-user device.

// A failed expectation is how a test fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// No step of a test takes longer, unless something hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// The running program, in a directory of its own.
struct Peer {
    directory: TempDir,
    child: Child,
}

impl Peer {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = program()
            .args(["--socket", "vm.sock", "--stats", "peer.jsonl"])
            .args(arguments)
            .current_dir(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self { directory, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Connects as the device does when the guest connects to `port`.
    fn connect(&self, port: u32) -> UnixStream {
        let stream = UnixStream::connect(self.path(&format!("vm.sock_{port}"))).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn command(&self, line: &str) -> UnixStream {
        let mut stream = self.connect(9000);
        writeln!(stream, "{line}").unwrap();
        stream
    }

    /// Waits for `count` lines of statistics, then returns them.
    fn records(&self, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(self.path("peer.jsonl")).unwrap();
            let records: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            if records.len() >= count {
                assert_eq!(records.len(), count, "{text}");
                return records;
            }
            assert!(start.elapsed() < LIMIT, "{text}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn terminate(&mut self) {
        // The shell's own: a small system has no program of that name.
        let kill = Command::new("sh")
            .args(["-c", "kill -s TERM \"$0\"", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail when a test has ended it already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rvsock-peer"))
}

fn to_end(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn exactly(stream: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn line(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n") {
        bytes.extend(exactly(stream, 1));
    }
    String::from_utf8(bytes).unwrap()
}

fn pattern(length: u64) -> Vec<u8> {
    (0..length)
        .map(|i| (((i >> 8) ^ i ^ (i >> 16)) & 0xff) as u8)
        .collect()
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

/// A guest that listens on one port, behind a device that is only this socket.
fn guest(peer: &Peer, play: impl FnOnce(UnixStream, String) + Send + 'static) -> JoinHandle<()> {
    let listener = UnixListener::bind(peer.path("vm.sock")).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let request = line(&mut stream);
        play(stream, request);
    })
}

#[test]
fn two_bytes() {
    let peer = Peer::start(&[]);
    let mut stream = peer.connect(9999);
    stream.write_all(b"request").unwrap();
    assert_eq!(to_end(&mut stream), b"OK");
    let record = &peer.records(1)[0];
    assert_eq!(record["port"], 9999);
    assert_eq!(record["direction"], "in");
    assert_eq!(record["bytes_in"], 7);
    assert_eq!(record["crc_in"], checksum(b"request"));
    assert_eq!(record["bytes_out"], 2);
    assert_eq!(record["crc_out"], checksum(b"OK"));
    assert_eq!(record["error"], Value::Null);
}

#[test]
fn two_bytes_without_a_request() {
    let peer = Peer::start(&[]);
    let mut stream = peer.connect(9999);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(to_end(&mut stream), b"");
    assert_eq!(
        peer.records(1)[0]["error"],
        "the other end closed after 0 of 1 bytes"
    );
}

/// Sends `data` to an echo while it reads what comes back.
fn through_echo(stream: &UnixStream, data: &[u8]) -> Vec<u8> {
    let mut reader = stream.try_clone().unwrap();
    let count = data.len();
    let back = thread::spawn(move || exactly(&mut reader, count));
    let mut writer = stream;
    writer.write_all(data).unwrap();
    back.join().unwrap()
}

#[test]
fn echo_on_both_ports() {
    let peer = Peer::start(&[]);
    let data = pattern(3 << 20);
    for stream in [peer.connect(9998), peer.command("echo")] {
        assert!(through_echo(&stream, &data) == data);
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(to_end(&mut stream.try_clone().unwrap()), b"");
    }
    for record in peer.records(2) {
        assert_eq!(record["bytes_in"], data.len());
        assert_eq!(record["bytes_out"], data.len());
        assert_eq!(record["crc_in"], checksum(&data));
        assert_eq!(record["crc_out"], checksum(&data));
        assert_eq!(record["error"], Value::Null);
    }
}

#[test]
fn a_flipped_byte_shows_and_only_on_the_echo_port() {
    let peer = Peer::start(&["--flip-byte", "1500"]);
    let data = pattern(1000);
    assert_eq!(through_echo(&peer.command("echo"), &data), data);
    assert_eq!(through_echo(&peer.connect(9998), &data), data);
    let mut flipped = data.clone();
    flipped[499] ^= 1;
    assert_eq!(through_echo(&peer.connect(9998), &data), flipped);
    assert_eq!(through_echo(&peer.connect(9998), &data), data);
    let sums: Vec<_> = peer
        .records(4)
        .iter()
        .map(|record| record["crc_out"].clone())
        .collect();
    assert_eq!(
        sums.iter()
            .filter(|&sum| *sum == checksum(&flipped))
            .count(),
        1
    );
    assert_eq!(
        sums.iter().filter(|&sum| *sum == checksum(&data)).count(),
        3
    );
}

#[test]
fn send_waits_for_the_close_and_send_close_does_not() {
    let peer = Peer::start(&[]);
    let mut stream = peer.command("send 100000 4096 10");
    assert!(exactly(&mut stream, 100_000) == pattern(100_000));
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let waiting = stream.read(&mut [0]).unwrap_err();
    assert_eq!(waiting.kind(), ErrorKind::WouldBlock);
    drop(stream);
    let record = &peer.records(1)[0];
    assert_eq!(record["bytes_out"], 100_000);
    assert_eq!(record["crc_out"], checksum(&pattern(100_000)));
    assert_eq!(record["error"], Value::Null);

    let mut stream = peer.command("send-close 70001 70000 0");
    assert!(to_end(&mut stream) == pattern(70_001));
    assert_eq!(peer.records(2)[1]["error"], Value::Null);
}

#[test]
fn send_paces_its_writes() {
    let peer = Peer::start(&[]);
    let start = Instant::now();
    let mut stream = peer.command("send-close 500 100 20000");
    assert_eq!(to_end(&mut stream), pattern(500));
    // Five writes, so four delays.
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[test]
fn a_reader_that_leaves_early_is_recorded() {
    let peer = Peer::start(&[]);
    let mut stream = peer.command("send 100000000 65536 0");
    exactly(&mut stream, 10);
    drop(stream);
    let record = &peer.records(1)[0];
    assert!(record["error"].as_str().unwrap().starts_with("sending: "));
}

#[test]
fn sink_answers_its_own_sum() {
    let peer = Peer::start(&[]);
    let data = pattern(300_000);
    let mut stream = peer.command("sink 300000 50");
    let start = Instant::now();
    stream.write_all(&data).unwrap();
    assert_eq!(line(&mut stream), format!("300000 {}\n", checksum(&data)));
    assert!(start.elapsed() >= Duration::from_millis(40));
    drop(stream);
    assert_eq!(peer.records(1)[0]["bytes_in"], 300_000);
}

#[test]
fn sink_that_gets_too_little() {
    let peer = Peer::start(&[]);
    let mut stream = peer.command("sink 10 0");
    stream.write_all(b"1234").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(to_end(&mut stream), b"");
    assert_eq!(
        peer.records(1)[0]["error"],
        "the other end closed after 4 of 10 bytes"
    );
}

#[test]
fn hold_closes_after_its_time() {
    let peer = Peer::start(&[]);
    let start = Instant::now();
    let mut stream = peer.command("hold 60");
    assert_eq!(to_end(&mut stream), b"");
    assert!(start.elapsed() >= Duration::from_millis(60));
    let record = &peer.records(1)[0];
    assert_eq!(record["bytes_in"], 0);
    assert_eq!(record["error"], Value::Null);
}

#[test]
fn reset_is_seen_as_one() {
    let peer = Peer::start(&[]);
    let mut stream = peer.command("reset 10");
    stream.write_all(b"never read").unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let record = &peer.records(1)[0];
    assert_eq!(record["bytes_in"], 0);
    assert_eq!(record["error"], Value::Null);
}

#[test]
fn reset_says_when_it_could_be_none() {
    let peer = Peer::start(&[]);
    let mut stream = peer.command("reset 0");
    assert_eq!(to_end(&mut stream), b"");
    assert!(peer.records(1)[0]["error"].is_string());
}

#[test]
fn dial_runs_the_service_on_the_new_connection() {
    let peer = Peer::start(&[]);
    let data = pattern(50_000);
    let sum = checksum(&data);
    let guest = guest(&peer, move |mut stream, request| {
        assert_eq!(request, "CONNECT 1234\n");
        // The guest's first data may arrive with the device's answer.
        stream.write_all(b"OK 1073741824\nab").unwrap();
        assert_eq!(exactly(&mut stream, 2), b"ab");
        assert!(through_echo(&stream, &data) == data);
    });
    let mut stream = peer.command("dial 1234 echo");
    assert_eq!(line(&mut stream), "dialling\n");
    guest.join().unwrap();
    let mut all = b"ab".to_vec();
    all.extend(pattern(50_000));
    let all = checksum(&all);
    assert_ne!(all, sum);
    assert_eq!(
        line(&mut stream),
        format!("result ok 50002 {all} 50002 {all}\n")
    );
    assert_eq!(to_end(&mut stream), b"");
    let records = peer.records(2);
    assert_eq!(records[0]["direction"], "out");
    assert_eq!(records[0]["port"], 1234);
    assert_eq!(records[0]["bytes_in"], 50_002);
    assert_eq!(records[1]["direction"], "in");
    assert_eq!(records[1]["port"], 9000);
}

#[test]
fn dial_tells_of_a_guest_that_refuses() {
    let peer = Peer::start(&[]);
    let guest = guest(&peer, |stream, _| drop(stream));
    let mut stream = peer.command("dial 7 echo");
    assert_eq!(
        String::from_utf8(to_end(&mut stream)).unwrap(),
        "dialling\nresult failed the guest refused the connection to port 7; is it listening?\n"
    );
    guest.join().unwrap();
    assert_eq!(peer.records(2)[0]["direction"], "out");
}

#[test]
fn dial_tells_of_a_missing_device() {
    let peer = Peer::start(&[]);
    let mut stream = peer.command("dial 7 send 1 1 0");
    let answer = String::from_utf8(to_end(&mut stream)).unwrap();
    assert!(
        answer.starts_with("dialling\nresult failed cannot connect to the device's socket: "),
        "{answer}"
    );
}

#[test]
fn dial_tells_of_a_service_that_failed() {
    let peer = Peer::start(&[]);
    let guest = guest(&peer, |mut stream, _| {
        stream.write_all(b"OK 1\nxy").unwrap();
    });
    let mut stream = peer.command("dial 7 sink 3 0");
    assert_eq!(
        String::from_utf8(to_end(&mut stream)).unwrap(),
        "dialling\nresult failed the other end closed after 2 of 3 bytes\n"
    );
    guest.join().unwrap();
}

#[test]
fn statistics_are_one_line_of_json() {
    let peer = Peer::start(&[]);
    let mut stream = peer.connect(9999);
    stream.write_all(b"x").unwrap();
    to_end(&mut stream);
    peer.records(1);
    let answer = to_end(&mut peer.command("stats"));
    assert_eq!(answer.iter().filter(|&&byte| byte == b'\n').count(), 1);
    let summary: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(summary["ended"], 1);
    assert_eq!(summary["open"], 1);
    assert_eq!(summary["bytes_out"], 2);
    assert_eq!(summary["latest"][0]["port"], 9999);
}

#[test]
fn a_bad_command_gets_a_sentence_and_nothing_ends_the_program() {
    let peer = Peer::start(&[]);
    let long = [b'x'; 5000];
    let lines: [&[u8]; 8] = [
        b"\n",
        b"ehco\n",
        b"send 1\n",
        b"send 1 0 0\nwith data behind it",
        b"dial 1 dial 2 echo\n",
        b"\xff\xfe\0\n",
        b"no newline",
        &long,
    ];
    for bytes in lines {
        let mut stream = peer.connect(9000);
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = String::from_utf8(to_end(&mut stream)).unwrap();
        assert!(answer.starts_with("error: "), "{bytes:?}: {answer}");
        assert!(answer.ends_with('\n'), "{answer}");
        assert_eq!(answer.matches('\n').count(), 1, "{answer}");
    }
    for record in peer.records(lines.len()) {
        assert!(record["error"].is_string(), "{record}");
    }
    // Whoever leaves at once is no harm either.
    for port in [9000, 9998, 9999] {
        drop(peer.connect(port));
    }
    peer.records(lines.len() + 3);
    let mut stream = peer.connect(9999);
    stream.write_all(b"x").unwrap();
    assert_eq!(to_end(&mut stream), b"OK");
}

#[test]
fn termination_is_orderly() {
    let mut peer = Peer::start(&[]);
    let mut stream = peer.connect(9998);
    stream.write_all(b"abc").unwrap();
    assert_eq!(exactly(&mut stream, 3), b"abc");
    peer.terminate();
    let record = &peer.records(1)[0];
    assert_eq!(record["bytes_in"], 3);
    assert_eq!(record["error"], "still open when the peer was ended");
    for port in [9000, 9998, 9999] {
        assert!(!peer.path(&format!("vm.sock_{port}")).exists());
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    let peer = Peer::start(&[]);
    let second = program()
        .args(["--socket", "vm.sock", "--stats", "second.jsonl"])
        .current_dir(&peer.directory)
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(second.stdout.is_empty());
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains("cannot listen on vm.sock_9999"), "{error}");
    // The first one is not harmed by it.
    let mut stream = peer.connect(9999);
    stream.write_all(b"x").unwrap();
    assert_eq!(to_end(&mut stream), b"OK");
}

#[test]
fn a_zeroth_byte_is_refused() {
    let output = program()
        .args(["--socket", "s", "--stats", "f", "--flip-byte", "0"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
}

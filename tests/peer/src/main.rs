// SPDX-License-Identifier: GPL-2.0

//! The programs on the host that a guest talks to over vsock.
//!
//! A vhost-user vsock device turns the guest's connections into unix sockets. This program
//! listens on those of a few ports, and connects to the guest when it is told to:
//!
//! - 9999: reads a request of up to 64 bytes, answers the two bytes `OK`, and closes.
//! - 9998: echoes what each read (of up to 1 MiB) gives, until end of file.
//! - 9000: reads a line, at most 200 bytes with its newline, and then is on the same connection:
//!   - `echo`: as 9998;
//!   - `send TOTAL CHUNK DELAY_US`: writes TOTAL bytes of [`pattern`] in writes of CHUNK bytes,
//!     then waits for the other end to close;
//!   - `send-close TOTAL CHUNK DELAY_US`: the same, then closes at once;
//!   - `sink TOTAL DELAY_MS`: waits, reads TOTAL bytes, answers `TOTAL CRC32`, then waits for the
//!     other end to close;
//!   - `hold MS`: reads nothing for so long, then closes;
//!   - `reset MS`: waits, then closes while something is unread;
//!   - `dial PORT COMMAND`: answers `dialling`, is the command (one of the above) on a connection
//!     to the guest's PORT, and answers `result ok BYTES_IN CRC_IN BYTES_OUT CRC_OUT` or
//!     `result failed REASON` on the first connection when the other ended;
//!   - `pause MS`: answers `pausing`, and 100 ms later stops the device for so long;
//!   - `stats`: answers one line of JSON about the connections so far.
//!
//! A line that is none of these is answered with `error: ` and a sentence. Nothing that a guest
//! sends ends the program; SIGTERM does.

#![forbid(unsafe_code)]

mod command;
mod connection;
mod device;
mod dial;
mod pattern;
mod server;
mod services;
mod statistics;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use device::Device;
use server::{Listeners, Server};
use services::BitFlip;
use statistics::Statistics;

/// The programs on the host that a guest talks to over vsock.
///
/// Prints `ready` when all ports listen, and ends on SIGTERM.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Host socket of the vhost-user vsock device; port P of the host is SOCKET_P.
    #[arg(long, value_name = "SOCKET")]
    socket: PathBuf,

    /// File for one line of JSON for each connection, written when it ends.
    #[arg(long, value_name = "FILE")]
    stats: PathBuf,

    /// Process of the device, which `pause` stops.
    #[arg(long, value_name = "PID")]
    device_pid: Option<u32>,

    /// Flip a bit of the N-th byte (from 1) that port 9998 echoes, so that a comparison fails.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    flip_byte: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // Taken before anything is announced, so that an early SIGTERM also ends in order.
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("cannot wait for signals")?;
    let statistics = Statistics::create(&options.stats)
        .with_context(|| format!("cannot create {}", options.stats.display()))?;
    let listeners = Listeners::bind(&options.socket)?;
    listeners
        .accept(&Arc::new(Server {
            socket: options.socket,
            statistics: Arc::clone(&statistics),
            flip: options.flip_byte.map(BitFlip::new),
            device: options.device_pid.map(Device::new),
        }))
        .context("cannot start to accept")?;

    writeln!(io::stdout(), "ready")
        .context("cannot tell on the standard output that all listen")?;

    signals.forever().next();
    statistics
        .close()
        .with_context(|| format!("{} is not complete", options.stats.display()))
}

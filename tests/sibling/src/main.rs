// SPDX-License-Identifier: GPL-2.0

//! A vhost-user vsock device between guests, its siblings: what one of them sends to the CID of
//! another is put into that one's receive buffers ([`switch`]).
//!
//! The credit is end to end, between the drivers: no packet is made up, merged or changed, but that
//! one which is longer than a receive buffer comes in parts ([`parcel`]), and that a packet to
//! nobody is answered with a reset. There is no host behind the device: CID 2 is nobody's.

#![forbid(unsafe_code)]

mod device;
mod packed;
mod parcel;
mod rings;
mod switch;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, Context, Result};
use clap::Parser;
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use vm_memory::GuestMemoryMmap;

use device::{Device, Offer};
use rings::{Memory, Rings};
use switch::Switch;

/// How often it is looked whether a driver has left its queues, of which nothing tells.
const LOOK: Duration = Duration::from_millis(100);

/// A vhost-user vsock device between guests.
///
/// Prints `ready` when all sockets can be connected to, a line for each virtual machine that comes
/// and goes, and with the latter what has become of all packets. A virtual machine may come again.
/// Ends when all of them have come and the last has gone.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// A guest: where the device listens for its virtual machine, and its CID.
    #[arg(long = "guest", value_name = "SOCKET,CID", required = true)]
    guests: Vec<Wanted>,
    #[command(flatten)]
    offer: Offer,
}

/// A guest that is asked for on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    socket: PathBuf,
    cid: u64,
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (socket, cid) = text.rsplit_once(',').context("a guest is SOCKET,CID")?;
        Ok(Wanted {
            socket: socket.into(),
            cid: cid.parse().context("a CID is a number")?,
        })
    }
}

/// What the switch is told.
pub enum Signal {
    /// There may be something in some queue, or a driver has begun or ended.
    Look,
    /// A virtual machine has come to the guest of this CID, with these queues.
    Came(u64, Arc<Rings>),
    /// It has gone.
    Gone(u64),
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (tell, signals) = mpsc::channel();
    let switch = Switch::new(options.guests.iter().map(|guest| guest.cid));
    let guests = options.guests.len();
    let offer = options.offer;
    for Wanted { socket, cid } in options.guests {
        let listener = listen(&socket)?;
        let tell = tell.clone();
        thread::spawn(move || {
            let ended = serve(listener, &socket, cid, offer, &tell);
            log(format_args!("guest {cid} can come no more: {ended:?}"));
        });
    }
    log(format_args!("ready"));
    Service {
        switch,
        guests,
        known: BTreeSet::new(),
        there: BTreeSet::new(),
    }
    .run(&signals);
    Ok(())
}

fn listen(socket: &Path) -> Result<Listener> {
    Listener::new(socket, true)
        .map_err(|error| anyhow!("cannot listen on {}: {error}", socket.display()))
}

/// Is the device of one virtual machine after the other.
fn serve(
    mut listener: Listener,
    socket: &Path,
    cid: u64,
    offer: Offer,
    tell: &Sender<Signal>,
) -> Result<()> {
    loop {
        let memory = Memory::new(GuestMemoryMmap::new());
        let rings = Arc::new(Rings::new(memory.clone()));
        let device = Arc::new(Device::new(cid, offer, Arc::clone(&rings), tell.clone()));
        let mut daemon = VhostUserDaemon::new("vsock".to_owned(), device, memory)
            .map_err(|error| anyhow!("{error}"))?;
        daemon.start(listener).map_err(|error| anyhow!("{error}"))?;
        tell.send(Signal::Came(cid, rings))?;
        // The virtual machine ends by closing the connection, which is no failure.
        let _ = daemon.wait();
        listener = listen(socket)?;
        tell.send(Signal::Gone(cid))?;
    }
}

/// The switch, and who is there.
struct Service {
    switch: Switch<Rings>,
    /// How many guests there can be.
    guests: usize,
    /// Who has ever come.
    known: BTreeSet<u64>,
    /// Who is there.
    there: BTreeSet<u64>,
}

impl Service {
    /// Passes packets on until it is over.
    fn run(&mut self, signals: &Receiver<Signal>) {
        while self.known.len() < self.guests || !self.there.is_empty() {
            match signals.recv_timeout(LOOK) {
                Ok(signal) => self.hear(signal),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            loop {
                while let Ok(signal) = signals.try_recv() {
                    self.hear(signal);
                }
                if !self.switch.turn() {
                    break;
                }
            }
        }
    }

    fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Look => {}
            Signal::Came(cid, rings) => {
                self.switch.came(cid, rings);
                self.known.insert(cid);
                self.there.insert(cid);
                log(format_args!("guest {cid} has come"));
            }
            Signal::Gone(cid) => {
                self.switch.gone(cid);
                self.there.remove(&cid);
                log(format_args!("guest {cid} has gone\n{}", self.switch));
            }
        }
    }
}

/// Writes a line to the log.
fn log(line: fmt::Arguments<'_>) {
    // Without a log the packets are the same.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_of_the_command_line() -> Result<()> {
        let guest: Wanted = "/tmp/a,b.sock,4".parse()?;
        assert_eq!((guest.socket, guest.cid), ("/tmp/a,b.sock".into(), 4));
        assert!("/tmp/a.sock".parse::<Wanted>().is_err());
        assert!("/tmp/a.sock,host".parse::<Wanted>().is_err());
        Ok(())
    }
}

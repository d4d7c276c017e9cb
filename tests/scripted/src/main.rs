// SPDX-License-Identifier: GPL-2.0

//! A vhost-user vsock device that plays scenarios to a guest, packet by packet.
//!
//! A scenario ([`parse`] tells how it is written) says what the guest sends and what it is sent,
//! with lies where a test wants them. A program of the guest asks for one by its name, on a
//! connection to port 9000 of the host ([`live`]), does its part, and asks what has come of it: the
//! scenario passes if the guest has sent what it says and nothing else. Connections to the services
//! go on beside it. In the same way it asks for a run of the fuzzer ([`fuzz`]).

#![forbid(unsafe_code)]

mod device;
mod fuzz;
mod live;
mod parse;
mod rings;
mod scenario;
mod stage;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{mpsc, Arc};
use std::thread;

use anyhow::{anyhow, Context, Result};
use clap::Parser;
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use vm_memory::GuestMemoryMmap;

use device::{Device, Wanted};
use parse::Scenarios;
use rings::{Memory, Rings};
use stage::Stage;

/// A vhost-user vsock device that plays scenarios to a guest, packet by packet.
///
/// Prints `ready` when all devices can be connected to, and then what they send and are sent. Ends
/// with the virtual machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Directory whose files FILE.scenario have the scenarios.
    #[arg(long, value_name = "DIRECTORY")]
    scenarios: PathBuf,

    /// A device: where it listens for the virtual machine, the features of its own that it offers
    /// (stream, seqpacket, no-implied-stream), those of its rings (event-idx, indirect), all of them
    /// unless said, and the guest's CID (3).
    #[arg(
        long = "device",
        value_name = "SOCKET[,features=A+B][,rings=A+B][,cid=N]",
        required = true
    )]
    devices: Vec<Wanted>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let scenarios = Arc::new(parse::read_directory(&options.scenarios)?);
    let mut ends = Vec::new();
    for wanted in options.devices {
        let listener = Listener::new(&wanted.socket, true)
            .map_err(|error| anyhow!("cannot listen on {}: {error}", wanted.socket.display()))?;
        let scenarios = Arc::clone(&scenarios);
        ends.push(thread::spawn(move || serve(listener, &wanted, scenarios)));
    }
    writeln!(io::stdout(), "ready").context("cannot tell that all is ready")?;
    for end in ends {
        end.join().map_err(|_| anyhow!("a device has failed"))??;
    }
    Ok(())
}

/// Is one device until its virtual machine has ended.
fn serve(listener: Listener, wanted: &Wanted, scenarios: Arc<Scenarios>) -> Result<()> {
    let memory = Memory::new(GuestMemoryMmap::new());
    let rings = Arc::new(Rings::new(memory.clone()));
    let cid = Arc::new(AtomicU64::new(wanted.cid));
    let (tell, signals) = mpsc::channel();
    let device = Device::new(
        wanted.features | wanted.rings,
        Arc::clone(&cid),
        Arc::clone(&rings),
        tell,
    );
    let mut daemon = VhostUserDaemon::new("vsock".to_owned(), Arc::new(device), memory)
        .map_err(|error| anyhow!("{error}"))?;
    daemon.start(listener).map_err(|error| anyhow!("{error}"))?;
    thread::spawn(move || {
        let ended = Stage::new(rings, cid, signals, scenarios).run();
        // It is over with the virtual machine.
        let _ = writeln!(io::stdout(), "ended: {ended:?}");
    });
    // The virtual machine ends by closing the connection, which is no failure.
    let _ = daemon.wait();
    Ok(())
}

// SPDX-License-Identifier: GPL-2.0

//! The device as the virtual machine sees it: features, configuration space, notifications.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::Arc;

use anyhow::{bail, Context, Result};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringRwLock};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmm_sys_util::epoll::EventSet;

use crate::rings::{self, Memory, Rings};

/// The largest size of a queue.
const QUEUE_SIZE: usize = 1024;

/// The CID that the guest has unless said otherwise.
const GUEST_CID: u64 = 3;

/// Features of the socket device by their names; source: virtio specification, 5.10.3.
const FEATURES: [(&str, u64); 3] = [("stream", 0), ("seqpacket", 1), ("no-implied-stream", 2)];

/// Features of every device that change how its rings are used.
const RING_FEATURES: [(&str, u64); 2] = [
    ("event-idx", VIRTIO_RING_F_EVENT_IDX as u64),
    ("indirect", VIRTIO_RING_F_INDIRECT_DESC as u64),
];

/// All of these features, as bits.
fn all(known: &[(&str, u64)]) -> u64 {
    known.iter().fold(0, |bits, (_, bit)| bits | (1 << bit))
}

/// Those with these names.
fn named(names: &str, known: &[(&str, u64)]) -> Result<u64> {
    let mut bits = 0;
    for name in names.split('+').filter(|name| !name.is_empty()) {
        let found = known.iter().find(|(other, _)| *other == name);
        let (_, bit) = found.with_context(|| format!("there is no feature '{name}'"))?;
        bits |= 1 << bit;
    }
    Ok(bits)
}

/// A device that is asked for on the command line: `SOCKET[,features=A+B][,rings=A+B][,cid=N]`.
/// Without them it offers all; `features=` and `rings=` offer none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it listens for the virtual machine.
    pub socket: PathBuf,
    /// The bits of its own features.
    pub features: u64,
    /// Those of its rings.
    pub rings: u64,
    /// What stands in its configuration space.
    pub cid: u64,
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        let mut wanted = Wanted {
            socket: parts.next().unwrap_or_default().into(),
            features: all(&FEATURES),
            rings: all(&RING_FEATURES),
            cid: GUEST_CID,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("features", names)) => wanted.features = named(names, &FEATURES)?,
                Some(("rings", names)) => wanted.rings = named(names, &RING_FEATURES)?,
                Some(("cid", cid)) => wanted.cid = cid.parse().context("a CID is a number")?,
                _ => bail!("'{part}' is none of features=…, rings=… and cid=…"),
            }
        }
        Ok(wanted)
    }
}

/// What the device tells the thread that plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// There may be something in the queues.
    Kick,
    /// A driver begins with the device anew: what was before is over.
    Reset,
}

/// The part of the device that the virtual machine talks to.
pub struct Device {
    features: u64,
    cid: Arc<AtomicU64>,
    rings: Arc<Rings>,
    signals: Sender<Signal>,
}

impl Device {
    /// A device with these features, and what it shares with the thread that plays.
    pub fn new(
        features: u64,
        cid: Arc<AtomicU64>,
        rings: Arc<Rings>,
        signals: Sender<Signal>,
    ) -> Self {
        Device {
            features,
            cid,
            rings,
            signals,
        }
    }

    fn tell(&self, signal: Signal) {
        // Nobody hears it when the program ends.
        let _ = self.signals.send(signal);
    }
}

impl VhostUserBackend for Device {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        rings::COUNT
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        self.features
            | (1 << VIRTIO_F_VERSION_1)
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG
    }

    fn acked_features(&self, _features: u64) {
        self.tell(Signal::Reset);
    }

    fn reset_device(&self) {
        self.tell(Signal::Reset);
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let cid = self.cid.load(Ordering::SeqCst).to_le_bytes();
        let offset = offset as usize;
        // Nothing says that this much is not there.
        cid.get(offset..offset.saturating_add(size as usize))
            .unwrap_or_default()
            .to_vec()
    }

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        Ok(())
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        vec![(1 << rings::COUNT) - 1]
    }

    fn handle_event(
        &self,
        queue: u16,
        _events: EventSet,
        vrings: &[VringRwLock],
        _thread: usize,
    ) -> io::Result<()> {
        self.rings.set_up(vrings);
        self.rings.kicked(queue.into());
        self.tell(Signal::Kick);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_the_command_line() -> Result<()> {
        let plain: Wanted = "/a.sock".parse()?;
        assert_eq!((plain.features, plain.cid), (7, 3));
        assert_eq!(plain.rings, (1 << 28) | (1 << 29));
        let bare: Wanted = "/a.sock,rings=".parse()?;
        assert_eq!((bare.features, bare.rings), (7, 0));
        let other: Wanted = "a,features=seqpacket+no-implied-stream,cid=4294967299".parse()?;
        assert_eq!((other.features, other.cid), (6, 4_294_967_299));
        let none: Wanted = "a,features=".parse()?;
        assert_eq!(none.features, 0);
        assert!("a,features=dgram".parse::<Wanted>().is_err());
        assert!("a,port=1".parse::<Wanted>().is_err());
        Ok(())
    }
}

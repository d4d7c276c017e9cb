// SPDX-License-Identifier: GPL-2.0

//! The device as one virtual machine sees it: features, configuration space, notifications.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::Arc;

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringRwLock};
use virtio_bindings::virtio_config::{
    VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use crate::rings::{self, Memory, Rings};
use crate::Signal;

/// The largest size of a queue.
const QUEUE_SIZE: usize = 1024;

/// Features of the socket device; source: virtio specification, 5.10.3.
const STREAM: u64 = 0;
const SEQPACKET: u64 = 1;

/// What a device offers beyond what all do.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Offer {
    /// Offer VIRTIO_F_ACCESS_PLATFORM: guests reach it only by what their platform lets devices see.
    #[arg(long)]
    pub platform: bool,
    /// Offer VIRTIO_F_RING_PACKED.
    #[arg(long)]
    pub packed: bool,
}

/// The part of the device that one virtual machine talks to.
pub struct Device {
    cid: u64,
    offer: Offer,
    rings: Arc<Rings>,
    signals: Sender<Signal>,
}

impl Device {
    /// A device that gives its guest this CID, with what it shares with the switch.
    pub fn new(cid: u64, offer: Offer, rings: Arc<Rings>, signals: Sender<Signal>) -> Self {
        Device {
            cid,
            offer,
            rings,
            signals,
        }
    }

    fn look(&self) {
        // Nobody hears it when the program ends.
        let _ = self.signals.send(Signal::Look);
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
        (1 << STREAM)
            | (1 << SEQPACKET)
            | (1 << VIRTIO_RING_F_EVENT_IDX)
            | (1 << VIRTIO_RING_F_INDIRECT_DESC)
            | (1 << VIRTIO_F_VERSION_1)
            | (u64::from(self.offer.platform) << VIRTIO_F_ACCESS_PLATFORM)
            | (u64::from(self.offer.packed) << VIRTIO_F_RING_PACKED)
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        let mut features = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG;
        if self.offer.platform {
            // The virtual machine wants to be able to tell what the platform lets the device see. By
            // itself, without a unit that translates addresses, it does not.
            features |=
                VhostUserProtocolFeatures::REPLY_ACK | VhostUserProtocolFeatures::BACKEND_REQ;
        }
        features
    }

    fn acked_features(&self, features: u64) {
        self.rings
            .begin(features & (1 << VIRTIO_F_RING_PACKED) != 0);
        self.look();
    }

    fn reset_device(&self) {
        self.rings.begin(false);
        self.look();
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let cid = self.cid.to_le_bytes();
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

    fn exit_event(&self, _thread: usize) -> Option<EventFd> {
        // Without one its thread would outlive the virtual machine, and be waited for.
        EventFd::new(0).ok()
    }

    fn handle_event(
        &self,
        _queue: u16,
        _events: EventSet,
        vrings: &[VringRwLock],
        _thread: usize,
    ) -> io::Result<()> {
        self.rings.set_up(vrings);
        self.look();
        Ok(())
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The event queue.
//!
//! Source: virtio specification, 5.10.6.7.

use super::{
    counters::Count,
    Device,
    EVENT_WORK, //
};
use crate::protocol::{
    event::{
        Event,
        EVENT_LEN, //
    },
    reason::DropReason, //
};
use crate::transport::Receiver;
use crate::virtio::{
    work,
    SmallBuffer,
    Used, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Full,
            Relaxed, //
        },
        Arc, //
    },
};

/// Events that one run handles before other work has a turn.
const BUDGET: usize = 64;

/// How many resets of one device are written to the log.
const LOGGED_RESETS: u32 = 16;

/// How many event buffers the device is given.
const BUFFERS: usize = 8;

/// Gives the device its event buffers. Process context.
pub(super) fn fill<R: Receiver>(this: &Device<R>) -> Result {
    let mut queue = this.event.lock();
    for _ in 0..BUFFERS.min(queue.free_slots()) {
        let buffer = SmallBuffer::new(GFP_ATOMIC)?;
        queue.add_in(buffer).map_err(|(error, _)| error)?;
    }
    let kick = queue.kick_prepare();
    drop(queue);
    kick.notify();
    Ok(())
}

/// Handles events. Process context.
pub(super) fn run<R: Receiver>(this: &Arc<Device<R>>) {
    if this.is_gone() {
        // It broke its queues: what waits for it would wait for ever.
        this.discard_unsent();
        this.receiver.transport_reset(this);
        return;
    }
    for _ in 0..BUDGET {
        let used = {
            let mut queue = this.event.lock();
            match queue.take() {
                Some(used) => used,
                None if queue.is_broken() => {
                    drop(queue);
                    Device::fail(this);
                    return;
                }
                None if queue.enable_callbacks() => return,
                None => continue,
            }
        };
        let buffer = event(this, used);
        let kick = {
            let mut queue = this.event.lock();
            // It fails only for a device that is gone: there was room for the one that came out.
            let _ = queue.add_in(buffer);
            queue.kick_prepare()
        };
        kick.notify();
    }
    // An error says that it is scheduled already.
    let _ = work::system_dfl().enqueue::<_, EVENT_WORK>(this.clone());
}

/// Handles one event. Gives its buffer back.
fn event<R: Receiver>(
    this: &Arc<Device<R>>,
    used: Used<SmallBuffer<EVENT_LEN>>,
) -> SmallBuffer<EVENT_LEN> {
    // A length that cannot be true is none.
    let written = if used.overlong { 0 } else { used.written };
    match Event::parse(used.buffer.read(), written) {
        Event::TransportReset => transport_reset(this),
        Event::Unknown => this.counters.count(Count::UnknownEvent),
        Event::Malformed => {
            this.counters.count(Count::MalformedEvent);
            this.receiver.count_drop(DropReason::ShortHeader);
        }
    }
    used.buffer
}

/// The device lost its connections, and may have given the guest another CID. With a reserved one
/// the guest keeps the one that it had: what is sent from that is for the device to refuse.
fn transport_reset<R: Receiver>(this: &Arc<Device<R>>) {
    this.counters.count(Count::TransportReset);
    // A host may raise any number of them.
    let may_log = this.resets.fetch_add(1, Full) < LOGGED_RESETS;
    match this.read_cid() {
        Ok(cid) => {
            this.cid.store(cid.0, Relaxed);
            if may_log {
                pr_info!("transport reset, guest CID {}\n", cid.0);
            }
        }
        Err(_) => {
            this.counters.count(Count::ReservedCid);
            if may_log {
                pr_err!("the device offers a reserved CID; the old one is kept\n");
            }
        }
    }
    this.forget_resets();
    this.receiver.transport_reset(this);
}

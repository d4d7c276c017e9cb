// SPDX-License-Identifier: GPL-2.0

//! The receive queue: from the device's buffers to the floor above.

use super::{
    Device,
    RECEIVE_WORK,
    REFILL_WORK, //
};
use crate::net::receive_buffer::ReceiveBuffer;
use crate::protocol::{
    address::Cid,
    packet::{
        Header,
        HEADER_LEN, //
    },
    reason::DropReason, //
};
use crate::transport::{
    Incoming,
    Receiver, //
};
use crate::virtio::{
    work,
    Used, //
};
use kernel::{
    alloc::Flags,
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies,
    workqueue, //
};

/// Packets that one run handles before others have a turn on this CPU.
const BUDGET: usize = 256;

/// Order of the pages of a receive buffer: 4 KiB, header included.
const BUFFER_ORDER: u32 = 0;

/// How long to wait for memory before the queue is refilled by other means.
const REFILL_DELAY_MS: u32 = 10;

/// Handles what the device has received. BH.
pub(super) fn run<R: Receiver>(this: Arc<Device<R>>) {
    let mut kept = 0;
    this.receive.lock().disable_callbacks();
    for _ in 0..BUDGET {
        let Some(used) = next(&this) else {
            finish(&this, kept);
            return;
        };
        match packet(&this, used) {
            Some(buffer) => give_back(&this, buffer),
            None => {
                kept += 1;
                if let Ok(buffer) = ReceiveBuffer::new(BUFFER_ORDER, GFP_NOWAIT) {
                    give_back(&this, buffer);
                }
            }
        }
    }
    finish(&this, kept);
    if !this.is_gone() {
        // An error says that it is scheduled already.
        let _ = workqueue::system_bh().enqueue::<_, RECEIVE_WORK>(this);
    }
}

/// The next buffer that the device has used. When there is none, callbacks are on again.
fn next<R: Receiver>(this: &Arc<Device<R>>) -> Option<Used<ReceiveBuffer>> {
    let mut queue = this.receive.lock();
    loop {
        if let Some(used) = queue.take() {
            return Some(used);
        }
        if queue.is_broken() {
            drop(queue);
            Device::fail(this);
            return None;
        }
        if queue.enable_callbacks() {
            return None;
        }
    }
}

/// Handles one packet. Gives the buffer back unless its payload has taken it.
fn packet<R: Receiver>(this: &Arc<Device<R>>, used: Used<ReceiveBuffer>) -> Option<ReceiveBuffer> {
    let buffer = used.buffer;
    if used.overlong {
        this.receiver.count_drop(DropReason::Overlong);
        return Some(buffer);
    }
    // Copied once: what the device changes afterwards is not looked at.
    let mut bytes = [0; HEADER_LEN];
    if buffer.read(0, &mut bytes).is_err() {
        this.receiver.count_drop(DropReason::ShortHeader);
        return Some(buffer);
    }
    let header = match Header::parse(&bytes, used.written) {
        Ok(header) => header,
        Err(invalid) => {
            this.receiver.count_drop(invalid.reason);
            if let Some(reset) = invalid.answer {
                this.send_reset(reset);
            }
            return Some(buffer);
        }
    };
    let source = header.flow.peer.cid;
    let is_foreign = !matches!(source, Cid::HYPERVISOR | Cid::LOCAL | Cid::ANY);
    if header.flow.local.cid != this.cid() || source == this.cid() || !is_foreign {
        this.receiver.count_drop(DropReason::Address);
        return Some(buffer);
    }
    let mut payload = Incoming::new(buffer, header.len as usize);
    if let Some(reset) = this.receiver.receive(this, &header, &mut payload) {
        this.send_reset(reset);
    }
    payload.into_buffer()
}

/// Gives one buffer to the device.
fn give_back<R: Receiver>(this: &Device<R>, buffer: ReceiveBuffer) {
    // It fails only for a device that is gone: there was room for the one that came out.
    let _ = this.receive.lock().add_in(buffer);
}

/// After a run: tells the device of new buffers, and looks for memory if too few are left.
fn finish<R: Receiver>(this: &Arc<Device<R>>, kept: usize) {
    let (kick, few) = {
        let mut queue = this.receive.lock();
        let few = queue.free_slots() > this.receive.capacity() / 4 * 3;
        (queue.kick_prepare(), few)
    };
    kick.notify();
    if kept > 0 {
        refill(this, GFP_NOWAIT);
    }
    if few && !this.is_gone() {
        let delay = msecs_to_jiffies(REFILL_DELAY_MS);
        // An error says that it is scheduled already.
        let _ = work::system_dfl().enqueue_delayed::<_, REFILL_WORK>(this.clone(), delay);
    }
}

/// Fills the queue as far as memory goes. `flags` say in which context.
pub(super) fn refill<R: Receiver>(this: &Device<R>, flags: Flags) {
    loop {
        if this.receive.lock().free_slots() == 0 {
            break;
        }
        let Ok(buffer) = ReceiveBuffer::new(BUFFER_ORDER, flags) else {
            break;
        };
        if this.receive.lock().add_in(buffer).is_err() {
            break;
        }
    }
    let kick = this.receive.lock().kick_prepare();
    kick.notify();
}

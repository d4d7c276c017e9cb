// SPDX-License-Identifier: GPL-2.0

//! The receive queue: from the device's buffers to the floor above.

use super::{
    counters::Count,
    Device,
    RECEIVE_WORK, //
};
use crate::net::receive_buffer::ReceiveBuffer;
use crate::protocol::{
    address::Flow,
    packet::{
        Header,
        HeaderBytes,
        HEADER_LEN, //
    },
    reason::DropReason, //
};
use crate::transport::{
    Incoming,
    Receiver, //
};
use crate::virtio::{
    QueueGuard,
    Used, //
};
use kernel::{
    alloc::Flags,
    prelude::*,
    sync::Arc,
    workqueue, //
};

/// Packets that one run handles before others have a turn on this CPU.
const BUDGET: usize = 256;

/// Order of the pages of a receive buffer: 4 KiB, header included.
const BUFFER_ORDER: u32 = 0;

/// Handles what the device has received. BH.
pub(super) fn run<R: Receiver>(this: Arc<Device<R>>) {
    let mut kept = 0;
    this.receive.lock().disable_callbacks();
    for _ in 0..BUDGET {
        if this.is_gone() {
            return;
        }
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
            // What was not for this guest is not answered in its name.
            if let Some((flow, reset)) = invalid.answer {
                if flow.is_between(this.cid()) {
                    refuse(this, flow, reset);
                }
            }
            return Some(buffer);
        }
    };
    if !header.flow.is_between(this.cid()) {
        this.receiver.count_drop(DropReason::Address);
        return Some(buffer);
    }
    this.counters.received(header.operation, header.len);
    let mut payload = Incoming::from_device(buffer, header.len as usize);
    if let Some(reset) = this.receiver.receive(this, &header, &mut payload) {
        refuse(this, header.flow, reset);
    }
    payload.into_device_buffer()
}

/// Answers a packet that belongs to no connection of this guest, with a reset.
fn refuse<R: Receiver>(this: &Arc<Device<R>>, flow: Flow, reset: HeaderBytes) {
    this.counters.count(Count::Refused);
    this.send_reset(flow, reset);
}

/// Gives one buffer to the device. Where that fails the buffer is dropped: a refill has taken its
/// place, or one is due for want of memory, or the device is gone.
fn give_back<R: Receiver>(this: &Device<R>, buffer: ReceiveBuffer) {
    let rejected = this.receive.lock().add_in(buffer);
    drop(rejected);
}

/// Whether less than a quarter of the queue is filled.
fn is_low<R: Receiver>(this: &Device<R>, queue: &QueueGuard<'_, ReceiveBuffer, ()>) -> bool {
    queue.free_slots() > this.receive.capacity() / 4 * 3
}

/// After a run: tells the device of new buffers, and looks for memory if some are missing.
fn finish<R: Receiver>(this: &Arc<Device<R>>, kept: usize) {
    let (kick, few) = {
        let mut queue = this.receive.lock();
        (queue.kick_prepare(), is_low(this, &queue))
    };
    kick.notify();
    if kept > 0 || few {
        refill(this, GFP_NOWAIT);
    }
}

/// Fills the queue as far as memory goes. `flags` say in which context. While the queue is nearly
/// empty it is tried again and again: with no buffer no interrupt would come to do so.
pub(super) fn refill<R: Receiver>(this: &Arc<Device<R>>, flags: Flags) {
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
    let (kick, few) = {
        let mut queue = this.receive.lock();
        (queue.kick_prepare(), is_low(this, &queue))
    };
    kick.notify();
    if few {
        this.retry_later();
    }
}

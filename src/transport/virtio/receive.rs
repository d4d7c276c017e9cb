// SPDX-License-Identifier: GPL-2.0

//! The receive queue: from the device's buffers to the floor above.

use super::{
    counters::Count,
    Device,
    BUDGET,
    RECEIVE_WORK, //
};
use crate::net::receive_buffer::ReceiveBuffer;
use crate::protocol::{
    address::Flow,
    buffer_size::BufferSize,
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

/// Handles what the device has received. BH.
pub(super) fn run<R: Receiver>(this: Arc<Device<R>>) {
    let mut missing = 0;
    this.receive.lock().disable_callbacks();
    for _ in 0..BUDGET {
        if this.is_gone() {
            return;
        }
        let Some(used) = next(&this) else {
            finish(&this, missing);
            return;
        };
        let returned = packet(&this, used).is_some_and(|buffer| give_back(&this, buffer));
        if !returned {
            missing += 1;
            add_new(&this, GFP_NOWAIT);
        }
    }
    finish(&this, missing);
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
            let size = used.buffer.size();
            queue.bytes = queue.bytes.saturating_sub(size);
            queue.size.arrived(used.written, size);
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

/// The buffers that the device has, behind the queue's lock.
#[derive(Default)]
pub(super) struct Buffers {
    /// Bytes of all of them.
    bytes: usize,
    /// Bytes of those that were added since the device was last told of any.
    unannounced: usize,
    /// How large the next ones are to be.
    size: BufferSize,
}

impl Buffers {
    /// Bytes of all of them and of one more of that size, where they may be so many.
    fn with(&self, size: usize) -> Option<usize> {
        self.bytes
            .checked_add(size)
            .filter(|bytes| *bytes <= BufferSize::LIMIT)
    }

    /// Whether the device is to be told of new ones.
    ///
    /// A device asks for it when it has used all, and some, with each one. Telling leaves the guest,
    /// so it is done for many at once. Once a device has used all, those that are here are all new,
    /// so that it cannot wait for ever.
    fn are_to_be_announced(&self) -> bool {
        self.unannounced >= self.bytes / 2
    }
}

type Guard<'a> = QueueGuard<'a, ReceiveBuffer, Buffers>;

impl<R: Receiver> Device<R> {
    /// How many bytes of receive buffers the device has, and the size of new ones. Process context
    /// or BH.
    pub(super) fn receive_buffers(&self) -> (usize, usize) {
        let queue = self.receive.lock();
        (queue.bytes, BufferSize::bytes(queue.size.order()))
    }
}

/// Gives a buffer back to the device, from which nobody has taken the payload. Returns false for one
/// that was dropped: it is larger than they are to be now, or the device is gone.
///
/// Its header goes first. There are devices that use a buffer without writing to it (vhost-device-vsock
/// does, for a connection that ended before its turn came), and what the buffer held would come again.
fn give_back<R: Receiver>(this: &Device<R>, mut buffer: ReceiveBuffer) -> bool {
    if buffer.blank::<HEADER_LEN>().is_err() {
        return false;
    }
    let rejected = {
        let mut queue = this.receive.lock();
        if buffer.size() > BufferSize::bytes(queue.size.order()) {
            Some(buffer)
        } else {
            add(&mut queue, buffer)
        }
    };
    rejected.is_none()
}

/// Gives the device a buffer. Where that fails it comes back: a refill has taken its place, or one
/// is due for want of memory, or the device is gone.
fn add(queue: &mut Guard<'_>, buffer: ReceiveBuffer) -> Option<ReceiveBuffer> {
    let buffer_size = buffer.size();
    let Some(bytes) = queue.with(buffer_size) else {
        return Some(buffer);
    };
    match queue.add_in(buffer) {
        Ok(()) => {
            queue.unannounced = queue.unannounced.saturating_add(buffer_size);
            queue.bytes = bytes;
            None
        }
        Err((_, buffer)) => Some(buffer),
    }
}

/// Gives the device a new buffer, if there is room and memory. `flags` say in which context. Whether
/// there is room is asked first, so that no memory is looked for in vain; it is [`add`] that holds
/// the bound, since the retry's work and a run may both be here.
fn add_new<R: Receiver>(this: &Device<R>, flags: Flags) -> bool {
    let order = {
        let queue = this.receive.lock();
        let order = queue.size.order();
        if queue.free_slots() == 0 || queue.with(BufferSize::bytes(order)).is_none() {
            return false;
        }
        order
    };
    let Some(buffer) = allocate(order, flags) else {
        return false;
    };
    let rejected = add(&mut this.receive.lock(), buffer);
    rejected.is_none()
}

/// A buffer of that order, or the largest that there is memory for without looking hard.
fn allocate(order: u32, flags: Flags) -> Option<ReceiveBuffer> {
    let large = |order| ReceiveBuffer::new(order, GFP_NOWAIT).ok();
    (1..=order)
        .rev()
        .find_map(large)
        .or_else(|| ReceiveBuffer::new(0, flags).ok())
}

/// Tells the device of new buffers, when there are many. Returns whether it has too few.
fn announce<R: Receiver>(this: &Device<R>) -> bool {
    let (kick, few) = {
        let mut queue = this.receive.lock();
        let few = queue.bytes < BufferSize::low(this.receive.capacity());
        let kick = queue.are_to_be_announced().then(|| {
            queue.unannounced = 0;
            queue.kick_prepare()
        });
        (kick, few)
    };
    if let Some(kick) = kick {
        kick.notify();
    }
    few
}

/// After a run: looks for memory if buffers are missing, and tells the device of new ones.
fn finish<R: Receiver>(this: &Arc<Device<R>>, missing: usize) {
    if missing > 0 || announce(this) {
        refill(this, GFP_NOWAIT);
    }
}

/// Fills the queue as far as memory goes. `flags` say in which context. While the queue is nearly
/// empty it is tried again and again: with no buffer no interrupt would come to do so.
pub(super) fn refill<R: Receiver>(this: &Arc<Device<R>>, flags: Flags) {
    while add_new(this, flags) {}
    if announce(this) {
        this.retry_later();
    }
}

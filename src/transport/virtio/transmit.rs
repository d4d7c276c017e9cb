// SPDX-License-Identifier: GPL-2.0

//! The transmit queue.
//!
//! A packet goes straight into the queue, from whoever sends it. Where the queue is full, packets
//! wait in order. Two kinds do not: a credit update is owed by its connection and made when there
//! is room, and a reset for nobody waits in a ring of its own, which may forget.

use super::{
    Device,
    TRANSMIT_WORK, //
};
use crate::net::{
    skb::SkBuff,
    skb_queue::SkBuffQueue,
    sock::{
        Protocol,
        Sock, //
    },
    sock_queue::SockQueue, //
};
use crate::protocol::packet::{
    Header,
    HeaderBytes,
    HEADER_LEN, //
};
use crate::transport::{
    unsent::Unsent,
    Receiver, //
};
use crate::virtio::QueueGuard;
use kernel::{
    alloc::flags::__GFP_NOWARN,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Relaxed,
            Release, //
        },
        Arc, //
    },
    workqueue, //
};

/// The place of a socket in a queue that is this one's: the other one is its listener's.
const OWING: usize = 1;

/// What waits for room, behind the queue's lock.
pub(super) struct Transmit<P: Protocol> {
    /// Packets in the order in which they were sent.
    pending: SkBuffQueue,
    /// Headers without memory to send them in, and resets that belong to no connection.
    unsent: Unsent,
    /// Connections that owe a credit update.
    owing: SockQueue<P, OWING>,
}

impl<P: Protocol> Transmit<P> {
    pub(super) fn new() -> Self {
        Transmit {
            pending: SkBuffQueue::new(),
            unsent: Unsent::new(),
            owing: SockQueue::new(),
        }
    }
}

type Guard<'a, R> = QueueGuard<'a, SkBuff, Transmit<<R as Receiver>::Protocol>>;

impl<R: Receiver> Device<R> {
    /// The largest payload of a packet, in bytes: what can be had in one piece. More than one
    /// piece is more than some devices take.
    pub(crate) const LARGEST_PAYLOAD: usize = 32 * 1024;

    /// Sends a packet without payload. Process context or BH.
    pub(crate) fn send_control(self: &Arc<Self>, header: &Header) {
        let header = header.encode();
        match control(&header) {
            Ok(packet) => self.enqueue(packet),
            Err(_) => self.leave_unsent(header),
        }
    }

    /// Sends a packet with payload, for which there must be headroom. Process context or BH.
    pub(crate) fn send(self: &Arc<Self>, header: &Header, mut packet: SkBuff) {
        if packet.push_header(&header.encode()).is_ok() {
            self.enqueue(packet);
        }
    }

    /// Answers a packet that belongs to no connection. Many of them may not all be sent. BH.
    pub(super) fn send_reset(self: &Arc<Self>, reset: HeaderBytes) {
        let packet = if self.is_congested() {
            None
        } else {
            control(&reset).ok()
        };
        match packet {
            Some(packet) => self.enqueue(packet),
            None => self.leave_unsent(reset),
        }
    }

    /// Whether packets wait for room.
    pub(crate) fn is_congested(&self) -> bool {
        self.congested.load(Relaxed)
    }

    /// Remembers that the connection of `sock` owes a credit update, if packets wait for room.
    /// When there is room, [`Receiver::pay_credit`] is called. Returns whether it is remembered.
    /// Process context or BH.
    pub(crate) fn owe_credit(&self, sock: ARef<Sock<R::Protocol>>) -> bool {
        let mut queue = self.transmit.lock();
        if queue.pending.is_empty() {
            // Nothing would come to an end that lets it be paid.
            return false;
        }
        // An error says that it is remembered already; the reference is given up without the lock.
        let already = queue.owing.push(sock);
        drop(queue);
        drop(already);
        true
    }

    /// Leaves a header to be sent after what is under way.
    fn leave_unsent(self: &Arc<Self>, header: HeaderBytes) {
        let kick = {
            let mut queue = self.transmit.lock();
            queue.unsent.push(header);
            if queue.pending.is_empty() {
                self.flush(&mut queue);
            }
            queue.kick_prepare()
        };
        kick.notify();
    }

    /// Puts a packet into the queue, or behind those that wait.
    fn enqueue(self: &Arc<Self>, packet: SkBuff) {
        let (kick, sent) = {
            let mut queue = self.transmit.lock();
            let sent = reclaim::<R>(&mut queue);
            // Whoever takes out what was sent also sends what waits for that room: the interrupt
            // for it finds nothing used any more, and may not be told of.
            self.flush(&mut queue);
            if queue.pending.is_empty() {
                self.add(&mut queue, packet);
            } else {
                queue.pending.push_back(packet);
            }
            if queue.pending.is_empty() && !queue.owing.is_empty() {
                // Their sockets cannot be locked here. An error says that it is scheduled already.
                let _ = workqueue::system_bh().enqueue::<_, TRANSMIT_WORK>(self.clone());
            }
            (queue.kick_prepare(), sent)
        };
        kick.notify();
        drop(sent);
    }

    /// Gives a packet to the device. Without room, or memory to describe it, it waits; a device
    /// that is gone loses it. Returns whether it need not wait.
    fn add(self: &Arc<Self>, queue: &mut Guard<'_, R>, packet: SkBuff) -> bool {
        match queue.add_out(packet) {
            Ok(()) => true,
            Err((error, packet)) if error == ENOSPC || error == ENOMEM => {
                queue.pending.push_front(packet);
                self.congested.store(true, Release);
                if error == ENOMEM {
                    // Nothing of the device's may come to an end that would tell to try again.
                    self.retry_later();
                }
                false
            }
            Err(_) => {
                // A queue that was closed takes nothing either, but is not broken.
                if queue.is_broken() {
                    Device::fail(self);
                }
                true
            }
        }
    }

    /// The device has sent packets: others can follow. BH.
    pub(super) fn complete(self: &Arc<Self>) {
        loop {
            let (kick, sent, debtor, more) = {
                let mut queue = self.transmit.lock();
                queue.disable_callbacks();
                let sent = reclaim::<R>(&mut queue);
                if queue.is_broken() {
                    Device::fail(self);
                }
                self.flush(&mut queue);
                let debtor = if queue.pending.is_empty() {
                    queue.owing.pop()
                } else {
                    None
                };
                let more = debtor.is_some() || !queue.enable_callbacks();
                (queue.kick_prepare(), sent, debtor, more)
            };
            kick.notify();
            drop(sent);
            if let Some(sock) = debtor {
                R::pay_credit(&sock);
            }
            if !more {
                return;
            }
        }
    }

    /// Sends what waits, as far as there is room and memory.
    fn flush(self: &Arc<Self>, queue: &mut Guard<'_, R>) {
        if queue.pending.is_empty() && queue.unsent.front().is_none() {
            return;
        }
        while let Some(packet) = queue.pending.pop_front() {
            if !self.add(queue, packet) {
                return;
            }
        }
        self.congested.store(false, Release);
        while let Some(header) = queue.unsent.front() {
            let Ok(packet) = control(header) else {
                self.retry_later();
                return;
            };
            queue.unsent.pop();
            if !self.add(queue, packet) {
                return;
            }
        }
    }

    /// Drops everything that waits: the device is gone. Process context.
    pub(super) fn discard_unsent(&self) {
        let (pending, owing) = {
            let mut queue = self.transmit.lock();
            (
                core::mem::take(&mut queue.pending),
                core::mem::take(&mut queue.owing),
            )
        };
        drop(pending);
        drop(owing);
    }
}

/// A packet of nothing but a header.
fn control(header: &HeaderBytes) -> Result<SkBuff> {
    let mut packet = SkBuff::with_room(HEADER_LEN, 0, GFP_ATOMIC | __GFP_NOWARN)?;
    packet.push_header(header)?;
    Ok(packet)
}

/// Takes out what the device has sent, to be dropped without the lock.
fn reclaim<R: Receiver>(queue: &mut Guard<'_, R>) -> SkBuffQueue {
    let mut sent = SkBuffQueue::new();
    while let Some(used) = queue.take() {
        sent.push_back(used.buffer);
    }
    sent
}

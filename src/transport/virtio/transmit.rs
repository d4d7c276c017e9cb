// SPDX-License-Identifier: GPL-2.0

//! The transmit queue.
//!
//! A packet goes straight into the queue, from whoever sends it, as long as nobody waits for room.
//! Otherwise it stays with its connection, which waits here, and has a turn when there is room: it
//! sends one packet, and if it has more, waits again behind the others. So nobody is served twice in
//! a row while another one waits, and what waits is bounded by the connections that there are.
//!
//! Resets that belong to no connection have turns of their own, one after each turn of a connection,
//! and may be forgotten. One of them may have the same ends as a connection that waits: it was owed
//! before that opened, or answers what no connection can send. It leaves first, whoever was served
//! last: if each stood back for the other, neither would ever leave.

use super::{
    counters::Count,
    Device,
    BUDGET,
    TRANSMIT_WORK, //
};
use crate::net::{
    skb::{
        PayloadLimits,
        SkBuff, //
    },
    skb_queue::SkBuffQueue,
    sock::{
        Protocol,
        Sock, //
    },
    sock_queue::SockQueue, //
};
use crate::protocol::{
    address::Flow,
    packet::{
        Header,
        HeaderBytes,
        Operation,
        HEADER_LEN, //
    },
};
use crate::transport::{
    unsent::{
        Reset,
        Unsent, //
    },
    Receiver, //
};
use crate::virtio::QueueGuard;
use kernel::{
    alloc::flags::__GFP_NOWARN,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    workqueue, //
};

/// The place of a socket in a queue that is this one's: the other one is its listener's.
const WAITING: usize = 1;

/// Who waits for room, behind the queue's lock.
pub(super) struct Transmit<P: Protocol> {
    /// Resets that belong to no connection.
    resets: Unsent,
    /// One of those had the last turn, so a connection has the next one.
    reset_was_last: bool,
    /// Connections that have something to send, in the order of their turns.
    waiting: SockQueue<P, WAITING>,
    /// Turns that were given and are not over yet.
    turns: usize,
    /// There was no room, or no memory, when it was last tried.
    blocked: bool,
    /// Somebody waits, or soon may, for what the device has to be given back.
    wanted: bool,
    /// What the device has is looked at in a while.
    looked_at: bool,
    /// The ends of the connection that was served last.
    last: Option<Flow>,
}

impl<P: Protocol> Transmit<P> {
    /// Nobody waits. Process context.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`] without memory for the ring of resets.
    pub(super) fn new() -> Result<Self> {
        Ok(Transmit {
            resets: Unsent::new()?,
            reset_was_last: false,
            waiting: SockQueue::new(),
            turns: 0,
            blocked: false,
            wanted: false,
            looked_at: false,
            last: None,
        })
    }

    /// Whether anybody waits for a turn.
    fn somebody_waits(&self) -> bool {
        !self.waiting.is_empty() || !self.resets.is_empty()
    }

    /// Whether connections other than that of `who` wait for one.
    fn connections_wait(&self, who: Option<&Sock<P>>) -> bool {
        let own = who.is_some_and(|sock| self.waiting.contains(sock));
        self.waiting.len() > usize::from(own)
    }
}

/// How soon the memory of a packet is to be given back once the device has sent it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GiveBack {
    /// Somebody waits for it, or will if more is sent: the device is to interrupt.
    Soon,
    /// With the next packet, or after a while: an interrupt would cost more than the memory is worth.
    Later,
}

type Guard<'a, R> = QueueGuard<'a, SkBuff, Transmit<<R as Receiver>::Protocol>>;

/// The right to send one packet while others wait.
pub(crate) struct Turn(());

impl Turn {
    /// The turn as a flag, which can be kept where there is no lock.
    pub(crate) fn into_flag(self) -> bool {
        true
    }

    /// The turn that such a flag was, if it is set.
    pub(crate) fn from_flag(flag: bool) -> Option<Self> {
        flag.then_some(Turn(()))
    }
}

/// Whose packet it is, and what it says.
#[derive(Clone, Copy)]
struct Label {
    /// As its sender sees it.
    flow: Flow,
    operation: Operation,
}

impl Label {
    fn of(header: &Header) -> Self {
        Label {
            flow: header.flow,
            operation: header.operation,
        }
    }
}

impl<R: Receiver> Device<R> {
    /// How large a packet may be.
    pub(crate) fn payload_limits(&self) -> PayloadLimits {
        self.descriptors.payload_limits()
    }

    /// Sends a packet without payload of the connection of `sock`: without a turn, if nobody else
    /// waits. Returns false if it has to wait: then [`Device::wait_for_turn`] is to be called. Process
    /// context or BH.
    pub(crate) fn send_control(
        self: &Arc<Self>,
        turn: Option<Turn>,
        sock: &Sock<R::Protocol>,
        header: &Header,
    ) -> bool {
        match control(&header.encode()) {
            Ok(packet) => self
                .transmit(turn, Some(sock), Label::of(header), packet, GiveBack::Later)
                .is_ok(),
            Err(_) => {
                self.transmit.lock().blocked = true;
                // Nothing of the device's may come to an end that would tell to try again.
                self.retry_later();
                false
            }
        }
    }

    /// The same for a packet with payload, and a header, of the connection `flow`. It comes back if
    /// it has to wait.
    pub(crate) fn send_payload(
        self: &Arc<Self>,
        turn: Option<Turn>,
        sock: &Sock<R::Protocol>,
        flow: Flow,
        packet: SkBuff,
        give_back: GiveBack,
    ) -> Result<(), SkBuff> {
        let label = Label {
            flow,
            operation: Operation::ReadWrite,
        };
        self.transmit(turn, Some(sock), label, packet, give_back)
    }

    /// Sends a reset that belongs to no connection. Many of them may not all be sent. Process context
    /// or BH.
    pub(crate) fn send_reset(self: &Arc<Self>, flow: Flow, header: HeaderBytes) {
        let label = Label {
            flow,
            operation: Operation::Reset,
        };
        if let Ok(packet) = control(&header) {
            let sent = self.transmit(None, None, label, packet, GiveBack::Later);
            if sent.is_ok() {
                return;
            }
        }
        let mut queue = self.transmit.lock();
        if queue.resets.push(Reset { flow, header }) {
            self.counters.count(Count::ForgottenReset);
        }
        self.look_for_room(&queue);
    }

    /// The connection of `sock` has something to send: when there is room and its turn has come,
    /// [`Receiver::take_turn`] is called. Process context or BH.
    pub(crate) fn wait_for_turn(self: &Arc<Self>, sock: ARef<Sock<R::Protocol>>) {
        let already = {
            let mut queue = self.transmit.lock();
            let already = queue.waiting.push(sock);
            self.look_for_room(&queue);
            already
        };
        // An error says that it waits already; the reference is given up without the lock.
        if already.is_ok() {
            self.counters.count(Count::Waited);
        }
    }

    /// The connection of `sock` has nothing to send any more. Process context or BH.
    pub(crate) fn stop_waiting(&self, sock: &Sock<R::Protocol>) {
        let reference = self.transmit.lock().waiting.remove(sock);
        drop(reference);
    }

    /// Somebody began to wait. Without anything under way, or with room since, nothing of the
    /// device's would come to an end that gives it a turn.
    fn look_for_room(self: &Arc<Self>, queue: &Guard<'_, R>) {
        if queue.turns == 0 && self.is_free(queue) {
            self.schedule_turns();
        }
    }

    fn schedule_turns(self: &Arc<Self>) {
        // An error says that it is scheduled already.
        let _ = workqueue::system_bh().enqueue::<_, TRANSMIT_WORK>(self.clone());
    }

    /// Gives the device a packet, of the connection of `sock` if it has one, or gives it back: others
    /// wait and it has no turn, or there is no room.
    fn transmit(
        self: &Arc<Self>,
        turn: Option<Turn>,
        sock: Option<&Sock<R::Protocol>>,
        label: Label,
        packet: SkBuff,
        give_back: GiveBack,
    ) -> Result<(), SkBuff> {
        let (kick, sent, result) = {
            let mut queue = self.transmit.lock();
            // Else each packet that is taken out would ask for an interrupt for the next one.
            queue.disable_callbacks();
            let sent = reclaim::<R>(&mut queue);
            if !sent.is_empty() {
                queue.blocked = false;
            }
            let connections_wait = queue.connections_wait(sock);
            let others_wait = connections_wait || !queue.resets.is_empty();
            let is_free = self.is_free(&queue);
            if !is_free && queue.is_broken() {
                Device::fail(self);
            }
            let result = match turn {
                _ if !is_free => Err(packet),
                None if others_wait || queue.turns > 0 => Err(packet),
                // Behind a packet of this connection, it would end that.
                Some(_) if queue.resets.has(label.flow) => Err(packet),
                // It has sent since it was given the turn.
                Some(_) if connections_wait && queue.last == Some(label.flow) => Err(packet),
                _ => self.add(&mut queue, label, packet),
            };
            if sock.is_some() && result.is_ok() {
                let before = queue.last.replace(label.flow);
                if before == Some(label.flow) && connections_wait {
                    self.counters.count(Count::ServedTwice);
                }
            }
            queue.wanted |= give_back == GiveBack::Soon;
            // The interrupt for what was taken out finds nothing used any more, and may not be told
            // of. The sockets that wait for that room cannot be locked here.
            let room_for_others = turn.is_none() && others_wait && !sent.is_empty();
            if !self.await_sent(&mut queue) || room_for_others {
                self.schedule_turns();
            }
            (queue.kick_prepare(), sent, result)
        };
        kick.notify();
        drop(sent);
        result
    }

    /// Gives the device a packet. Without room, or memory to describe it, it comes back; a device
    /// that is gone loses it.
    fn add(
        self: &Arc<Self>,
        queue: &mut Guard<'_, R>,
        label: Label,
        packet: SkBuff,
    ) -> Result<(), SkBuff> {
        if label.flow.local.cid != self.cid() {
            // Its connection ends, since the guest has another CID.
            self.counters.count(Count::StaleSource);
            return Ok(());
        }
        let bytes = packet.len();
        match queue.add_out(packet) {
            Ok(()) => {
                self.counters.sent(label.operation, bytes);
                Ok(())
            }
            Err((error, packet)) if error == ENOSPC || error == ENOMEM => {
                queue.blocked = true;
                if error == ENOMEM || queue.free_slots() == self.transmit.capacity() {
                    // Nothing of the device's may come to an end that would tell to try again.
                    self.retry_later();
                }
                Err(packet)
            }
            Err(_) => {
                // A queue that was closed takes nothing either, but is not broken.
                if queue.is_broken() {
                    Device::fail(self);
                }
                Ok(())
            }
        }
    }

    /// What the device has sent is taken out, after a while in which nobody asked for it. Process
    /// context.
    pub(super) fn look_at_sent(self: &Arc<Self>) {
        self.transmit.lock().looked_at = false;
        self.complete();
    }

    /// The device has sent packets, or memory may be there: those that wait have their turns. A device
    /// may take what it is given at once, so there is a bound to how many. Process context or BH.
    pub(super) fn complete(self: &Arc<Self>) {
        let mut first = true;
        let mut over = 0;
        for _ in 0..BUDGET {
            let (kick, sent, next, more) = {
                let mut queue = self.transmit.lock();
                queue.turns -= over;
                queue.disable_callbacks();
                let sent = reclaim::<R>(&mut queue);
                if queue.is_broken() {
                    Device::fail(self);
                }
                if first || !sent.is_empty() {
                    queue.blocked = false;
                }
                self.serve_reset(&mut queue);
                let next = self.next_turn(&mut queue);
                let more = next.is_some()
                    || (!queue.resets.is_empty() && self.is_free(&queue))
                    || !self.await_sent(&mut queue);
                (queue.kick_prepare(), sent, next, more)
            };
            kick.notify();
            drop(sent);
            over = usize::from(next.is_some());
            if let Some((sock, turn)) = next {
                R::take_turn(&sock, turn);
            }
            if !more {
                return;
            }
            first = false;
        }
        self.transmit.lock().turns -= over;
        self.schedule_turns();
    }

    /// Sees to it that what the device has is taken out. Where somebody waits for its room, an interrupt
    /// is asked for with the next packet; where its memory is wanted, with many at once; else there is
    /// none, and it is looked at with the next packet, or in a while. Returns false if packets are there
    /// already, to be taken out.
    fn await_sent(self: &Arc<Self>, queue: &mut Guard<'_, R>) -> bool {
        if queue.blocked || queue.somebody_waits() {
            return queue.enable_callbacks();
        }
        if queue.free_slots() == self.transmit.capacity() {
            queue.wanted = false;
            return true;
        }
        if queue.wanted {
            return queue.enable_callbacks_delayed();
        }
        if !queue.looked_at {
            queue.looked_at = true;
            self.retry_later();
        }
        true
    }

    /// Whether there is room for another packet, as far as is known.
    fn is_free(&self, queue: &Guard<'_, R>) -> bool {
        !queue.blocked && queue.has_room(self.descriptors.count())
    }

    /// Who has the next turn: whoever waits longest, unless it was served last and another one waits.
    /// The turn is over when this is called again.
    fn next_turn(&self, queue: &mut Guard<'_, R>) -> Option<(ARef<Sock<R::Protocol>>, Turn)> {
        if !self.is_free(queue) {
            return None;
        }
        let mut sock = queue.waiting.pop()?;
        if queue.last == Some(R::flow(&sock)) {
            if let Some(other) = queue.waiting.pop() {
                // It was just taken out, so it is in no queue.
                let _ = queue.waiting.push(core::mem::replace(&mut sock, other));
            }
        }
        queue.turns += 1;
        Some((sock, Turn(())))
    }

    /// Sends one of the resets that wait, unless it is a connection's turn.
    fn serve_reset(self: &Arc<Self>, queue: &mut Guard<'_, R>) {
        if !self.is_free(queue) {
            return;
        }
        if core::mem::take(&mut queue.reset_was_last) && !queue.waiting.is_empty() {
            return;
        }
        let Some(reset) = queue.resets.pop() else {
            return;
        };
        let label = Label {
            flow: reset.flow,
            operation: Operation::Reset,
        };
        queue.reset_was_last = match control(&reset.header) {
            Ok(packet) => self.add(queue, label, packet).is_ok(),
            Err(_) => {
                queue.blocked = true;
                self.retry_later();
                false
            }
        };
        if !queue.reset_was_last {
            queue.resets.put_back(reset);
        }
    }

    /// Forgets the resets that wait: what they would answer was before the device lost its
    /// connections. Any context but a hard interrupt.
    pub(super) fn forget_resets(&self) {
        self.transmit.lock().resets.clear();
    }

    /// Nobody is to wait any more: the device is gone. Process context.
    pub(super) fn discard_unsent(&self) {
        loop {
            let waiting = {
                let mut queue = self.transmit.lock();
                queue.resets.clear();
                queue.waiting.pop()
            };
            if waiting.is_none() {
                return;
            }
        }
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

// SPDX-License-Identifier: GPL-2.0

//! The virtio socket device.
//!
//! Source: virtio specification, 5.10. The device has three queues: packets to receive, packets
//! to transmit, and events. Buffers that it has used raise an interrupt, which does no more than
//! schedule the work of that queue: in softirq context for packets, in process context for
//! events.

mod counters;
mod descriptors;
mod event;
mod receive;
mod transmit;

pub(crate) use self::{
    descriptors::Descriptors,
    transmit::{
        GiveBack,
        Turn, //
    },
};

use self::{
    counters::Counters,
    receive::Buffers,
    transmit::Transmit, //
};
use super::Receiver;
use crate::net::{
    receive_buffer::ReceiveBuffer,
    skb::SkBuff, //
};
use crate::protocol::{
    address::Cid,
    event::EVENT_LEN,
    feature::{
        SocketTypes,
        ACCEPTED, //
    },
    packet::SocketType,
    reason::DropReason, //
};
use crate::virtio::{
    work,
    ConfigSpace,
    Driver,
    Probe,
    Queue,
    SmallBuffer, //
};
use kernel::{
    dev_err, fmt, impl_has_delayed_work, impl_has_work, new_delayed_work, new_work,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        static_lock_class,
        Arc,
        ArcBorrow, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    workqueue::{
        self,
        DelayedWork,
        Work,
        WorkItem, //
    },
};
use zerocopy::little_endian::U64;

/// Where `guest_cid` stands in the configuration space.
const CONFIG_GUEST_CID: u32 = 0;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const EVENT: usize = 2;

/// A virtio socket device in use.
#[pin_data]
pub(crate) struct Device<R: Receiver> {
    receiver: Arc<R>,
    config: ConfigSpace,
    /// The types of sockets between which connections can be made.
    types: SocketTypes,
    /// The guest's own CID; another after an event that says so.
    cid: Atomic<u32>,
    /// The device was taken away, or broke the rules of its queues.
    gone: Atomic<bool>,
    /// How often the device said that it lost all connections: those that were made before the last
    /// time are lost.
    resets: Atomic<u32>,
    counters: Counters,
    receive: Queue<ReceiveBuffer, Buffers>,
    transmit: Queue<SkBuff, Transmit<R::Protocol>>,
    /// How many descriptors of it a packet may take.
    descriptors: Descriptors,
    event: Queue<SmallBuffer<EVENT_LEN>, ()>,
    #[pin]
    receive_work: Work<Self, RECEIVE_WORK>,
    #[pin]
    transmit_work: Work<Self, TRANSMIT_WORK>,
    #[pin]
    event_work: Work<Self, EVENT_WORK>,
    #[pin]
    retry_work: DelayedWork<Self, RETRY_WORK>,
}

const RECEIVE_WORK: u64 = 0;
const TRANSMIT_WORK: u64 = 1;
const EVENT_WORK: u64 = 2;
const RETRY_WORK: u64 = 3;

/// Packets that one run for the receive or the transmit queue handles before others have a turn on this
/// CPU.
const BUDGET: usize = 256;

/// How long to wait before memory is looked for again, in milliseconds.
const RETRY_MS: Msecs = 10;

impl_has_work! {
    impl{R: Receiver} HasWork<Device<R>, 0> for Device<R> { self.receive_work }
    impl{R: Receiver} HasWork<Device<R>, 1> for Device<R> { self.transmit_work }
    impl{R: Receiver} HasWork<Device<R>, 2> for Device<R> { self.event_work }
}

impl_has_delayed_work! {
    impl{R: Receiver} HasDelayedWork<Device<R>, 3> for Device<R> { self.retry_work }
}

impl<R: Receiver> WorkItem<RECEIVE_WORK> for Device<R> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        receive::run(this);
    }
}

impl<R: Receiver> WorkItem<TRANSMIT_WORK> for Device<R> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.complete();
    }
}

impl<R: Receiver> WorkItem<EVENT_WORK> for Device<R> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        event::run(&this);
    }
}

impl<R: Receiver> WorkItem<RETRY_WORK> for Device<R> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        receive::refill(&this, GFP_KERNEL);
        this.look_at_sent();
    }
}

impl<R: Receiver> Device<R> {
    /// The guest's own CID.
    pub(crate) fn cid(&self) -> Cid {
        Cid(self.cid.load(Relaxed))
    }

    /// Whether the device carries connections of sockets of type `kind`.
    pub(crate) fn carries(&self, kind: SocketType) -> bool {
        self.types.has(kind)
    }

    /// Counts a packet of the device that was dropped. Any context.
    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.counters.dropped(reason);
    }

    /// Writes down what the device has done, a number on a line. Process context.
    pub(crate) fn write_counters(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (buffers, size) = self.receive_buffers();
        writeln!(out, "cid {}", self.cid().0)?;
        writeln!(out, "receive_buffers_bytes {buffers}")?;
        writeln!(out, "receive_buffer_size {size}")?;
        self.counters.write(out)
    }

    /// How often the device said that it lost all connections. One that was made when this had another
    /// value is lost.
    pub(crate) fn epoch(&self) -> u32 {
        self.resets.load(Acquire)
    }

    /// Whether the device can no longer carry anything.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    fn read_cid(&self) -> Result<Cid> {
        checked_cid(self.config.read::<U64>(CONFIG_GUEST_CID)?)
    }

    /// Looks for memory again in a while, to refill the receive queue and to send what waits, and takes
    /// out what the device has sent until then. Any context but a hard interrupt.
    fn retry_later(self: &Arc<Self>) {
        if !self.is_gone() {
            let delay = msecs_to_jiffies(RETRY_MS);
            // An error says that it is scheduled already.
            let _ = work::system_dfl().enqueue_delayed::<_, RETRY_WORK>(self.clone(), delay);
        }
    }

    /// The device broke the rules of its queues: it carries nothing any more, and its connections
    /// end. The guest and its other sockets go on. BH or process context.
    fn fail(this: &Arc<Self>) {
        if !this.gone.xchg(true, Full) {
            pr_err!("the virtio device broke its queues and is out of use; rebind it to go on\n");
            // In process context, where all connections can be walked.
            let _ = work::system_dfl().enqueue::<_, EVENT_WORK>(this.clone());
        }
    }
}

/// Checks what the device offers as the guest's CID.
fn checked_cid(value: U64) -> Result<Cid> {
    Cid::of_guest(value.get()).ok_or(EINVAL)
}

impl<R: Receiver> Driver for Device<R> {
    const NAME: &'static CStr = c"rvsock";
    const DEVICE_ID: u32 = 19;
    const FEATURES: &'static [u32] = ACCEPTED;

    fn probe(device: &Probe<'_>) -> Result<Arc<Self>> {
        let receiver = R::current().ok_or(ENODEV)?;
        if receiver.has_device() {
            dev_err!(
                device.device(),
                "there is a virtio device already; this one is left alone\n"
            );
            return Err(EBUSY);
        }
        let Some(types) = SocketTypes::negotiated(|bit| device.has_feature(bit)) else {
            dev_err!(device.device(), "the device has no type of sockets\n");
            return Err(ENODEV);
        };
        let offered = device.read_config::<U64>(CONFIG_GUEST_CID)?;
        let cid = checked_cid(offered).inspect_err(|_| {
            dev_err!(
                device.device(),
                "the device offers the reserved CID {:#x}\n",
                offered.get()
            );
        })?;
        let config = device.config_space()?;
        let [receive, transmit, event] =
            device.find_queues([c"rx", c"tx", c"event"], [true, true, true])?;
        let receive = receive.assign(Buffers::default(), c"rvsock rx", static_lock_class!())?;
        let transmit = transmit.assign(Transmit::new()?, c"rvsock tx", static_lock_class!())?;
        let event = event.assign((), c"rvsock event", static_lock_class!())?;
        let Some(descriptors) = receiver.descriptors().within(&transmit) else {
            dev_err!(
                device.device(),
                "the transmit queue is too small for a packet: it has one descriptor\n"
            );
            return Err(EINVAL);
        };
        Arc::pin_init(
            pin_init!(Self {
                receiver,
                config,
                types,
                cid: Atomic::new(cid.0),
                gone: Atomic::new(false),
                resets: Atomic::new(0),
                counters: Counters::new(),
                receive,
                transmit,
                descriptors,
                event,
                receive_work <- new_work!("rvsock rx"),
                transmit_work <- new_work!("rvsock tx"),
                event_work <- new_work!("rvsock event"),
                retry_work <- new_delayed_work!("rvsock retry"),
            }),
            GFP_KERNEL,
        )
    }

    fn ready(this: ArcBorrow<'_, Self>) -> Result {
        let this = Arc::from(this);
        event::fill(&this)?;
        receive::refill(&this, GFP_KERNEL);
        // Fails only if another device came in the very same moment.
        this.receiver.attach(&this)?;
        pr_info!("virtio device ready, guest CID {}\n", this.cid().0);
        Ok(())
    }

    fn interrupt(this: ArcBorrow<'_, Self>, index: usize) {
        let this = Arc::from(this);
        // An error says that the work is scheduled already.
        let _ = match index {
            RECEIVE => workqueue::system_bh()
                .enqueue::<_, RECEIVE_WORK>(this)
                .is_ok(),
            TRANSMIT => workqueue::system_bh()
                .enqueue::<_, TRANSMIT_WORK>(this)
                .is_ok(),
            EVENT => work::system_dfl().enqueue::<_, EVENT_WORK>(this).is_ok(),
            _ => false,
        };
    }

    fn stop(this: ArcBorrow<'_, Self>) {
        let this = Arc::from(this);
        // Work that schedules work looks at this first.
        this.gone.xchg(true, Full);
        work::cancel::<_, RECEIVE_WORK>(&this);
        work::cancel::<_, EVENT_WORK>(&this);
        work::cancel_delayed::<_, RETRY_WORK>(&this);
        // No packet is being handled any more, so no connection is made behind this.
        this.receiver.detach(&this);
        // Senders that still had the device may have scheduled this; they find it closed.
        work::cancel::<_, TRANSMIT_WORK>(&this);
        this.discard_unsent();
    }
}

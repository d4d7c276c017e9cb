// SPDX-License-Identifier: GPL-2.0

//! What all sockets of the family share.

use super::{
    level::Call,
    namespace::{
        Place,
        Scope, //
    },
    Vsock, //
};
use crate::net::{
    guard::Bh,
    lock::SpinLockBh,
    registration::Slot,
    sock::Sock,
    sock_fields::SocketKind,
    table::Table, //
};
use crate::protocol::{
    address::{
        Address,
        Cid,
        Flow, //
    },
    packet::Header,
    reason::DropReason,
    wake::WakeReason, //
};
use crate::transport::virtio::{
    Descriptors,
    Device, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        static_lock_class,
        Arc,
        Mutex, //
    },
};

/// The context of the one registration that can be.
pub(super) static SLOT: Slot<Vsock> = Slot::new();

/// What all sockets share: who is bound and connected, and the device.
#[pin_data]
pub(crate) struct Context {
    /// The number of the family.
    pub(super) family: u8,
    /// How many descriptors of the device a packet may take.
    pub(super) descriptors: Descriptors,
    /// Sockets for connections by the address that they are bound to, and its scope. `Cid::ANY` is
    /// an address of its own, and so is `Cid::OWN`, whatever the CID of the device.
    bound: Arc<Table<Place, Vsock>>,
    /// Sockets for datagrams likewise: their ports are their own.
    bound_datagrams: Arc<Table<Place, Vsock>>,
    /// Sockets by the two ends of their connection over the device, from the request on. All are
    /// of global namespaces.
    pub(super) connected: Arc<Table<Flow, Vsock>>,
    /// Held while an address is looked for and taken.
    #[pin]
    pub(super) binding: Mutex<()>,
    /// How many local namespaces there were.
    scopes: Atomic<u64>,
    dropped: [Atomic<u64>; DropReason::COUNT],
    /// How often a reader took less than it needs because nothing arrived any more.
    stalled: Atomic<u64>,
    /// How often calls slept and were woken: by what they slept for, and why.
    woken: [[Atomic<u64>; WakeReason::COUNT]; Call::NAMES.len()],
    /// How often pollers were told of something.
    polled: Atomic<u64>,
    /// Datagrams for which their receiver had no room.
    dropped_datagrams: Atomic<u64>,
    /// Payload of connections over loopback that came when there was none any more.
    dropped_local: Atomic<u64>,
    #[pin]
    device: SpinLockBh<Option<Arc<Device<Context>>>>,
}

impl Context {
    /// Makes the context of the family with the number `family`, whose packets may take so many
    /// `descriptors` of a device.
    pub(crate) fn new(family: u8, descriptors: Descriptors) -> Result<Arc<Self>> {
        let bound = Arc::pin_init(Table::new(), GFP_KERNEL)?;
        let bound_datagrams = Arc::pin_init(Table::new(), GFP_KERNEL)?;
        let connected = Arc::pin_init(Table::new(), GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                family,
                descriptors,
                bound,
                bound_datagrams,
                connected,
                binding <- new_mutex!((), "rvsock binding"),
                scopes: Atomic::new(0),
                dropped: [const { Atomic::new(0) }; DropReason::COUNT],
                stalled: Atomic::new(0),
                woken: [const { [const { Atomic::new(0) }; WakeReason::COUNT] }; Call::NAMES.len()],
                polled: Atomic::new(0),
                dropped_datagrams: Atomic::new(0),
                dropped_local: Atomic::new(0),
                device <- SpinLockBh::new(None, c"rvsock device", static_lock_class!()),
            }),
            GFP_KERNEL,
        )
    }

    /// The device, if there is one.
    pub(super) fn device(&self) -> Option<Arc<Device<Context>>> {
        self.device.lock().clone()
    }

    /// Takes a device into use. There can be one.
    pub(super) fn set_device(&self, device: Arc<Device<Context>>) -> Result {
        let mut slot = self.device.lock();
        if slot.is_some() {
            return Err(EBUSY);
        }
        *slot = Some(device);
        Ok(())
    }

    /// Forgets `device`, if it is the one in use.
    pub(super) fn clear_device(&self, device: &Device<Context>) {
        let mut slot = self.device.lock();
        // Dropped without the lock: it may be the last reference.
        let taken = slot.take_if(|current| core::ptr::eq(&**current, device));
        drop(slot);
        drop(taken);
    }

    /// A scope that is nobody's so far, for a new local namespace.
    pub(super) fn next_scope(&self) -> Scope {
        Scope::local(self.scopes.fetch_add(1, Relaxed) + 1)
    }

    /// The sockets that share the ports of those of the type `kind`, by the address that they are
    /// bound to.
    pub(super) fn bound(&self, kind: SocketKind) -> &Arc<Table<Place, Vsock>> {
        if kind == SocketKind::DGRAM {
            &self.bound_datagrams
        } else {
            &self.bound
        }
    }

    /// The socket that is reached in `scope` at the address `local`, of those that share the ports
    /// of the type `kind`. Any context.
    pub(super) fn bound_to(
        &self,
        kind: SocketKind,
        scope: Scope,
        local: Address,
    ) -> Option<ARef<Sock<Vsock>>> {
        let find = |cid| self.bound(kind).find(&scope.place(cid, local.port));
        self.bound_cid(local.cid)
            .and_then(find)
            .or_else(|| find(Cid::ANY))
    }

    /// The device may have another CID: those that are bound to it have another name. Process context.
    pub(super) fn publish_names(&self) {
        for table in [&self.bound, &self.bound_datagrams] {
            table.for_each(|sock| {
                // Whoever owns a socket publishes its name in the end.
                if let Bh::Free(mut state) = sock.lock_bh() {
                    state.settle(&sock, false);
                }
            });
        }
    }

    /// Whether a socket may be bound to `cid`.
    pub(super) fn is_local(&self, cid: Cid) -> bool {
        self.bound_cid(cid).is_some()
    }

    /// Under which CID a socket that is bound to `cid` is found; `None` if that is another machine's.
    pub(super) fn bound_cid(&self, cid: Cid) -> Option<Cid> {
        match cid {
            Cid::ANY | Cid::LOCAL => Some(cid),
            _ => self
                .device()
                .is_some_and(|device| device.cid() == cid)
                .then_some(Cid::OWN),
        }
    }

    /// Counts a reader that takes less than it needs because nothing arrived any more.
    pub(super) fn count_stall(&self) {
        self.stalled.fetch_add(1, Relaxed);
    }

    /// Counts a packet over loopback that was dropped, if it had payload. The sender was told, as it
    /// always is; what has none passes another packet that ends the connection, as a matter of
    /// course. So neither is a case of a [`DropReason`], which tell of what a device brings.
    pub(super) fn count_local_drop(&self, header: &Header) {
        if header.len > 0 {
            self.dropped_local.fetch_add(1, Relaxed);
        }
    }

    /// Counts a datagram for which its receiver had no room.
    pub(super) fn count_dropped_datagram(&self) {
        self.dropped_datagrams.fetch_add(1, Relaxed);
    }

    /// Counts a call that slept and was woken.
    pub(super) fn count_woken(&self, call: Call, reason: WakeReason) {
        let counts = self.woken.get(call as usize);
        if let Some(count) = counts.and_then(|counts| counts.get(reason as usize)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts that pollers were told of something.
    pub(super) fn count_polled(&self) {
        self.polled.fetch_add(1, Relaxed);
    }

    /// Writes all counters down, one on a line: its name and its value.
    pub(crate) fn write_counters(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, counter) in DropReason::NAMES.iter().zip(&self.dropped) {
            writeln!(out, "dropped_{name} {}", counter.load(Relaxed))?;
        }
        let dropped = self.dropped_datagrams.load(Relaxed);
        writeln!(out, "dropped_datagram {dropped}")?;
        let dropped = self.dropped_local.load(Relaxed);
        writeln!(out, "dropped_loopback {dropped}")?;
        for (call, counts) in Call::NAMES.iter().zip(&self.woken) {
            for (reason, count) in WakeReason::NAMES.iter().zip(counts) {
                writeln!(out, "woken_{call}_{reason} {}", count.load(Relaxed))?;
            }
        }
        writeln!(out, "polled {}", self.polled.load(Relaxed))?;
        writeln!(out, "stalled {}", self.stalled.load(Relaxed))
    }

    /// Counts a dropped packet.
    pub(super) fn count_drop(&self, reason: DropReason) {
        if let Some(counter) = self.dropped.get(reason as usize) {
            counter.fetch_add(1, Relaxed);
        }
        if let Some(device) = self.device() {
            device.count_drop(reason);
        }
    }

    /// Writes down what the device in use has done: nothing if there is none.
    pub(crate) fn write_device(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.device()
            .map_or(Ok(()), |device| device.write_counters(out))
    }
}

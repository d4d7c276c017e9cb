// SPDX-License-Identifier: GPL-2.0

//! Virtqueues: how buffers go to a device and come back.

use super::{
    bound::Part,
    buffer::Segments,
    Buffer,
    DeviceReadable,
    DeviceWritable, //
};
use crate::{
    bindings,
    net::lock::{
        SpinLockBh,
        SpinLockBhBackend, //
    },
};
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::Guard,
        rcu,
        Arc,
        LockClassKey, //
    },
};

/// A virtqueue that carries buffers of type `B`, with data `T` that the same lock protects.
///
/// It can be kept for any time: when the device goes, the queue closes (see the
/// [module's documentation](super)). It is closed, too, until right before
/// [`Driver::ready`](super::Driver::ready).
pub(crate) struct Queue<B: Buffer, T: Send + 'static> {
    ring: Arc<Ring<B, T>>,
}

impl<B: Buffer, T: Send + 'static> Queue<B, T> {
    pub(super) fn new(ring: Arc<Ring<B, T>>) -> Self {
        Self { ring }
    }

    /// Takes the queue's lock.
    ///
    /// Context: process or BH; does not sleep. Bottom halves are off while the guard exists.
    pub(crate) fn lock(&self) -> QueueGuard<'_, B, T> {
        QueueGuard {
            ring: &self.ring,
            data: self.ring.data.lock(),
        }
    }

    /// The number of descriptors that the queue has in total, as the device offers it: at least 1.
    ///
    /// Context: any.
    pub(crate) fn capacity(&self) -> usize {
        self.ring.capacity
    }

    /// The most segments of a buffer that the queue can ever take.
    ///
    /// Context: any.
    pub(crate) fn most_segments(&self) -> usize {
        if self.ring.indirect {
            usize::MAX
        } else {
            self.ring.capacity
        }
    }
}

/// The part of a ring that is used without its lock.
///
/// # Invariants
///
/// While `open` is set, and until an RCU grace period after it was cleared, `vq` is a valid
/// virtqueue of a live device.
struct Link {
    vq: NonNull<bindings::virtqueue>,
    open: Atomic<bool>,
}

// SAFETY: A virtqueue may be used from any thread; which of its operations exclude each other is
// for the users of `vq` to observe.
unsafe impl Send for Link {}

// SAFETY: As for `Send`.
unsafe impl Sync for Link {}

/// What the handles of a queue share, and the device closes.
///
/// # Invariants
///
/// - `link.open` is changed only with the lock of `data` held.
/// - With the lock held and `link.open` set, the virtqueue may be operated on: nobody else does,
///   except for notifying the device.
/// - Each token in the virtqueue is from `B::into_raw`.
#[pin_data]
pub(super) struct Ring<B: Buffer, T: Send + 'static> {
    link: Link,
    capacity: usize,
    indirect: bool,
    #[pin]
    data: SpinLockBh<T>,
    _buffers: PhantomData<fn(B) -> B>,
}

impl<B: Buffer, T: Send + 'static> Ring<B, T> {
    /// # Safety
    ///
    /// - `vq` must be a valid virtqueue that has no buffers and that nobody else uses.
    /// - It must stay valid until a grace period after the ring was closed, or until the ring is
    ///   dropped when it was never opened.
    pub(super) unsafe fn new(
        vq: NonNull<bindings::virtqueue>,
        indirect: bool,
        data: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        // SAFETY: `vq` is valid.
        let capacity = unsafe { bindings::virtqueue_get_vring_size(vq.as_ptr()) };

        pin_init!(Self {
            // INVARIANT: By this function's safety requirements.
            link: Link {
                vq,
                open: Atomic::new(false),
            },
            capacity: capacity as usize,
            indirect,
            data <- SpinLockBh::new(data, name, key),
            _buffers: PhantomData,
        })
    }
}

impl<B: Buffer, T: Send + 'static> Part for Ring<B, T> {
    fn open(&self) {
        let _guard = self.data.lock();
        self.link.open.store(true, Relaxed);
    }

    fn close(&self) {
        let _guard = self.data.lock();
        self.link.open.store(false, Relaxed);
    }

    unsafe fn discard(&self) {
        loop {
            // SAFETY: The virtqueue is valid, by this function's safety requirements, and nobody
            // else operates on it: the ring was closed, which excludes guards, and has no
            // notification under way after a grace period.
            let token = unsafe { bindings::virtqueue_detach_unused_buf(self.link.vq.as_ptr()) };
            let Some(token) = NonNull::new(token) else {
                break;
            };

            // SAFETY: The token is from `B::into_raw` by the type invariants, and is given back by
            // the virtqueue once. The device was reset, so it does not use the buffer.
            drop(unsafe { B::from_raw(token) });
        }
    }
}

/// A buffer that the device has used.
pub(crate) struct Used<B> {
    /// The buffer.
    pub(crate) buffer: B,
    /// How many bytes the device says it has written, from the buffer's start: at most the
    /// buffer's [capacity](Buffer::capacity). That it has written them is for the device to know.
    pub(crate) written: usize,
    /// The device said that it has written more than the buffer's capacity.
    pub(crate) overlong: bool,
}

/// A queue, locked. Gives access to the data that the lock protects.
pub(crate) struct QueueGuard<'q, B: Buffer, T: Send + 'static> {
    ring: &'q Ring<B, T>,
    data: Guard<'q, T, SpinLockBhBackend>,
}

enum Direction {
    /// The device reads the buffer.
    Out,
    /// The device writes to the buffer.
    In,
}

impl<'q, B: Buffer, T: Send + 'static> QueueGuard<'q, B, T> {
    /// Returns the virtqueue when the queue is open. It may be operated on until the guard is
    /// dropped.
    fn vq(&self) -> Option<NonNull<bindings::virtqueue>> {
        let link = &self.ring.link;

        link.open.load(Relaxed).then_some(link.vq)
    }

    /// Adds a buffer. `B` must be `DeviceReadable` or `DeviceWritable`, as `direction` is.
    fn add(&mut self, buffer: B, direction: Direction) -> Result<(), (Error, B)> {
        let Some(vq) = self.vq() else {
            return Err((ENODEV, buffer));
        };

        let mut segments = Segments::new();
        if let Err(error) = buffer.describe(&mut segments) {
            return Err((error, buffer));
        }
        let count = segments.len();
        if count == 0 {
            return Err((EINVAL, buffer));
        }
        if count > self.ring.capacity && !self.ring.indirect {
            return Err((EMSGSIZE, buffer));
        }
        // CAST: There are few segments.
        let (out_count, in_count) = match direction {
            Direction::Out => (count as u32, 0),
            Direction::In => (0, count as u32),
        };

        // SAFETY: The token is either added to the virtqueue, or made a buffer again right below.
        let token = unsafe { buffer.into_raw() };

        // Memory is allocated for a table of descriptors only. When there is none, descriptors of
        // the ring are used.
        //
        // SAFETY: `vq` may be operated on, since the lock is held and the queue is open. The
        // segments are valid memory as long as the token is not made a buffer again, by the safety
        // requirements of `Buffer`, and the device may use them as `direction` says, as callers
        // have seen to. There is at least one of them, and the token is not null.
        let result = to_result(unsafe {
            bindings::virtqueue_add_sgs(
                vq.as_ptr(),
                segments.lists().as_mut_ptr(),
                out_count,
                in_count,
                token.as_ptr(),
                bindings::GFP_ATOMIC | bindings::__GFP_NOWARN,
            )
        });

        // INVARIANT: The token is from `B::into_raw`.
        result.map_err(|error| {
            // SAFETY: The token is from `into_raw` above and was not added.
            (error, unsafe { B::from_raw(token) })
        })
    }

    /// Gives the device a buffer that it reads.
    ///
    /// The device need not look at it before it is [notified](Self::kick_prepare).
    ///
    /// # Errors
    ///
    /// The buffer comes back with:
    /// - `ENOSPC`: there are not enough [free slots](Self::free_slots); the device has been
    ///   notified, so that it makes some.
    /// - `ENODEV`: the queue is closed.
    /// - `EIO`: the queue is broken.
    /// - `EMSGSIZE`: the buffer has more segments than the queue can ever take.
    /// - `EINVAL`: the buffer has no memory.
    /// - `ENOMEM`: the device cannot be given access to its memory at present.
    pub(crate) fn add_out(&mut self, buffer: B) -> Result<(), (Error, B)>
    where
        B: DeviceReadable,
    {
        self.add(buffer, Direction::Out)
    }

    /// Gives the device a buffer that it writes to.
    ///
    /// The device need not look at it before it is [notified](Self::kick_prepare).
    ///
    /// # Errors
    ///
    /// As those of [`add_out`](Self::add_out).
    pub(crate) fn add_in(&mut self, buffer: B) -> Result<(), (Error, B)>
    where
        B: DeviceWritable,
    {
        self.add(buffer, Direction::In)
    }

    /// Takes back the next buffer that the device has used, or `None` when there is none, or the
    /// queue is closed or broken.
    pub(crate) fn take(&mut self) -> Option<Used<B>> {
        let vq = self.vq()?;
        let mut written: u32 = 0;

        // SAFETY: `vq` may be operated on, since the lock is held and the queue is open.
        let token = unsafe { bindings::virtqueue_get_buf(vq.as_ptr(), &mut written) };
        let token = NonNull::new(token)?;

        // SAFETY: The token is from `B::into_raw` by the invariants of `Ring`. The virtqueue gives
        // each token back once, and the device has given up the buffer.
        let buffer = unsafe { B::from_raw(token) };
        let capacity = buffer.capacity();
        let written = written as usize;

        Some(Used {
            buffer,
            written: written.min(capacity),
            overlong: written > capacity,
        })
    }

    /// The number of descriptors that are free.
    ///
    /// A buffer takes as many as it has segments, or one, when the device takes tables of them
    /// (`VIRTIO_F_INDIRECT_DESC`) and there is memory for one. 0 when the queue is closed.
    pub(crate) fn free_slots(&self) -> usize {
        self.vq().map_or(0, |vq| {
            // SAFETY: `vq` is valid, since the lock is held and the queue is open.
            unsafe { (*vq.as_ptr()).num_free as usize }
        })
    }

    /// Whether there is room for a buffer of so many segments, as long as there is memory for a table
    /// of descriptors where one is needed.
    pub(crate) fn has_room(&self, segments: usize) -> bool {
        let free = self.free_slots();
        free >= segments || (free > 0 && self.ring.indirect)
    }

    /// Says whether the device has made nonsense of the queue, or has failed: nothing comes back any
    /// more, and no callback says so. It stays so until the device is bound again.
    ///
    /// A queue that is closed is not broken: [`Driver::stop`](super::Driver::stop) is on its way.
    pub(crate) fn is_broken(&self) -> bool {
        self.vq().is_some_and(|vq| {
            // SAFETY: `vq` is valid, since the lock is held and the queue is open.
            unsafe { bindings::virtqueue_is_broken(vq.as_ptr()) }
        })
    }

    /// Finds out whether the device wants to be notified of the buffers that were added since the
    /// last call.
    ///
    /// Notifying leaves the guest, and takes long: it is done after the lock was released.
    pub(crate) fn kick_prepare(&mut self) -> Kick<'q> {
        let link = &self.ring.link;
        let wanted = self.vq().is_some_and(|vq| {
            // SAFETY: `vq` may be operated on, since the lock is held and the queue is open.
            unsafe { bindings::virtqueue_kick_prepare(vq.as_ptr()) }
        });

        Kick {
            link: wanted.then_some(link),
        }
    }

    /// Asks the device to interrupt when it has used more buffers.
    ///
    /// Returns `false` when it already has: they are to be taken, then this is called again. `true`
    /// when the queue is closed.
    #[must_use = "buffers that were used before would not be noticed"]
    pub(crate) fn enable_callbacks(&mut self) -> bool {
        self.vq().is_none_or(|vq| {
            // SAFETY: `vq` may be operated on, since the lock is held and the queue is open.
            unsafe { bindings::virtqueue_enable_cb(vq.as_ptr()) }
        })
    }

    /// As [`enable_callbacks`](Self::enable_callbacks), but the device is asked to interrupt when it has
    /// used most of the buffers that it has now, or the only one. What it uses before is not told of
    /// meanwhile.
    #[must_use = "buffers that were used before would not be noticed"]
    pub(crate) fn enable_callbacks_delayed(&mut self) -> bool {
        // A broken one has nothing to be taken, whatever its ring says, which is all that the kernel's
        // function goes by.
        if self.is_broken() {
            return true;
        }
        self.vq().is_none_or(|vq| {
            // SAFETY: `vq` may be operated on, since the lock is held and the queue is open.
            unsafe { bindings::virtqueue_enable_cb_delayed(vq.as_ptr()) }
        })
    }

    /// Tells the device that interrupts are not needed. A hint: they may still come.
    pub(crate) fn disable_callbacks(&mut self) {
        if let Some(vq) = self.vq() {
            // SAFETY: `vq` may be operated on, since the lock is held and the queue is open.
            unsafe { bindings::virtqueue_disable_cb(vq.as_ptr()) };
        }
    }
}

impl<B: Buffer, T: Send + 'static> Deref for QueueGuard<'_, B, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<B: Buffer, T: Send + Unpin + 'static> DerefMut for QueueGuard<'_, B, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

/// A notification that the device may be waiting for. Returned by [`QueueGuard::kick_prepare`].
#[must_use = "the device may wait for the notification for ever"]
pub(crate) struct Kick<'q> {
    link: Option<&'q Link>,
}

impl Kick<'_> {
    /// Notifies the device, if it wants to be. Does nothing when the queue has closed meanwhile.
    ///
    /// Context: process or BH; does not sleep. Best without the queue's lock.
    pub(crate) fn notify(self) {
        let Some(link) = self.link else {
            return;
        };
        let _rcu = rcu::read_lock();

        if link.open.load(Relaxed) {
            // SAFETY: `open` was set inside of this RCU read-side critical section, which the
            // virtqueue outlives by the invariants of `Link`. Notifying needs no lock.
            unsafe { bindings::virtqueue_notify(link.vq.as_ptr()) };
        }
    }
}

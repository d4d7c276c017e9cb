// SPDX-License-Identifier: GPL-2.0

//! What a driver can do with a device that was found: read it, and find its queues.

use super::{
    bound::{
        self,
        Part, //
    },
    config,
    queue::Ring,
    Buffer,
    ConfigSpace,
    Queue, //
};
use crate::bindings;
use core::{
    cell::Cell,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    device::Device,
    error::to_result,
    prelude::*,
    sync::{
        Arc,
        LockClassKey, //
    },
};
use zerocopy::FromBytes;

/// A device that was found, for as long as it is probed.
///
/// # Invariants
///
/// `vdev` is valid for `'a`, and its features have been negotiated.
pub(crate) struct Probe<'a> {
    vdev: NonNull<bindings::virtio_device>,
    callback: unsafe extern "C" fn(*mut bindings::virtqueue),
    parts: Cell<KVec<Arc<dyn Part>>>,
    queues_found: Cell<bool>,
    _device: PhantomData<&'a bindings::virtio_device>,
}

impl<'a> Probe<'a> {
    /// # Safety
    ///
    /// - `vdev` must be valid for `'a`, its features must have been negotiated, and it must have
    ///   no virtqueues.
    /// - `callback` must be safe to call with each virtqueue of the device.
    pub(super) unsafe fn new(
        vdev: NonNull<bindings::virtio_device>,
        callback: unsafe extern "C" fn(*mut bindings::virtqueue),
    ) -> Self {
        // INVARIANT: By this function's safety requirements.
        Self {
            vdev,
            callback,
            parts: Cell::new(KVec::new()),
            queues_found: Cell::new(false),
            _device: PhantomData,
        }
    }

    /// Returns the parts that were made of the device, and whether its virtqueues were found.
    pub(super) fn into_parts(self) -> (KVec<Arc<dyn Part>>, bool) {
        (self.parts.into_inner(), self.queues_found.get())
    }

    /// The generic device, for messages (`dev_info!` and its like).
    pub(crate) fn device(&self) -> &Device {
        // SAFETY: `vdev` is valid for `'a` by the type invariants, so longer than `self`.
        unsafe { bound::device(self.vdev) }
    }

    /// Says whether feature `bit` was negotiated: the driver knows it and the device offers it.
    pub(crate) fn has_feature(&self, bit: u32) -> bool {
        // SAFETY: `vdev` is valid by the type invariants, and its features do not change while it
        // is probed. All bit patterns are valid for both members of the union.
        let features = unsafe { (*self.vdev.as_ptr()).__bindgen_anon_1.features_array };

        // A bit that the driver does not know is never set, so that no check is needed for it.
        features
            .get((bit / u64::BITS) as usize)
            .is_some_and(|word| word & (1 << (bit % u64::BITS)) != 0)
    }

    /// Reads a value from the device's configuration space, `offset` bytes from its start.
    ///
    /// `T` has the device's byte order, which is little-endian. Its size is 1, 2, 4 or 8 bytes. A
    /// value is read from one state of the configuration space.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the value does not lie within the first 256 bytes; `ENODEV` when the device has
    /// no configuration space; `EIO` when it does not stop changing while it is read.
    ///
    /// Context: process; may sleep.
    pub(crate) fn read_config<T: FromBytes>(&self, offset: u32) -> Result<T> {
        // SAFETY: `vdev` is valid by the type invariants.
        unsafe { config::read(self.vdev, offset) }
    }

    /// Returns a handle by which the configuration space can be read later, until the device goes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// Context: process; may sleep.
    pub(crate) fn config_space(&self) -> Result<ConfigSpace> {
        // SAFETY: `vdev` is valid by the type invariants, and stays so until the parts of the
        // device are closed. When the part cannot be added to them, nobody keeps it.
        let (space, part) = unsafe { ConfigSpace::new(self.vdev) }?;
        self.add_part(part)?;
        Ok(space)
    }

    /// Finds the first `N` virtqueues of the device.
    ///
    /// `names` are for the kernel's own use (interrupts, debugging). `callbacks` says of which
    /// queues the driver wants to know by [`Driver::interrupt`](super::Driver::interrupt) that
    /// buffers were used.
    ///
    /// # Errors
    ///
    /// `EBUSY` when called a second time; what the transport returns, such as `ENOENT` when the
    /// device has fewer queues, or `ENOMEM`.
    ///
    /// Context: process; may sleep.
    pub(crate) fn find_queues<const N: usize>(
        &self,
        names: [&'static CStr; N],
        callbacks: [bool; N],
    ) -> Result<[UnassignedQueue<'_>; N]> {
        const { assert!(N > 0) };

        if self.queues_found.get() {
            return Err(EBUSY);
        }

        let mut queues = [ptr::null_mut(); N];
        let mut infos = core::array::from_fn::<_, N, _>(|i| bindings::virtqueue_info {
            name: names[i].as_char_ptr(),
            callback: callbacks[i].then_some(self.callback),
            ctx: false,
        });

        // SAFETY: `vdev` is valid by the type invariants.
        let find_vqs = unsafe { (*(*self.vdev.as_ptr()).config).find_vqs }.ok_or(ENODEV)?;

        // SAFETY: `vdev` is valid by the type invariants and has no virtqueues yet. Both arrays
        // have `N` elements. The names are static, and `callback` may be called with any of the
        // device's virtqueues, as required by `Probe::new`.
        to_result(unsafe {
            find_vqs(
                self.vdev.as_ptr(),
                u32::try_from(N)?,
                queues.as_mut_ptr(),
                infos.as_mut_ptr(),
                ptr::null_mut(),
            )
        })?;
        self.queues_found.set(true);

        if queues.iter().any(|vq| vq.is_null()) {
            return Err(ENOENT);
        }
        Ok(queues.map(|vq| UnassignedQueue {
            // SAFETY: Checked right above.
            vq: unsafe { NonNull::new_unchecked(vq) },
            probe: self,
        }))
    }

    fn add_part(&self, part: Arc<dyn Part>) -> Result {
        let mut parts = self.parts.take();
        let result = parts.push(part, GFP_KERNEL);
        self.parts.set(parts);
        Ok(result?)
    }
}

/// A virtqueue that was found, and that has not been said yet what it carries.
///
/// # Invariants
///
/// `vq` is a virtqueue of the device that `probe` is for, and nobody else uses it.
pub(crate) struct UnassignedQueue<'p> {
    vq: NonNull<bindings::virtqueue>,
    probe: &'p Probe<'p>,
}

impl UnassignedQueue<'_> {
    /// Makes the virtqueue a queue of buffers of type `B`, whose lock protects `data`, too.
    ///
    /// `name` and `key` are those of the lock, for lockdep. Queues whose locks are taken one
    /// inside of the other need different ones.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// Context: process; may sleep.
    pub(crate) fn assign<B: Buffer, T: Send + 'static>(
        self,
        data: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> Result<Queue<B, T>> {
        let indirect = self
            .probe
            .has_feature(bindings::VIRTIO_RING_F_INDIRECT_DESC);

        // SAFETY: `vq` is valid and used by nobody else, by the type invariants; `self` is
        // consumed. The ring either becomes a part of the device, and is closed before the
        // virtqueue is deleted, or is dropped here without having been opened.
        let ring = unsafe { Ring::<B, T>::new(self.vq, indirect, data, name, key) };
        let ring = Arc::pin_init(ring, GFP_KERNEL)?;
        self.probe.add_part(ring.clone())?;
        Ok(Queue::new(ring))
    }
}

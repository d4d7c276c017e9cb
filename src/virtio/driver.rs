// SPDX-License-Identifier: GPL-2.0

//! What a driver of virtio devices implements, and its registration with the virtio bus.

use super::{
    bound,
    Probe, //
};
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::offset_of, //
};
use kernel::{
    driver,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        rcu,
        Arc,
        ArcBorrow, //
    },
    types::Opaque,
    ThisModule, //
};

/// A driver for one type of virtio device.
///
/// An implementation is the driver's data for one device. The functions below are called for a
/// device in the order `probe`, `ready`, `interrupt` and `config_changed` any number of times,
/// `stop`. After `stop` the device may be found again, with data of its own: a device that was
/// suspended is probed anew when the system resumes.
pub(crate) trait Driver: Send + Sync + Sized + 'static {
    /// The driver's name on the virtio bus (`/sys/bus/virtio/drivers`).
    const NAME: &'static CStr;

    /// The device type that the driver is for: the virtio device ID (specification, section 5).
    const DEVICE_ID: u32;

    /// The device-specific feature bits that the driver knows: bits 0 to 23 and from 50 on.
    ///
    /// Those of them that the device offers are negotiated. Bits in between belong to the
    /// transport and are negotiated by the virtio core.
    const FEATURES: &'static [u32];

    /// A device was found.
    ///
    /// Negotiated features and the configuration space can be read, and the device's queues are
    /// found here. The queues carry nothing yet: they open right before [`Driver::ready`].
    ///
    /// The result is the driver's data for this device. When it is an error, the device is left
    /// alone, and any queues that were found are gone.
    ///
    /// Context: process; may sleep.
    fn probe(device: &Probe<'_>) -> Result<Arc<Self>>;

    /// The device is live (its status has `DRIVER_OK`): buffers may be added and notifications
    /// sent.
    ///
    /// When this fails, the device is taken down, [`Driver::stop`] included.
    ///
    /// Context: process; may sleep. [`Driver::interrupt`] may run at the same time.
    fn ready(this: ArcBorrow<'_, Self>) -> Result;

    /// The device has used buffers of queue `index`, counted from 0 in the order of
    /// [`Probe::find_queues`].
    ///
    /// Called only for queues that were found with a callback. Devices and buses may call it
    /// without cause.
    ///
    /// Context: hard interrupt, inside an RCU read-side critical section. The locks of queues are
    /// not safe here: an implementation schedules work that takes the buffers.
    fn interrupt(this: ArcBorrow<'_, Self>, index: usize);

    /// The device's configuration space has changed.
    ///
    /// Context: hard interrupt, inside an RCU read-side critical section, with a spinlock of the
    /// virtio core held: an implementation schedules work that reads it.
    fn config_changed(_this: ArcBorrow<'_, Self>) {}

    /// The device goes away.
    ///
    /// [`Driver::interrupt`] and [`Driver::config_changed`] are not running and will not be called
    /// again for this data. The queues are closed: nothing can be added or taken. The device may
    /// still be writing to buffers that it has; they are dropped after this, when the device was
    /// reset.
    ///
    /// An implementation cancels the work that it has scheduled.
    ///
    /// Context: process; may sleep.
    fn stop(this: ArcBorrow<'_, Self>);
}

/// The registration of a [`Driver`] with the virtio bus.
///
/// Dropping it takes down every device that the driver has, then unregisters it.
#[pin_data]
pub(crate) struct Registration<D: Driver> {
    #[pin]
    inner: driver::Registration<Adapter<D>>,
}

impl<D: Driver> Registration<D> {
    /// Registers the driver. Devices that no other driver has are probed before this returns.
    ///
    /// # Errors
    ///
    /// `EBUSY` when the bus has a driver of the same name.
    ///
    /// Context: process; may sleep.
    pub(crate) fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- driver::Registration::new(D::NAME, module),
        })
    }
}

/// Makes the C callbacks of a [`Driver`] and registers them.
struct Adapter<D: Driver>(PhantomData<D>);

// SAFETY:
// - `bindings::virtio_driver` is `repr(C)`.
// - No private data is stored in the generic device (it is found through `virtio_device.priv`), so
//   that there is none of type `()` to be mistaken.
// - `struct virtio_driver` embeds a `struct device_driver` at the offset of its field `driver`.
unsafe impl<D: Driver> driver::DriverLayout for Adapter<D> {
    type DriverType = bindings::virtio_driver;
    type DriverData<'bound> = ();
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::virtio_driver, driver);
}

// SAFETY: `unregister` is valid for a `virtio_driver` for which `register` has succeeded.
unsafe impl<D: Driver> driver::RegistrationOps for Adapter<D> {
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        let driver = driver.get();

        // SAFETY: `driver` points to an initialised `virtio_driver` that nobody else knows of yet.
        // What its fields are set to lives as long as the module.
        unsafe {
            (*driver).driver.name = name.as_char_ptr();
            (*driver).id_table = Self::ID_TABLE.as_ptr();
            (*driver).feature_table = D::FEATURES.as_ptr();
            (*driver).feature_table_size = Self::FEATURE_COUNT;
            (*driver).probe = Some(Self::probe_callback);
            (*driver).remove = Some(Self::remove_callback);
            (*driver).config_changed = Some(Self::config_changed_callback);
            (*driver).freeze = Some(Self::freeze_callback);
            (*driver).restore = Some(Self::restore_callback);
            (*driver).reset_prepare = Some(Self::freeze_callback);
            (*driver).reset_done = Some(Self::restore_callback);
        }

        // SAFETY: `driver` is set up, and stays pinned until `unregister` by this function's own
        // safety requirements. `module` is the module that its callbacks are part of.
        to_result(unsafe { bindings::__register_virtio_driver(driver, module.as_ptr()) })
    }

    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        // SAFETY: The driver was registered, by this function's safety requirements.
        unsafe { bindings::unregister_virtio_driver(driver.get()) };
    }
}

impl<D: Driver> Adapter<D> {
    /// One type of device, of any vendor; an entry of zeros ends the table.
    const ID_TABLE: &'static [bindings::virtio_device_id; 2] = &[
        bindings::virtio_device_id {
            device: D::DEVICE_ID,
            vendor: bindings::VIRTIO_DEV_ANY_ID,
        },
        bindings::virtio_device_id {
            device: 0,
            vendor: 0,
        },
    ];

    const FEATURE_COUNT: u32 = {
        let mut i = 0;
        while i < D::FEATURES.len() {
            assert!(
                D::FEATURES[i] < bindings::VIRTIO_TRANSPORT_F_START
                    || D::FEATURES[i] >= bindings::VIRTIO_TRANSPORT_F_END
            );
            assert!(D::FEATURES[i] < bindings::VIRTIO_FEATURES_BITS);
            i += 1;
        }
        // CAST: Checked above, as feature bits are few, and a table has no use for the same twice.
        D::FEATURES.len() as u32
    };

    /// A device was found.
    ///
    /// # Safety
    ///
    /// Only for the virtio bus to call, with the device's lock held, for a device whose features
    /// were just negotiated.
    unsafe extern "C" fn probe_callback(vdev: *mut bindings::virtio_device) -> c_int {
        from_result(|| {
            // SAFETY: The bus calls this for a valid device that it has just bound to this driver,
            // with the device's lock held. Its virtqueues call back by `interrupt_callback`.
            unsafe { bound::bind::<D>(vdev, Self::interrupt_callback) }?;
            Ok(0)
        })
    }

    /// A device goes, or the driver does.
    ///
    /// # Safety
    ///
    /// Only for the virtio bus to call, with the device's lock held, for a device for which
    /// `probe_callback` has succeeded.
    unsafe extern "C" fn remove_callback(vdev: *mut bindings::virtio_device) {
        // SAFETY: By this function's safety requirements.
        unsafe { bound::unbind::<D>(vdev) };
    }

    /// The system is suspended, or the device is about to be reset by its bus.
    ///
    /// # Safety
    ///
    /// Only for the virtio core to call, with the device's lock held, for a device for which
    /// `probe_callback` has succeeded.
    unsafe extern "C" fn freeze_callback(vdev: *mut bindings::virtio_device) -> c_int {
        // SAFETY: By this function's safety requirements.
        unsafe { bound::unbind::<D>(vdev) };
        0
    }

    /// The system resumes, or the device was reset by its bus.
    ///
    /// # Safety
    ///
    /// Only for the virtio core to call, with the device's lock held, after `freeze_callback`, when
    /// it has reset the device and negotiated its features again.
    unsafe extern "C" fn restore_callback(vdev: *mut bindings::virtio_device) -> c_int {
        from_result(|| {
            // SAFETY: By this function's safety requirements. `freeze_callback` has deleted the
            // virtqueues that the device had.
            unsafe { bound::bind::<D>(vdev, Self::interrupt_callback) }?;
            Ok(0)
        })
    }

    /// Buffers were used.
    ///
    /// # Safety
    ///
    /// Only for the virtio core to call, with a virtqueue that [`bound::bind`] of this `D` found.
    unsafe extern "C" fn interrupt_callback(vq: *mut bindings::virtqueue) {
        // SAFETY: The virtqueue and its device stay valid until the callback returns.
        let (vdev, index) = unsafe { ((*vq).vdev, (*vq).index) };
        let rcu = rcu::read_lock();

        // SAFETY: `vdev` is valid, and bound to this driver, since its virtqueue was found by it.
        if let Some(data) = unsafe { bound::data::<D>(vdev, &rcu) } {
            D::interrupt(data, index as usize);
        }
    }

    /// The configuration space has changed.
    ///
    /// # Safety
    ///
    /// Only for the virtio core to call, between a successful `probe_callback` and
    /// `remove_callback`.
    unsafe extern "C" fn config_changed_callback(vdev: *mut bindings::virtio_device) {
        let rcu = rcu::read_lock();

        // SAFETY: `vdev` is valid and bound to this driver, by this function's safety requirements.
        if let Some(data) = unsafe { bound::data::<D>(vdev, &rcu) } {
            D::config_changed(data);
        }
    }
}

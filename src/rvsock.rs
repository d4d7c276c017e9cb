// SPDX-License-Identifier: GPL-2.0

//! AF_VSOCK: sockets between virtual machines and their hosts.
//!
//! The crate is a house of four floors, and arrows only point down:
//!
//! | floor | modules | what it knows |
//! |---|---|---|
//! | 4 | [`socket`] | what a file descriptor does |
//! | 3 | [`transport`] | how packets travel |
//! | 2 | [`net`], [`virtio`] on [`bindings`] | the kernel: all `unsafe` is here |
//! | 1 | [`protocol`] | the rules of the wire; no kernel |
//!
//! This file is the entrance: the parameters, and the order in which things are registered.

mod bindings;
mod net;
mod protocol;
mod socket;
mod transport;
mod virtio;

use kernel::{
    debugfs,
    prelude::*,
    sync::Arc, //
};
use net::{
    diag,
    family::Family as _,
    misc_device,
    registration,
    series, //
};
use socket::{
    CidFile,
    Context,
    Vsock, //
};
use transport::{
    virtio::{
        Descriptors,
        Device, //
    },
    Receiver as _, //
};

module! {
    type: Rvsock,
    name: "rvsock",
    authors: ["The rvsock developers"],
    description: "Sockets between virtual machines and their hosts (AF_VSOCK)",
    license: "GPL v2",
    params: {
        family: u8 {
            default: 18,
            description: "Number of the socket family: 18, or 40 for AF_VSOCK itself",
        },
        tx_descriptors: u8 {
            default: 2,
            description: "Most descriptors of a packet that is sent: 2, which all devices take, to 18",
        },
    },
}

/// The module.
///
/// Fields are dropped from the first to the last. A socket holds the module, so at that time there
/// is none, and neither is an open file of the character device or a report under way: those are
/// given up, then the device, then the number of the family and what it has in each namespace.
#[pin_data]
struct Rvsock {
    #[pin]
    cid_file: misc_device::Registration<CidFile>,
    #[pin]
    diag: diag::Registration<Vsock>,
    #[pin]
    counters: debugfs::File<Arc<Context>>,
    #[pin]
    device_counters: debugfs::File<Arc<Context>>,
    directory: debugfs::Dir,
    #[pin]
    driver: virtio::Registration<Device<Context>>,
    family: registration::Registration<Vsock>,
}

impl kernel::InPlaceModule for Rvsock {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let number: u8 = series::parameter(module_parameters::family.value());
        try_pin_init!(Self {
            // Before anything else: when the number is taken, the module stops here.
            family: register(number, module)?,
            directory: debugfs::Dir::new(c"rvsock"),
            counters <- directory.read_callback_file(
                c"counters",
                Vsock::slot().context().ok_or(ENODEV)?,
                &|context: &Arc<Context>, out| context.write_counters(out),
            ),
            device_counters <- directory.read_callback_file(
                c"device",
                Vsock::slot().context().ok_or(ENODEV)?,
                &|context: &Arc<Context>, out| context.write_device(out),
            ),
            driver <- virtio::Registration::new(module),
            diag <- diag::Registration::new(number, module),
            // The last that may fail, see there.
            cid_file <- misc_device::Registration::new(CidFile::name(number), module),
            _: {
                family.open();
                pr_info!("family {} registered\n", number);
                if !Vsock::slot().context().is_some_and(|context| context.has_device()) {
                    pr_notice!(
                        "no virtio socket device is free; if another driver has it, unload that \
                         first (rmmod vmw_vsock_virtio_transport), then load this again\n"
                    );
                }
            },
        })
    }
}

fn register(number: u8, module: &'static ThisModule) -> Result<registration::Registration<Vsock>> {
    let descriptors = series::parameter(module_parameters::tx_descriptors.value());
    let descriptors = Descriptors::new(descriptors)
        .ok_or(EINVAL)
        .inspect_err(|_| {
            pr_err!(
                "a packet cannot have {descriptors} descriptors; tx_descriptors=2 to 18 will do\n"
            );
        })?;
    let context = Context::new(number, descriptors)?;
    registration::Registration::new(number, module, context).inspect_err(|error| {
        if *error == EEXIST {
            pr_err!(
                "family {} is taken; unload the module that has it first, for 40: \
                 modprobe -r vsock_loopback vmw_vsock_virtio_transport vsock\n",
                number
            );
        } else if *error == EINVAL {
            pr_err!(
                "there is no socket family {}; family=18 or family=40 will do\n",
                number
            );
        }
    })
}

// SPDX-License-Identifier: GPL-2.0

//! The character device that tells the CID of this machine.
//!
//! Source: vsock(7), `<linux/vm_sockets.h>`.

use super::{
    context::{
        Context,
        SLOT, //
    },
    options::AF_VSOCK, //
};
use crate::protocol::address::Cid;
use kernel::{
    fs::File,
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    prelude::*,
    str::CStr,
    sync::{
        Arc,
        ArcBorrow, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// `IOCTL_VM_SOCKETS_GET_LOCAL_CID`: no size and no direction are coded into it.
const GET_LOCAL_CID: u32 = kernel::ioctl::_IO(7, 0xb9);

/// What an open file of the device does: it answers one `ioctl(2)`.
pub(crate) struct CidFile;

impl CidFile {
    /// The name of the device in `/dev`, for the family with this number.
    pub(crate) fn name(family: u8) -> &'static CStr {
        if i32::from(family) == AF_VSOCK {
            c"vsock"
        } else {
            c"rvsock"
        }
    }
}

#[vtable]
impl MiscDevice for CidFile {
    type Ptr = Arc<Context>;

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result<Arc<Context>> {
        SLOT.context().ok_or(ENODEV)
    }

    /// Writes the CID of this machine, 32 bits: that of the device, or without one that of
    /// loopback. A 32-bit program has the same command and the same argument.
    fn ioctl(
        context: ArcBorrow<'_, Context>,
        _file: &File,
        command: u32,
        argument: usize,
    ) -> Result<isize> {
        if command != GET_LOCAL_CID {
            return Err(ENOTTY);
        }
        let cid = context.device().map_or(Cid::LOCAL, |device| device.cid());
        UserSlice::new(UserPtr::from_addr(argument), size_of::<u32>())
            .writer()
            .write(&cid.0)
            .map(|()| 0)
    }
}

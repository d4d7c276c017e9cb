// SPDX-License-Identifier: GPL-2.0

//! `struct msghdr`: what a send or a receive is given.
//!
//! C header: [`include/linux/socket.h`](srctree/include/linux/socket.h)

use crate::bindings;
use core::{
    marker::PhantomData,
    slice, //
};
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*, //
};

/// The flags of `send(2)` and `recv(2)` (`MSG_*`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct MsgFlags(u32);

impl MsgFlags {
    /// Urgent data (`MSG_OOB`).
    pub(crate) const OOB: Self = Self(bindings::MSG_OOB);
    /// Leave what is received in the queue (`MSG_PEEK`).
    pub(crate) const PEEK: Self = Self(bindings::MSG_PEEK);
    /// Give the real length, or say that a message was cut (`MSG_TRUNC`).
    pub(crate) const TRUNC: Self = Self(bindings::MSG_TRUNC);
    /// Do not sleep (`MSG_DONTWAIT`).
    pub(crate) const DONTWAIT: Self = Self(bindings::MSG_DONTWAIT);
    /// Wait until all that was asked for is there (`MSG_WAITALL`).
    pub(crate) const WAITALL: Self = Self(bindings::MSG_WAITALL);
    /// Do not send `SIGPIPE` (`MSG_NOSIGNAL`).
    pub(crate) const NOSIGNAL: Self = Self(bindings::MSG_NOSIGNAL);
    /// The message ends a record (`MSG_EOR`).
    pub(crate) const EOR: Self = Self(bindings::MSG_EOR);
    /// Read the error queue (`MSG_ERRQUEUE`).
    pub(crate) const ERRQUEUE: Self = Self(bindings::MSG_ERRQUEUE);
    /// The caller lends its memory until it is told otherwise (`MSG_ZEROCOPY`).
    pub(crate) const ZEROCOPY: Self = Self(bindings::MSG_ZEROCOPY);
    /// The caller gives references to its pages (`MSG_SPLICE_PAGES`): kernel code only.
    pub(crate) const SPLICE_PAGES: Self = Self(bindings::MSG_SPLICE_PAGES);

    /// Takes C's flags.
    pub(super) const fn from_raw(flags: u32) -> Self {
        Self(flags)
    }

    /// Whether all of `flags` are set.
    pub(crate) const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// What a send is given.
///
/// # Invariants
///
/// `raw` points to a `struct msghdr` of a `sendmsg` under way, whose iterator is a source, and to
/// which nothing else has access for `'a`.
pub(crate) struct SendMessage<'a> {
    raw: *mut bindings::msghdr,
    /// Bytes of the source at the beginning.
    len: usize,
    _call: PhantomData<&'a mut bindings::msghdr>,
}

impl SendMessage<'_> {
    /// Wraps the message of a `sendmsg`. `EINVAL` if its iterator is no source.
    ///
    /// # Safety
    ///
    /// `raw` must be the message that `sendmsg` of `struct proto_ops` was called with; nothing
    /// else may access it for as long as the result lives.
    pub(super) unsafe fn from_raw(raw: *mut bindings::msghdr) -> Result<Self> {
        // SAFETY: `raw` is valid by the requirements.
        if u32::from(unsafe { (*raw).msg_iter.data_source }) != bindings::ITER_SOURCE {
            return Err(EINVAL);
        }
        // INVARIANT: By the requirements and the check above.
        let mut this = Self {
            raw,
            len: 0,
            _call: PhantomData,
        };
        this.len = this.source().len();
        Ok(this)
    }

    /// Where the data come from.
    pub(crate) fn source(&mut self) -> &mut IovIterSource<'_> {
        // SAFETY: By the type invariants, the iterator is a valid source that only this value has
        // access to, and it can be read for the length of the call.
        unsafe { IovIterSource::from_raw(&raw mut (*self.raw).msg_iter) }
    }

    /// The last `bytes` that were read of the source were not sent: it is where it was before them, or
    /// at its beginning if fewer were read.
    pub(crate) fn unread(&mut self, bytes: usize) {
        let read = self.len.saturating_sub(self.source().len());
        // SAFETY: The source only goes forward but for this, from where it had `len` bytes: it has gone
        // on by at least that.
        unsafe { self.source().revert(bytes.min(read)) };
    }

    /// The caller's flags. `DONTWAIT` is set for a non-blocking file.
    pub(crate) fn flags(&self) -> MsgFlags {
        // SAFETY: By the type invariants, `raw` is valid.
        MsgFlags::from_raw(unsafe { (*self.raw).msg_flags })
    }

    /// The destination that the caller named, as it stands: not checked in any way. At most
    /// `sizeof(struct sockaddr_storage)` bytes for a call of user space.
    pub(crate) fn address(&self) -> Option<&[u8]> {
        // SAFETY: By the type invariants, `raw` is valid.
        let (name, len) = unsafe { ((*self.raw).msg_name, (*self.raw).msg_namelen) };
        let len = usize::try_from(len).unwrap_or(0);
        if name.is_null() || len == 0 {
            return None;
        }
        // SAFETY: The caller of `sendmsg` gives `msg_namelen` bytes of kernel memory, which stay
        // as they are for the length of the call.
        Some(unsafe { slice::from_raw_parts(name.cast(), len) })
    }

    /// The `struct msghdr`.
    pub(super) fn as_raw(&self) -> *const bindings::msghdr {
        self.raw
    }

    /// The failure of a send for which there is no reader any more: `EPIPE`, with `SIGPIPE` for
    /// the task unless the caller does not want it. Process context.
    pub(crate) fn pipe_error(&self) -> Error {
        if !self.flags().contains(MsgFlags::NOSIGNAL) {
            // SAFETY: Just an FFI call.
            unsafe { bindings::rvsock_send_sigpipe() };
        }
        EPIPE
    }
}

/// What a receive is given.
///
/// # Invariants
///
/// `raw` points to a `struct msghdr` of a `recvmsg` under way, whose iterator is a destination, and
/// to which nothing else has access for `'a`.
pub(crate) struct ReceiveMessage<'a> {
    raw: *mut bindings::msghdr,
    _call: PhantomData<&'a mut bindings::msghdr>,
}

impl ReceiveMessage<'_> {
    /// Wraps the message of a `recvmsg`. `EINVAL` if its iterator is no destination.
    ///
    /// # Safety
    ///
    /// `raw` must be the message that `recvmsg` of `struct proto_ops` was called with; nothing
    /// else may access it for as long as the result lives.
    pub(super) unsafe fn from_raw(raw: *mut bindings::msghdr) -> Result<Self> {
        // SAFETY: `raw` is valid by the requirements.
        if u32::from(unsafe { (*raw).msg_iter.data_source }) != bindings::ITER_DEST {
            return Err(EINVAL);
        }
        // INVARIANT: By the requirements and the check above.
        Ok(Self {
            raw,
            _call: PhantomData,
        })
    }

    /// Tells the caller of `flags` beside what it received, as `msg_flags` of `recvmsg(2)`.
    pub(crate) fn add_flags(&mut self, flags: MsgFlags) {
        // SAFETY: By the type invariants, `raw` is valid, and nothing else has access to it.
        unsafe { (*self.raw).msg_flags |= flags.0 };
    }

    /// Where the data go.
    pub(crate) fn dest(&mut self) -> &mut IovIterDest<'_> {
        // SAFETY: By the type invariants, the iterator is a valid destination that only this value
        // has access to, and it can be written to for the length of the call.
        unsafe { IovIterDest::from_raw(&raw mut (*self.raw).msg_iter) }
    }

    /// Says who sent what was received, if the caller wants to know.
    ///
    /// # Errors
    ///
    /// `EINVAL` for more bytes than a `struct sockaddr_storage` has.
    pub(crate) fn set_address(&mut self, address: &[u8]) -> Result {
        if address.len() > size_of::<bindings::__kernel_sockaddr_storage>() {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariants, `raw` is valid. If there is a `msg_name`, it has room for
        // a `struct sockaddr_storage`, or for an address of the family where the caller is in the
        // kernel.
        unsafe {
            let name = (*self.raw).msg_name;
            if !name.is_null() {
                core::ptr::copy_nonoverlapping(address.as_ptr(), name.cast(), address.len());
                (*self.raw).msg_namelen = address.len() as c_int;
            }
        }
        Ok(())
    }

    /// The `struct msghdr`.
    pub(super) fn as_raw(&mut self) -> *mut bindings::msghdr {
        self.raw
    }
}

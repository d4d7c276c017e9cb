// SPDX-License-Identifier: GPL-2.0

//! The arguments of `setsockopt(2)`, `getsockopt(2)` and `getsockname(2)`.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/linux/sockptr.h`](srctree/include/linux/sockptr.h)

use crate::bindings;
use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};
use kernel::{
    iov::IovIterDest,
    prelude::*, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};
use zerocopy_derive::{
    FromBytes as FromBytesDerive,
    Immutable as ImmutableDerive,
    IntoBytes as IntoBytesDerive, //
};

/// Options of the socket layer (`SOL_SOCKET`) that some families handle themselves.
pub(crate) mod socket {
    use super::bindings;

    /// A receive tells how much is left.
    pub(crate) const INQ: i32 = bindings::SO_INQ as i32;
    /// `MSG_ZEROCOPY` has an effect.
    pub(crate) const ZEROCOPY: i32 = bindings::SO_ZEROCOPY as i32;
}

/// A length of time as options have it (`struct timeval`), not checked in any way.
#[derive(Clone, Copy, FromBytesDerive, IntoBytesDerive, ImmutableDerive)]
#[repr(C)]
pub(crate) struct Timeval {
    pub(crate) seconds: i64,
    pub(crate) microseconds: i64,
}

/// The same of a 32-bit program, where an option has an old form.
#[derive(Clone, Copy, FromBytesDerive, IntoBytesDerive, ImmutableDerive)]
#[repr(C)]
struct Timeval32 {
    seconds: i32,
    microseconds: i32,
}

/// Which form of a `struct timeval` an option has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimevalForm {
    /// That of the program: a 32-bit one may have members of 32 bits.
    Old,
    /// Members of 64 bits.
    New,
}

impl TimevalForm {
    /// Whether the members have 32 bits for the calling task.
    fn is_short(self) -> bool {
        // SAFETY: Just an FFI call.
        self == Self::Old && unsafe { bindings::rvsock_in_compat_time() }
    }
}

/// The value of an option that is being set: memory of the caller, in user space or not.
pub(crate) struct OptionValue<'a> {
    raw: bindings::sockptr_t,
    len: usize,
    _call: PhantomData<&'a ()>,
}

impl OptionValue<'_> {
    /// # Safety
    ///
    /// `raw` and `len` must be those that `setsockopt` of `struct proto_ops` was called with; the
    /// result must not outlive that call.
    pub(super) unsafe fn from_raw(raw: bindings::sockptr_t, len: usize) -> Self {
        Self {
            raw,
            len,
            _call: PhantomData,
        }
    }

    /// Copies a value in; what the caller gave beyond it is ignored.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the caller gave less than a `T`, `EFAULT` if it cannot be read.
    pub(crate) fn read<T: FromBytes>(&self) -> Result<T> {
        if self.len < size_of::<T>() {
            return Err(EINVAL);
        }
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: `raw` is the caller's pointer of a call under way; a user pointer is checked by
        // the function, a kernel pointer is good for `len` bytes, which is at least the size of
        // `T`. `value` is valid for writes of that size.
        let result = unsafe {
            bindings::rvsock_copy_from_sockptr(value.as_mut_ptr().cast(), self.raw, size_of::<T>())
        };
        kernel::error::to_result(result)?;
        // SAFETY: All bytes were written, and any are a `T`.
        Ok(unsafe { value.assume_init() })
    }

    /// Copies a length of time in, as [`OptionValue::read`] does. Process context.
    pub(crate) fn read_time(&self, form: TimevalForm) -> Result<Timeval> {
        if !form.is_short() {
            return self.read();
        }
        let time: Timeval32 = self.read()?;
        Ok(Timeval {
            seconds: time.seconds.into(),
            microseconds: time.microseconds.into(),
        })
    }
}

/// Where the value of an option goes that is being read.
///
/// # Invariants
///
/// `raw` is the `sockopt_t` of a `getsockopt_iter` under way, whose `iter_out` is a destination.
pub(crate) struct OptionOut<'a> {
    raw: *mut bindings::sockopt_t,
    _call: PhantomData<&'a mut bindings::sockopt_t>,
}

impl OptionOut<'_> {
    /// # Safety
    ///
    /// `raw` must be what `getsockopt_iter` of `struct proto_ops` was called with; the result must
    /// not outlive that call, and nothing else may access `raw` meanwhile.
    pub(super) unsafe fn from_raw(raw: *mut bindings::sockopt_t) -> Self {
        // INVARIANT: By the requirements.
        Self {
            raw,
            _call: PhantomData,
        }
    }

    /// How many bytes the caller has room for.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: By the type invariants, `raw` is valid.
        usize::try_from(unsafe { (*self.raw).optlen }).unwrap_or(0)
    }

    /// Gives the value, cut to the room that the caller has, and tells the caller how many bytes
    /// that were.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the caller's memory cannot be written to.
    pub(crate) fn write<T: IntoBytes + Immutable>(self, value: &T) -> Result {
        let bytes = value.as_bytes();
        let bytes = bytes.get(..self.len()).unwrap_or(bytes);

        // SAFETY: By the type invariants, the iterator is a valid destination that only this value
        // has access to, and it can be written to for the length of the call.
        let dest = unsafe { IovIterDest::from_raw(&raw mut (*self.raw).iter_out) };
        if dest.copy_to_iter(bytes) != bytes.len() {
            return Err(EFAULT);
        }
        // SAFETY: By the type invariants, `raw` is valid and this value's own. The length is at
        // most the `int` that stood there.
        unsafe { (*self.raw).optlen = bytes.len() as c_int };
        Ok(())
    }

    /// Gives a value as [`OptionOut::write`] does, but only to a caller that has room for all of it:
    /// part of a number is none.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `EFAULT`.
    pub(crate) fn write_whole<T: IntoBytes + Immutable>(self, value: &T) -> Result {
        if self.len() < size_of::<T>() {
            return Err(EINVAL);
        }
        self.write(value)
    }

    /// Gives a length of time, as [`OptionOut::write_whole`] does. Process context.
    pub(crate) fn write_time(self, form: TimevalForm, time: Timeval) -> Result {
        if !form.is_short() {
            return self.write_whole(&time);
        }
        self.write_whole(&Timeval32 {
            seconds: i32::try_from(time.seconds).unwrap_or(i32::MAX),
            // Less than a million.
            microseconds: time.microseconds as i32,
        })
    }
}

/// Room for the address that `getsockname(2)` and `getpeername(2)` give.
///
/// # Invariants
///
/// `len` is at most the length of `room`.
pub(crate) struct AddressBuffer<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl<'a> AddressBuffer<'a> {
    /// Room that holds no address yet.
    pub(super) fn new(room: &'a mut [u8]) -> Self {
        // INVARIANT: Zero is not more than any length.
        Self { room, len: 0 }
    }

    /// Sets the address. `EINVAL` if it is longer than the room.
    pub(crate) fn write(&mut self, address: &[u8]) -> Result {
        self.room
            .get_mut(..address.len())
            .ok_or(EINVAL)?
            .copy_from_slice(address);
        // INVARIANT: `get_mut` found as many bytes.
        self.len = address.len();
        Ok(())
    }

    /// The length of the address that was written.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Raw bindings: the kernel crate's, and on top of them what it lacks.
//!
//! Only `net` and `virtio` use this module; everything here is `unsafe` to use. What has a C
//! definition that bindgen can express is generated into the object directory from `helper.h`, by
//! the allow-list in `bindgen_parameters`. What C has as inline functions or macros is a function
//! `rvsock_*` of one of the `shims_*.c`.
//!
//! A name that is both in the kernel crate's bindings and generated here means the one generated
//! here. That matters for types that are opaque in the kernel crate, such as `struct sock`: a
//! pointer that passes between the two is cast.

// What bindgen writes is not written to the rules of this tree.
#[allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
#[cfg_attr(not(CONFIG_RUSTC_HAS_UNNECESSARY_TRANSMUTES), allow(unknown_lints))]
#[allow(unnecessary_transmutes)]
mod generated {
    use kernel::ffi;
    use pin_init::{
        MaybeZeroable,
        Zeroable, //
    };

    // Names defined in this module take precedence over those of a glob import.
    pub(crate) use kernel::bindings::*;

    // The kernel's bindgen parameters leave these to be mapped by hand.
    type __kernel_size_t = usize;
    type __kernel_ssize_t = isize;
    type __kernel_ptrdiff_t = isize;

    // SAFETY: `__BindgenBitfieldUnit<Storage>` is a newtype around `Storage`.
    unsafe impl<Storage> Zeroable for __BindgenBitfieldUnit<Storage> where Storage: Zeroable {}

    include!(env!("RVSOCK_BINDINGS"));
}

pub(crate) use self::generated::*;

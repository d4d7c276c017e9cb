// SPDX-License-Identifier: GPL-2.0

//! Sysctls of a network namespace: files under `/proc/sys/net`.
//!
//! C header: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h); C source:
//! [`net/sysctl_net.c`](srctree/net/sysctl_net.c)

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_result,
    prelude::*,
    str::CStr,
    sync::Arc, //
};

/// One file, which shows and takes a word.
pub(crate) struct Setting<T> {
    /// The name of the file.
    pub(crate) name: &'static CStr,
    /// What reading it shows.
    pub(crate) read: fn(&T) -> &'static str,
    /// What writing to it does; it cannot be written to without. An error is that of `write(2)`.
    pub(crate) write: Option<fn(&T, &[u8]) -> Result>,
}

/// Something that has settings. All are called in process context.
pub(crate) trait Settings: Send + Sync + Sized + 'static {
    /// The files of one directory.
    const SETTINGS: &'static [Setting<Self>];
}

/// The files of the settings of one `T`. Dropping it takes them away, once nobody reads or writes
/// them any more.
///
/// # Invariants
///
/// `header` was given for `_table`, whose entries have `data` that points to `_target`, and `extra1`
/// that points to a [`Setting<T>`].
pub(super) struct Registration<T: Settings> {
    header: NonNull<bindings::ctl_table_header>,
    _table: KVec<bindings::ctl_table>,
    _target: Arc<T>,
}

// SAFETY: The files may be taken away by any thread; `T` is `Send` and `Sync`.
unsafe impl<T: Settings> Send for Registration<T> {}

impl<T: Settings> Registration<T> {
    /// Makes the files in the directory `path` of a network namespace. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if there is such a directory with such files.
    ///
    /// # Safety
    ///
    /// `net` must be valid until the result is dropped.
    pub(super) unsafe fn new(
        net: *mut bindings::net,
        path: &'static CStr,
        target: Arc<T>,
    ) -> Result<Self> {
        let mut table = KVec::with_capacity(T::SETTINGS.len(), GFP_KERNEL)?;
        for setting in T::SETTINGS {
            let entry = bindings::ctl_table {
                procname: setting.name.as_char_ptr(),
                data: Arc::as_ptr(&target).cast_mut().cast(),
                maxlen: LONGEST as c_int,
                mode: if setting.write.is_some() {
                    0o644
                } else {
                    0o444
                },
                proc_handler: Some(handle::<T>),
                extra1: (&raw const *setting).cast_mut().cast(),
                ..Default::default()
            };
            table.push(entry, GFP_KERNEL)?;
        }
        // SAFETY: By the requirements, `net` is valid; path, names and settings are static. The
        // table and the target are kept until the files are gone.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                net,
                path.as_char_ptr(),
                table.as_mut_ptr(),
                table.len(),
            )
        };
        // INVARIANT: Just registered.
        Ok(Self {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _table: table,
            _target: target,
        })
    }
}

impl<T: Settings> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, it was registered; this is done once. Waits for those
        // who use the files.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}

/// The longest word, with its line feed, in bytes.
const LONGEST: usize = 16;

/// `proc_handler` of `struct ctl_table`.
///
/// # Safety
///
/// To be called by the kernel, for a table of a [`Registration<T>`]: `buffer` has `len` bytes.
unsafe extern "C" fn handle<T: Settings>(
    table: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    len: *mut usize,
    position: *mut bindings::loff_t,
) -> c_int {
    // SAFETY: By the type invariants of `Registration`, whose drop waits for this function.
    let (target, setting) = unsafe {
        (
            &*(*table).data.cast::<T>(),
            &*(*table).extra1.cast::<Setting<T>>(),
        )
    };
    // SAFETY: The kernel gives valid pointers, and nobody else uses what they point to.
    let (len, position) = unsafe { (&mut *len, &mut *position) };

    from_result(|| {
        if *len == 0 {
            return Ok(0);
        }
        if write != 0 {
            // SAFETY: By the requirements.
            let text = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), *len) };
            // A word is written at once.
            if *position != 0 {
                return Err(EINVAL);
            }
            let end = text.iter().position(|byte| matches!(byte, b'\n' | 0));
            let word = &text[..end.unwrap_or(text.len())];
            setting.write.ok_or(EPERM)?(target, word)?;
        } else {
            let word = (setting.read)(target).as_bytes();
            let line = Iterator::chain(word.iter(), b"\n");
            // SAFETY: By the requirements.
            let out = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), *len) };
            // All of it is read at once, or what of it there is room for.
            *len = if *position == 0 {
                out.iter_mut()
                    .zip(line)
                    .map(|(to, from)| *to = *from)
                    .count()
            } else {
                0
            };
        }
        *position += *len as bindings::loff_t;
        Ok(0)
    })
}

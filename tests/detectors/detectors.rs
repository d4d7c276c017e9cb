// SPDX-License-Identifier: GPL-2.0

//! Deliberate faults, one for each kind of detector of the debugging kernel, to see that it
//! sees what Rust code does. The parameter `fault` says which; loading the module commits it.
//!
//! Each fault has a function of its own, never inlined, so that the reports name it.

use core::hint::black_box;
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        new_spinlock,
        Mutex,
        SpinLock, //
    }, //
};

module! {
    type: Detectors,
    name: "detectors",
    authors: ["The rvsock developers"],
    description: "Deliberate faults, to see that detectors see them",
    license: "GPL v2",
    params: {
        fault: u8 {
            default: 0,
            description: "1: use after free, 2: leak, 3: lock inversion, 4: sleep in atomic context",
        },
    },
}

struct Detectors;

impl kernel::Module for Detectors {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        match *module_parameters::fault.value() {
            1 => use_after_free()?,
            2 => leak()?,
            3 => lock_inversion()?,
            4 => sleep_in_atomic()?,
            _ => return Err(EINVAL),
        }
        Ok(Self)
    }
}

/// As large as something that a module allocates: not a size of its own.
type Block = [u64; 20];

/// Reads from memory that was given back.
#[inline(never)]
fn use_after_free() -> Result {
    let block: *mut Block = KBox::into_raw(KBox::new([7; 20], GFP_KERNEL)?);

    // SAFETY: `block` is from `KBox::into_raw`.
    drop(unsafe { KBox::from_raw(block) });
    // SAFETY: None: the memory was given back a line above. This is the fault.
    black_box(unsafe { block.cast::<u64>().add(5).read_volatile() });
    Ok(())
}

/// Forgets blocks of memory that nobody else knows of.
#[inline(never)]
fn leak() -> Result {
    for _ in 0..LEAKED {
        let block: KBox<Block> = KBox::new([7; 20], GFP_KERNEL)?;

        core::mem::forget(black_box(block));
    }
    Ok(())
}

/// So many that a pointer left on a stack, or in a cache, hides a few at most.
const LEAKED: usize = 10;

/// Two locks that are taken in both orders.
#[pin_data]
struct TwoLocks {
    #[pin]
    first: Mutex<u32>,
    #[pin]
    second: Mutex<u32>,
}

/// Takes two locks in one order, then in the other.
#[inline(never)]
fn lock_inversion() -> Result {
    let locks = KBox::pin_init(
        pin_init!(TwoLocks {
            first <- new_mutex!(0, "detectors_first"),
            second <- new_mutex!(0, "detectors_second"),
        }),
        GFP_KERNEL,
    )?;

    {
        let mut first = locks.first.lock();
        *first += *locks.second.lock();
    }
    {
        let mut second = locks.second.lock();
        *second += *locks.first.lock();
    }
    Ok(())
}

/// Allocates with a spinlock held, in a way that may sleep.
#[inline(never)]
fn sleep_in_atomic() -> Result {
    let lock: Pin<KBox<SpinLock<u32>>> =
        KBox::pin_init(new_spinlock!(0, "detectors_spin"), GFP_KERNEL)?;
    let held = lock.lock();

    black_box(KBox::new(*held, GFP_KERNEL)?);
    drop(held);
    Ok(())
}

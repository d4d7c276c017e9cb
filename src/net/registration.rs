// SPDX-License-Identifier: GPL-2.0

//! Making a family of sockets known to the kernel, and the static memory that this takes.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h); C source:
//! [`net/socket.c`](srctree/net/socket.c)

use super::{
    create,
    family::Family,
    namespace::{
        self,
        PerNamespace, //
    },
    proto,
    proto_ops,
    sock::Sock,
    sock_list::SockList, //
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ptr::addr_of, //
};
use kernel::{
    container_of,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::delay::fsleep,
    time::Delta,
    ThisModule, //
};

/// Static memory of a family: what the kernel keeps pointers to while the family is registered and
/// for as long as there are sockets.
///
/// # Invariants
///
/// - `claimed` is set by the one [`Registration`] that there is.
/// - `tables` is written only by that registration, while neither `socket(2)` can find the family
///   nor a socket exists.
/// - `live` counts the sockets that exist and every other [`Use`] of the tables.
pub(crate) struct Slot<F: Family> {
    claimed: Atomic<bool>,
    /// Set from the end of `Registration::new` to the beginning of its drop.
    registered: Atomic<bool>,
    open: Atomic<bool>,
    live: Atomic<usize>,
    /// The number of the memory that the family has in each network namespace. Written by the
    /// kernel while the registration is being made.
    net_id: Atomic<u32>,
    tables: UnsafeCell<Tables<F>>,
}

struct Tables<F: Family> {
    proto: bindings::proto,
    ops: bindings::proto_ops,
    family: bindings::net_proto_family,
    namespaces: bindings::pernet_operations,
    context: Option<Arc<F::Context>>,
    sysctls: &'static CStr,
}

// SAFETY: By the type invariants, `tables` is written by one thread while no other accesses it;
// otherwise it is read only, or changed by C under C's own locks. `F::Context` is `Send + Sync`.
unsafe impl<F: Family> Sync for Slot<F> {}

impl<F: Family> Slot<F> {
    /// A slot that no registration uses.
    pub(crate) const fn new() -> Self {
        // INVARIANT: There is no registration and no socket.
        Self {
            claimed: Atomic::new(false),
            registered: Atomic::new(false),
            open: Atomic::new(false),
            live: Atomic::new(0),
            net_id: Atomic::new(0),
            tables: UnsafeCell::new(Tables {
                proto: proto::empty(),
                // SAFETY: All fields are integers, pointers or optional functions, for which zero
                // is valid.
                ops: unsafe { MaybeUninit::zeroed().assume_init() },
                // SAFETY: As above.
                family: unsafe { MaybeUninit::zeroed().assume_init() },
                // SAFETY: As above.
                namespaces: unsafe { MaybeUninit::zeroed().assume_init() },
                context: None,
                sysctls: c"",
            }),
        }
    }

    /// Keeps the registration's tables as they are for as long as the result lives; `None` unless
    /// `flag`, which is `registered` or `open`, is set.
    fn enter(&'static self, flag: &Atomic<bool>) -> Option<Use<F>> {
        // Fully ordered, as is the reverse in `Registration::drop`: either the registration sees
        // this count, or this sees that the flag is no longer set.
        self.live.fetch_add(1, Full);
        // INVARIANT: Counted.
        let tables_use = Use(self);
        flag.load(Acquire).then_some(tables_use)
    }

    /// A use of the tables for a new socket; `None` unless sockets can be made.
    pub(super) fn enter_open(&'static self) -> Option<Use<F>> {
        self.enter(&self.open)
    }

    /// A use of the tables that `sock` was made from, for another one like it: they stay as they are
    /// for as long as it lives, whether the family is open or not.
    pub(super) fn of_sock(sock: &Sock<F>) -> Use<F> {
        // SAFETY: `sock` is valid, and a socket of the family.
        let slot = unsafe { Self::of(sock.as_raw()) };
        // `sock` itself is counted, so the count is not zero.
        slot.live.fetch_add(1, Relaxed);
        // INVARIANT: Counted.
        Use(slot)
    }

    /// Takes back, at the end of a socket, the use that was left to it.
    ///
    /// # Safety
    ///
    /// To be called once for each socket that [`Use::leave_to_socket`] was called for, when it is
    /// destructed.
    pub(super) unsafe fn left_to(sk: *mut bindings::sock) -> Use<F> {
        // SAFETY: By the requirements, `sk` is a socket of the family.
        let slot = unsafe { Self::of(sk) };
        // INVARIANT: The count is that of the use that was left.
        Use(slot)
    }

    /// What all sockets of the registration share, from the time that it has its number on; `None`
    /// if there is none. Any context.
    pub(crate) fn context(&'static self) -> Option<Arc<F::Context>> {
        let tables_use = self.enter(&self.registered)?;

        // SAFETY: The family is registered, so the tables are complete, and they stay as they are
        // while they are in use.
        unsafe { (*tables_use.tables()).context.clone() }
    }

    /// The number of the memory that the family has in each network namespace.
    pub(super) fn net_id(&self) -> c_uint {
        self.net_id.load(Relaxed)
    }

    /// Whether the registration stands.
    pub(super) fn is_registered(&self) -> bool {
        self.registered.load(Acquire)
    }

    /// What new network namespaces are made with.
    ///
    /// # Safety
    ///
    /// The registration must be as far as to have written its tables, and must not end for `'a`.
    pub(super) unsafe fn namespace_parts<'a>(
        &'static self,
    ) -> Option<(&'a Arc<F::Context>, &'static CStr)> {
        // SAFETY: By the requirements, the tables are not written for `'a`.
        unsafe {
            let tables = self.tables.get();
            Some(((*tables).context.as_ref()?, (*tables).sysctls))
        }
    }

    /// All sockets of the family in `net`, in the order in which they were made; `None` while the
    /// family is not registered, and while the namespace comes or goes. Any context.
    ///
    /// # Safety
    ///
    /// `net` must be valid.
    pub(super) unsafe fn sockets_in(
        &'static self,
        net: *const bindings::net,
    ) -> Option<Arc<SockList<F>>> {
        let _tables_use = self.enter(&self.registered)?;

        // SAFETY: The family is registered, and stays so while its tables are in use.
        unsafe { PerNamespace::<F>::of(net) }.map(|namespace| namespace.sockets.clone())
    }

    /// The slot that a socket was made from: the family may have named another one since.
    ///
    /// # Safety
    ///
    /// `sk` must be valid, and that of a [`Sock<F>`](Sock).
    unsafe fn of(sk: *mut bindings::sock) -> &'static Self {
        // SAFETY: `sk` is valid by the requirements. What it was allocated for does not change.
        let proto = unsafe { (*sk).sk_prot_creator };

        // SAFETY: By the invariants of `Sock`, `proto` is the one in the tables of a slot of `F`.
        // Slots are static.
        unsafe {
            let tables = container_of!(proto, Tables<F>, proto);
            let tables: *mut UnsafeCell<Tables<F>> = tables.cast();
            &*container_of!(tables, Self, tables)
        }
    }
}

/// A use of the tables of a [`Slot`], which is counted in [`Slot::live`] until this is dropped.
///
/// # Invariants
///
/// `live` has been raised by one on behalf of this value. So the tables of a slot that is found
/// registered after that are complete, and stay as they are.
pub(super) struct Use<F: Family>(&'static Slot<F>);

impl<F: Family> Use<F> {
    /// The tables of the slot.
    fn tables(&self) -> *mut Tables<F> {
        self.0.tables.get()
    }

    /// The `struct proto` of the slot.
    pub(super) fn proto(&self) -> *mut bindings::proto {
        // SAFETY: The slot is static.
        unsafe { addr_of!((*self.tables()).proto).cast_mut() }
    }

    /// The `struct proto_ops` of the slot.
    pub(super) fn ops(&self) -> *const bindings::proto_ops {
        // SAFETY: The slot is static.
        unsafe { addr_of!((*self.tables()).ops) }
    }

    /// The number of the family.
    pub(super) fn family(&self) -> c_int {
        // SAFETY: By the type invariants, the tables are complete and not written.
        unsafe { (*self.tables()).family.family }
    }

    /// What all sockets of the registration share.
    pub(super) fn context(&self) -> Option<&Arc<F::Context>> {
        // SAFETY: By the type invariants, the tables are complete and not written.
        unsafe { (*self.tables()).context.as_ref() }
    }

    /// Leaves the count to a socket: [`Slot::left_to`] gives it back at the socket's end.
    pub(super) fn leave_to_socket(self) {
        core::mem::forget(self);
    }
}

impl<F: Family> Drop for Use<F> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Release);
    }
}

/// A family that is known to the kernel. Dropping it takes that back.
///
/// A registration holds its number from the start, and creates sockets from [`Registration::open`]
/// on, so that whatever else a module has to set up, and may fail at, comes in between.
///
/// Each socket holds the module, so that at a module's exit there is none. Where a registration is
/// dropped earlier, dropping waits for the last socket to go: process context only. Where that is in
/// the module's initialisation, dropping waits for everyone else who holds the module as well.
///
/// # Invariants
///
/// `slot` is claimed by this registration, and its tables are those that the kernel has.
#[must_use = "the family is taken back at once if the registration is unused"]
pub(crate) struct Registration<F: Family> {
    number: u8,
    module: &'static ThisModule,
    slot: &'static Slot<F>,
}

impl<F: Family> Registration<F> {
    /// Registers the family under `number` (1 and up, below `NPROTO`), owned by `module`.
    ///
    /// `socket(2)` answers `EAFNOSUPPORT` for it until [`Registration::open`]. Process context.
    ///
    /// # Errors
    ///
    /// `EEXIST` if another family has the number, `EBUSY` if this family is registered already,
    /// `EINVAL` if there is no such number or the name is too long.
    pub(crate) fn new(
        number: u8,
        module: &'static ThisModule,
        context: Arc<F::Context>,
    ) -> Result<Self> {
        if number == 0 || u32::from(number) >= bindings::NPROTO {
            return Err(EINVAL);
        }
        let names = F::names(number);
        let table = proto::of::<F>(names.protocol, module)?;

        let slot = F::slot();
        if slot.claimed.xchg(true, Full) {
            return Err(EBUSY);
        }
        let tables = slot.tables.get();
        // SAFETY: `claimed` was just set by this registration, and the last one, if any, has left
        // neither a pointer to the tables with the kernel nor a socket.
        unsafe {
            (*tables).proto = table;
            (*tables).ops = proto_ops::table::<F>(c_int::from(number), module);
            (*tables).family = bindings::net_proto_family {
                family: c_int::from(number),
                create: Some(create::create::<F>),
                owner: module.as_ptr(),
            };
            (*tables).namespaces = namespace::operations::<F>(slot.net_id.as_ptr());
            (*tables).context = Some(context);
            (*tables).sysctls = names.sysctls;
        }

        // The number first: whoever has it already may have a protocol of the same name, and the
        // kernel complains of a second one.
        //
        // SAFETY: `family` is static and complete; `Drop` or a failure below unregisters it.
        let result = kernel::error::to_result(unsafe {
            bindings::sock_register(&raw const (*tables).family)
        });
        let result = result.and_then(|()| {
            // SAFETY: `proto` is static and complete; `Drop` or the failure below unregisters it.
            let result = kernel::error::to_result(unsafe {
                bindings::proto_register(&raw mut (*tables).proto, 1)
            });
            let result = result.and_then(|()| {
                // SAFETY: `namespaces` is static and complete; `Drop` unregisters it.
                let result = kernel::error::to_result(unsafe {
                    bindings::register_pernet_subsys(&raw mut (*tables).namespaces)
                });
                if result.is_err() {
                    // SAFETY: It was registered above. The family is not open, so no socket was
                    // made of it.
                    unsafe { bindings::proto_unregister(&raw mut (*tables).proto) };
                }
                result
            });
            if result.is_err() {
                // SAFETY: It was registered above, and `module` is valid.
                unsafe { give_number_back(number, module) };
            }
            result
        });
        if let Err(error) = result {
            // SAFETY: This registration still has the tables, and nobody else can reach them.
            unsafe { (*tables).context = None };
            slot.claimed.store(false, Release);
            return Err(error);
        }
        slot.registered.store(true, Release);
        // INVARIANT: `claimed` is set, and stays so until this is dropped.
        Ok(Self {
            number,
            module,
            slot,
        })
    }

    /// Lets sockets be created from now on.
    pub(crate) fn open(&self) {
        self.slot.open.store(true, Release);
    }
}

/// Unregisters a family by its number, and waits until nobody executes its `create` any more.
/// Process context.
///
/// # Safety
///
/// The number must be that of a family that was registered and is owned by `module`, which is valid.
unsafe fn give_number_back(number: u8, module: &'static ThisModule) {
    // SAFETY: By the requirements. Waits for a grace period.
    unsafe { bindings::sock_unregister(c_int::from(number)) };

    // Initialisation that fails frees the module's code, whoever holds it. Calls of `socket(2)` do
    // from before they enter `create` until they have left it; new ones do not find the family any
    // more.
    //
    // SAFETY: `module` is valid by the requirements.
    while unsafe { bindings::rvsock_module_held_in_init(module.as_ptr()) } {
        fsleep(Delta::from_millis(10));
    }
}

impl<F: Family> Drop for Registration<F> {
    fn drop(&mut self) {
        let slot = self.slot;

        // Ordered before the look at `live` by the full barrier of `xchg`.
        slot.registered.store(false, Relaxed);
        slot.open.xchg(false, Full);
        // SAFETY: `new` registered it. The module is valid: it is the one that this code is part of.
        unsafe { give_number_back(self.number, self.module) };

        // At the exit of a module the count is zero already.
        while slot.live.load(Acquire) != 0 {
            fsleep(Delta::from_millis(10));
        }
        // The last sockets are counted off in the middle of their RCU callbacks, and freed at the
        // end of them.
        //
        // SAFETY: Just an FFI call; process context.
        unsafe { bindings::rcu_barrier() };

        let tables = slot.tables.get();
        // SAFETY: `new` registered both, all sockets are freed, and none can be made any more.
        unsafe {
            bindings::unregister_pernet_subsys(&raw mut (*tables).namespaces);
            bindings::proto_unregister(&raw mut (*tables).proto);
        }
        // SAFETY: The registration has the tables to itself again.
        let context = unsafe { (*tables).context.take() };
        slot.claimed.store(false, Release);
        drop(context);
    }
}

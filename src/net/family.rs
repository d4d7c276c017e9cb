// SPDX-License-Identifier: GPL-2.0

//! Registering a family of sockets, and creating its sockets.
//!
//! C headers: [`include/linux/net.h`](srctree/include/linux/net.h),
//! [`include/net/sock.h`](srctree/include/net/sock.h); C source:
//! [`net/socket.c`](srctree/net/socket.c)

use super::{
    errno::EAFNOSUPPORT,
    gfp,
    namespace::{
        self,
        PerNamespace, //
    },
    ops::{
        self,
        Operations, //
    },
    proto,
    sock::{
        Sock,
        SocketKind, //
    },
    sock_list::SockList,
    sysctl::Settings, //
};
use crate::bindings;
use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ptr::{
        addr_of,
        NonNull, //
    },
};
use kernel::{
    alloc::{
        flags::GFP_KERNEL,
        Flags, //
    },
    container_of,
    error::from_result,
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
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

/// A family of sockets: what `socket(2)` creates for its number.
pub(crate) trait Family: Operations {
    /// What all sockets of one registration share.
    type Context: Send + Sync + 'static;

    /// What its sockets in one network namespace share, with the family's sysctls there.
    type Namespace: Settings;

    /// The names of the family with this number.
    fn names(number: u8) -> Names;

    /// A network namespace comes, made by a task of the namespace `creator`: gives what the family
    /// is to have there. `None` is for those that are there when the family comes.
    ///
    /// Process context.
    fn namespace(
        context: &Arc<Self::Context>,
        creator: Option<&Self::Namespace>,
    ) -> Result<Arc<Self::Namespace>>;

    /// Decides on a new socket of type `kind` in `namespace`: gives what it is to consist of.
    ///
    /// Process context. Unknown types are refused with `ESOCKTNOSUPPORT`, unknown protocols with
    /// `EPROTONOSUPPORT`.
    fn create(
        context: &Arc<Self::Context>,
        namespace: &Arc<Self::Namespace>,
        kind: SocketKind,
        protocol: i32,
    ) -> Result<(impl PinInit<Self::Shared, Error>, Self::State)>;

    /// The family's static memory: `static SLOT: Slot<Self> = Slot::new();`. New registrations use
    /// it, and sockets are created from it.
    fn slot() -> &'static Slot<Self>;
}

/// Under which names a family is seen.
pub(crate) struct Names {
    /// In `/proc/net/protocols`, and of the slab cache: at most 31 bytes.
    pub(crate) protocol: &'static CStr,
    /// Of the directory of its sysctls, as in `net/NAME`.
    pub(crate) sysctls: &'static CStr,
}

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
struct Use<F: Family>(&'static Slot<F>);

impl<F: Family> Use<F> {
    /// The tables of the slot.
    fn tables(&self) -> *mut Tables<F> {
        self.0.tables.get()
    }

    /// Leaves the count to a socket, whose destructor takes it back.
    fn leave_to_socket(self) {
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
            (*tables).ops = ops::table::<F>(c_int::from(number), module);
            (*tables).family = bindings::net_proto_family {
                family: c_int::from(number),
                create: Some(create::<F>),
                owner: module.as_ptr(),
            };
            (*tables).namespaces = namespace::operations::<F>(slot.net_id.as_ptr());
            (*tables).context = Some(context);
            (*tables).sysctls = names.sysctls;
        }

        // SAFETY: `proto` is static and complete; `Drop` or the failure below unregisters it.
        let result = kernel::error::to_result(unsafe {
            bindings::proto_register(&raw mut (*tables).proto, 1)
        });
        let result = result.and_then(|()| {
            // SAFETY: `family` is static and complete; `Drop` unregisters it.
            let result = kernel::error::to_result(unsafe {
                bindings::sock_register(&raw const (*tables).family)
            });
            if result.is_err() {
                // SAFETY: It was registered above, and no socket was made of it.
                unsafe { bindings::proto_unregister(&raw mut (*tables).proto) };
            }
            result
        });
        let result = result.and_then(|()| {
            // SAFETY: `namespaces` is static and complete; `Drop` unregisters it.
            let result = kernel::error::to_result(unsafe {
                bindings::register_pernet_subsys(&raw mut (*tables).namespaces)
            });
            if result.is_err() {
                // SAFETY: Both were registered above. The family is not open, so no socket was
                // made of it. Waits for a grace period.
                unsafe {
                    bindings::sock_unregister(c_int::from(number));
                    bindings::proto_unregister(&raw mut (*tables).proto);
                }
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

impl<F: Family> Drop for Registration<F> {
    fn drop(&mut self) {
        let slot = self.slot;

        // Ordered before the look at `live` by the full barrier of `xchg`.
        slot.registered.store(false, Relaxed);
        slot.open.xchg(false, Full);
        // SAFETY: `new` registered it. Waits for a grace period.
        unsafe { bindings::sock_unregister(c_int::from(self.number)) };

        // Initialisation that fails frees the module's code, whoever holds it. Calls of `socket(2)`
        // do from before they enter `create` until they have left it; new ones do not find the
        // family any more.
        //
        // SAFETY: The module is valid: it is the one that this code is part of.
        while unsafe { bindings::rvsock_module_held_in_init(self.module.as_ptr()) } {
            fsleep(Delta::from_millis(10));
        }

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

/// A fresh `struct sock` that is given back to its allocator unless it became a [`Sock`].
///
/// # Invariants
///
/// The pointer owns the only reference to a `struct sock` that `sock_init_data_uid()` initialised.
struct Bare(NonNull<bindings::sock>);

impl Bare {
    /// # Safety
    ///
    /// - `net` must be valid, `proto` registered.
    /// - `socket` must be null, or a `struct socket` that has no `struct sock` yet and that nobody
    ///   else can reach.
    unsafe fn new(
        net: *mut bindings::net,
        family: c_int,
        flags: Flags,
        proto: *mut bindings::proto,
        kernel: c_int,
        socket: *mut bindings::socket,
        uid: bindings::kuid_t,
    ) -> Result<Self> {
        // SAFETY: By the requirements.
        let sk = unsafe { bindings::sk_alloc(net, family, gfp::into_raw(flags), proto, kernel) };
        let sk = NonNull::new(sk).ok_or(ENOMEM)?;
        // SAFETY: `sk` is fresh, and `socket` is null or without a `struct sock`.
        unsafe { bindings::sock_init_data_uid(socket, sk.as_ptr(), uid) };
        // INVARIANT: The count was just set to one.
        Ok(Self(sk))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this is the only reference; `sk_socket`, if set, is the
        // one that was given to `new`.
        unsafe { bindings::rvsock_sock_discard(self.0.as_ptr()) };
    }
}

impl<F: Family> Sock<F> {
    /// Makes a socket that belongs to no file yet, like `parent` in family, type, protocol,
    /// namespace and security label: a connection that waits to be accepted.
    ///
    /// Process context or BH, according to `flags`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what `shared` fails with.
    pub(crate) fn new_child(
        parent: &Self,
        shared: impl PinInit<F::Shared, Error>,
        state: F::State,
        flags: Flags,
    ) -> Result<ARef<Self>> {
        // SAFETY: `parent` is a valid socket of the family.
        let slot = unsafe { Slot::<F>::of(parent.as_raw()) };
        // `parent` is counted in `live`, so the tables stay as they are, whether the family is
        // open or not.
        slot.live.fetch_add(1, Relaxed);
        // INVARIANT: Counted.
        let tables_use = Use(slot);

        let from = parent.as_raw();
        // SAFETY: `parent` is valid, and holds its namespace; its family is registered as long as
        // it lives. There is no `struct socket`.
        let bare = unsafe {
            Bare::new(
                bindings::rvsock_sock_net(from),
                c_int::from(parent.family()),
                flags,
                addr_of!((*tables_use.tables()).proto).cast_mut(),
                bindings::rvsock_sock_is_kernel(from),
                core::ptr::null_mut(),
                bindings::rvsock_sock_uid(from),
            )?
        };
        // SAFETY: Both are valid, and nobody else can reach the new one.
        unsafe { bindings::rvsock_sock_inherit(bare.0.as_ptr(), from) };

        let list = parent.place.list().clone();
        // SAFETY: `bare` is as `construct` requires by its type invariants and because `proto` is
        // that of a slot of `F`; `destruct` calls `Sock::destruct`.
        let sock = unsafe { Self::construct(bare.0, list, shared, state, destruct::<F>)? };
        // The reference is one to a `Sock` now.
        core::mem::forget(bare);
        tables_use.leave_to_socket();
        // SAFETY: The reference that `bare` owned becomes that of the `ARef`.
        Ok(unsafe { ARef::from_raw(sock) })
    }
}

/// `create` of `struct net_proto_family`.
///
/// # Safety
///
/// To be called by the socket layer, for a new `struct socket` of the family `F`.
unsafe extern "C" fn create<F: Family>(
    net: *mut bindings::net,
    socket: *mut bindings::socket,
    protocol: c_int,
    kernel: c_int,
) -> c_int {
    from_result(|| {
        let slot = F::slot();
        let tables_use = slot.enter(&slot.open).ok_or(EAFNOSUPPORT)?;
        let tables = tables_use.tables();

        // SAFETY: The slot is open, so the tables are complete, and they are not written while
        // they are in use.
        let context = unsafe { (*tables).context.as_ref() }.ok_or(EAFNOSUPPORT)?;
        // SAFETY: The socket layer gives a valid namespace; the slot is open, so its operations
        // are registered.
        let namespace = unsafe { PerNamespace::<F>::of(net) }.ok_or(EAFNOSUPPORT)?;
        // SAFETY: The socket layer gives a valid `struct socket`.
        let kind = SocketKind::from_raw(u16::try_from(unsafe { (*socket).type_ })?);
        let (shared, state) = F::create(context, &namespace.family, kind, protocol)?;

        // SAFETY: The socket layer gives a valid namespace and a new `struct socket`; the tables
        // are complete and registered.
        let bare = unsafe {
            Bare::new(
                net,
                (*tables).family.family,
                GFP_KERNEL,
                addr_of!((*tables).proto).cast_mut(),
                kernel,
                socket,
                bindings::rvsock_socket_uid(socket),
            )?
        };
        // SAFETY: Nobody else can reach `sk` yet.
        unsafe { (*bare.0.as_ptr()).sk_protocol = protocol as u16 };

        let list = namespace.sockets.clone();
        // SAFETY: `bare` is as `construct` requires by its type invariants and because `proto` is
        // that of a slot of `F`; `destruct` calls `Sock::destruct`.
        let sock = unsafe { Sock::<F>::construct(bare.0, list, shared, state, destruct::<F>)? };
        // The reference is one to a `Sock` now, and belongs to `socket`.
        core::mem::forget(bare);
        tables_use.leave_to_socket();
        // SAFETY: The reference was just made, and `socket` keeps it.
        unsafe { sock.as_ref() }.claim_attachment();
        // SAFETY: The socket layer gives a valid `struct socket`; `ops` is static and complete.
        unsafe {
            (*socket).ops = addr_of!((*tables).ops);
            ops::set_flags::<F>(socket);
        }
        Ok(0)
    })
}

/// `sk_destruct` of `struct sock`: the last reference is gone, and a grace period has passed.
///
/// # Safety
///
/// To be called once, as `sk_destruct` of a socket of the family `F`.
unsafe extern "C" fn destruct<F: Family>(sk: *mut bindings::sock) {
    // SAFETY: `sk` is valid, and `construct` made it a socket of the family.
    let slot = unsafe { Slot::<F>::of(sk) };

    // SAFETY: `construct` was given this function for `sk`, and C calls it once.
    unsafe { Sock::<F>::destruct(sk) };

    // Takes the count back that `leave_to_socket` left.
    slot.live.fetch_sub(1, Release);
}

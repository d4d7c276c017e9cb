// SPDX-License-Identifier: GPL-2.0

//! Telling `ss(8)` and the like about the sockets of a family (`sock_diag(7)`).
//!
//! C headers: [`include/linux/sock_diag.h`](srctree/include/linux/sock_diag.h),
//! [`include/linux/netlink.h`](srctree/include/linux/netlink.h); C source:
//! [`net/core/sock_diag.c`](srctree/net/core/sock_diag.c)

use super::{
    errno::EOPNOTSUPP,
    family::Family,
    sock::Sock,
    sock_list::SockList, //
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::Opaque,
    ThisModule, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// What a family tells about its sockets.
pub(crate) trait Diagnose: Family {
    /// What is asked: the payload of the request.
    type Request: FromBytes + Send;
    /// What is told of one socket: the payload of a message.
    type Report: IntoBytes + Immutable;

    /// Reports a socket; `None` if it was not asked for. Process context, without any lock: what is
    /// told may change meanwhile.
    fn report(sock: &Sock<Self>, request: &Self::Request) -> Option<Self::Report>;
}

/// A family that reports its sockets. Dropping it takes that back.
///
/// Whoever is being told holds the module.
///
/// # Invariants
///
/// `handler` was registered by `sock_diag_register()`.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<F: Diagnose> {
    #[pin]
    handler: Opaque<bindings::sock_diag_handler>,
    _family: PhantomData<F>,
}

// SAFETY: The handler may be taken back by any thread.
unsafe impl<F: Diagnose> Send for Registration<F> {}

// SAFETY: Shared references give nothing.
unsafe impl<F: Diagnose> Sync for Registration<F> {}

impl<F: Diagnose> Registration<F> {
    /// Reports the sockets of the family under `number`. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else does for that number.
    pub(crate) fn new(number: u8, module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let handler = bindings::sock_diag_handler {
            owner: module.as_ptr(),
            family: number,
            dump: Some(request::<F>),
            ..Default::default()
        };
        try_pin_init!(Self {
            handler <- Opaque::try_ffi_init(|slot: *mut bindings::sock_diag_handler| {
                // SAFETY: `slot` is valid for writes. It is not moved, and not freed before the
                // handler is taken back.
                unsafe {
                    slot.write(handler);
                    to_result(bindings::sock_diag_register(slot))
                }
            }),
            _family: PhantomData,
        })
    }
}

#[pinned_drop]
impl<F: Diagnose> PinnedDrop for Registration<F> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants, it is registered. Whoever looks it up does so under RCU,
        // and holds the module from there on.
        unsafe {
            bindings::sock_diag_unregister(self.handler.get());
            bindings::synchronize_rcu();
        }
    }
}

/// Where a report of all sockets stands, from one part of it to the next.
struct Dump<F: Diagnose> {
    request: F::Request,
    sockets: Arc<SockList<F>>,
    /// The socket that was reported last. Having it keeps its place.
    last: Option<ARef<Sock<F>>>,
}

impl<F: Diagnose> Dump<F> {
    /// Adds reports to `skb` until there is no room left, or no socket.
    ///
    /// # Safety
    ///
    /// `skb` and `callback` must be valid, those of a `dump` function.
    unsafe fn fill(
        &mut self,
        skb: *mut bindings::sk_buff,
        callback: *mut bindings::netlink_callback,
    ) {
        while let Some(sock) = self.sockets.after(self.last.as_deref()) {
            if let Some(report) = F::report(&sock, &self.request) {
                let bytes = report.as_bytes();
                // SAFETY: By the requirements; `bytes` is valid.
                let added = unsafe {
                    bindings::rvsock_diag_put(skb, callback, bytes.as_ptr().cast(), bytes.len())
                };
                if !added {
                    break;
                }
            }
            self.last = Some(sock);
        }
    }
}

/// `dump` of `struct sock_diag_handler`: a request for the family.
///
/// # Safety
///
/// To be called by the kernel, with a netlink message and the buffer that it is in.
unsafe extern "C" fn request<F: Diagnose>(
    skb: *mut bindings::sk_buff,
    message: *mut bindings::nlmsghdr,
) -> c_int {
    from_result(|| {
        // SAFETY: The kernel gives a valid message.
        let (payload, flags) = unsafe {
            (
                bindings::rvsock_diag_payload(message),
                (*message).nlmsg_flags,
            )
        };
        if payload < size_of::<F::Request>() {
            return Err(EINVAL);
        }
        // There is no asking for one socket.
        if u32::from(flags) & bindings::NLM_F_DUMP == 0 {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: Buffer and message are valid; the functions are for each other.
        let result = unsafe {
            bindings::rvsock_diag_start(
                skb,
                message,
                Some(start::<F>),
                Some(dump::<F>),
                Some(done::<F>),
            )
        };
        Ok(result)
    })
}

/// `start` of `struct netlink_dump_control`.
///
/// # Safety
///
/// To be called by the kernel, with a request that [`request`] has checked.
unsafe extern "C" fn start<F: Diagnose>(callback: *mut bindings::netlink_callback) -> c_int {
    from_result(|| {
        // SAFETY: The kernel gives a valid callback with its message, as long as `request` has
        // seen it; whoever sent it is in a namespace.
        let (payload, net) = unsafe {
            (
                core::slice::from_raw_parts(
                    bindings::rvsock_diag_data(callback).cast::<u8>(),
                    size_of::<F::Request>(),
                ),
                bindings::rvsock_diag_net(callback),
            )
        };
        let dump = Dump::<F> {
            request: F::Request::read_from_bytes(payload).map_err(|_| EINVAL)?,
            // SAFETY: The namespace is that of a socket, which keeps it.
            sockets: unsafe { F::slot().sockets_in(net) }.ok_or(ENOENT)?,
            last: None,
        };
        let dump = KBox::into_raw(KBox::new(dump, GFP_KERNEL)?);
        // SAFETY: The callback is valid; the data are for the family to use.
        unsafe { (*callback).data = dump.cast() };
        Ok(0)
    })
}

/// `dump` of `struct netlink_dump_control`: a part of the report. It is complete when nothing is
/// added any more.
///
/// # Safety
///
/// To be called by the kernel, after [`start`] has succeeded, not after [`done`], and once at a time.
unsafe extern "C" fn dump<F: Diagnose>(
    skb: *mut bindings::sk_buff,
    callback: *mut bindings::netlink_callback,
) -> c_int {
    // SAFETY: The kernel gives a valid callback, whose data are from `start`, and a valid buffer.
    unsafe {
        (*(*callback).data.cast::<Dump<F>>()).fill(skb, callback);
        (*skb).len as c_int
    }
}

/// `done` of `struct netlink_dump_control`.
///
/// # Safety
///
/// To be called by the kernel, once, after [`start`] has succeeded.
unsafe extern "C" fn done<F: Diagnose>(callback: *mut bindings::netlink_callback) -> c_int {
    // SAFETY: The data are from `start`, and nobody uses them any more.
    drop(unsafe { KBox::from_raw((*callback).data.cast::<Dump<F>>()) });
    0
}

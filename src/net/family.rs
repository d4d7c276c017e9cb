// SPDX-License-Identifier: GPL-2.0

//! What a family of sockets is.
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h)

use super::{
    ops::Operations,
    registration::Slot,
    sock_fields::SocketKind,
    sysctl::Settings, //
};
use kernel::{
    prelude::*,
    str::CStr,
    sync::Arc, //
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

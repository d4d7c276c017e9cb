// SPDX-License-Identifier: GPL-2.0

//! Network namespaces: who can reach whom.
//!
//! A namespace is global or local for its whole life. All global ones share their addresses, with
//! each other and with the device; a local one has addresses of its own, which nothing from outside
//! reaches, and reaches nothing outside. A namespace lives as long as a socket of it.
//!
//! The table of addresses is one for all of them, and whose addresses are meant is a part of its
//! key. A table for each namespace would have to be made for every container that comes and, which
//! takes sleeping and waiting for a grace period, taken down when it goes, used or not; and global
//! namespaces would need one in common anyway. For a look-up it is a word more to hash.
//!
//! Source: Documentation/admin-guide/sysctl/net.rst of the kernel, section 6.

use super::context::Context;
use crate::net::{
    self,
    sysctl::{
        Setting,
        Settings, //
    },
};
use crate::protocol::address::{
    Address,
    Cid,
    Port, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
};
use zerocopy_derive::{
    Immutable,
    IntoBytes, //
};

/// Sockets that can reach each other: those of one scope.
#[derive(Clone, Copy, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Scope(u64);

impl Scope {
    /// That of all global namespaces, and of the device.
    pub(super) const GLOBAL: Scope = Scope(0);

    /// That of a local namespace: each has another `number`, above zero.
    pub(super) fn local(number: u64) -> Scope {
        Scope(number)
    }

    /// An address in this scope.
    pub(super) fn place(self, cid: Cid, port: Port) -> Place {
        Place {
            scope: self,
            address: Address { cid, port },
        }
    }
}

/// What a bound socket is found by.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Place {
    scope: Scope,
    address: Address,
}

/// The mode of a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Global,
    Local,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Global => "global",
            Mode::Local => "local",
        }
    }

    fn parse(word: &[u8]) -> Result<Self> {
        [Mode::Global, Mode::Local]
            .into_iter()
            .find(|mode| mode.name().as_bytes() == word)
            .ok_or(EINVAL)
    }
}

/// What the sockets of one network namespace share.
pub(crate) struct Namespace {
    /// Where its sockets have their addresses. It is what the mode is about.
    pub(super) scope: Scope,
    /// The mode of namespaces that are made from here: one of the constants below.
    child_mode: Atomic<u32>,
    /// The port that autobind tries next.
    next_port: Atomic<u32>,
    /// `g2h_fallback`, which has no effect: there is one device.
    fallback: Atomic<bool>,
}

impl Namespace {
    /// Nothing was written to `child_ns_mode`: children are as this one.
    const AS_PARENT: u32 = 0;
    /// `global` was written, for good.
    const CHILDREN_GLOBAL: u32 = 1;
    /// `local` was written, for good.
    const CHILDREN_LOCAL: u32 = 2;

    /// A namespace that a task of `creator` makes; without one, it is global.
    pub(super) fn new(context: &Context, creator: Option<&Namespace>) -> Result<Arc<Self>> {
        let scope = match creator.map(Namespace::child_mode) {
            Some(Mode::Local) => context.next_scope(),
            Some(Mode::Global) | None => Scope::GLOBAL,
        };
        let namespace = Namespace {
            scope,
            child_mode: Atomic::new(Self::AS_PARENT),
            next_port: Atomic::new(net::random::number()),
            fallback: Atomic::new(true),
        };
        Ok(Arc::new(namespace, GFP_KERNEL)?)
    }

    /// Whether the device serves this namespace.
    pub(super) fn is_global(&self) -> bool {
        self.mode() == Mode::Global
    }

    fn mode(&self) -> Mode {
        if self.scope == Scope::GLOBAL {
            Mode::Global
        } else {
            Mode::Local
        }
    }

    fn child_mode(&self) -> Mode {
        match self.child_mode.load(Relaxed) {
            Self::CHILDREN_GLOBAL => Mode::Global,
            Self::CHILDREN_LOCAL => Mode::Local,
            _ => self.mode(),
        }
    }

    /// Decides on the mode of children, once: `EBUSY` if it was decided otherwise, `EPERM` for
    /// global children of a local namespace.
    fn set_child_mode(&self, mode: Mode) -> Result {
        if self.mode() == Mode::Local && mode == Mode::Global {
            return Err(EPERM);
        }
        let new = match mode {
            Mode::Global => Self::CHILDREN_GLOBAL,
            Mode::Local => Self::CHILDREN_LOCAL,
        };
        match self.child_mode.cmpxchg(Self::AS_PARENT, new, Full) {
            Err(old) if old != new => Err(EBUSY),
            _ => Ok(()),
        }
    }

    /// Takes the next port for autobind to try, and moves the counter on.
    pub(super) fn next_port(&self) -> Port {
        let seed = self.next_port.fetch_add(1, Relaxed);
        let port = Port::unreserved_from(seed);
        if port.0 != seed {
            // The counter went through the wildcard or the reserved ports: on from behind them.
            self.next_port.store(port.following().0, Relaxed);
        }
        port
    }
}

impl Settings for Namespace {
    const SETTINGS: &'static [Setting<Self>] = &[
        Setting {
            name: c"ns_mode",
            read: |namespace| namespace.mode().name(),
            write: None,
        },
        Setting {
            name: c"child_ns_mode",
            read: |namespace| namespace.child_mode().name(),
            write: Some(|namespace, word| namespace.set_child_mode(Mode::parse(word)?)),
        },
        Setting {
            name: c"g2h_fallback",
            read: |namespace| {
                if namespace.fallback.load(Relaxed) {
                    "1"
                } else {
                    "0"
                }
            },
            write: Some(|namespace, word| {
                let value = match word.trim_ascii() {
                    b"0" => false,
                    b"1" => true,
                    _ => return Err(EINVAL),
                };
                namespace.fallback.store(value, Relaxed);
                Ok(())
            }),
        },
    ];
}

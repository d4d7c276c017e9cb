// SPDX-License-Identifier: GPL-2.0

//! Two endpoints, joined by two links, and what has to hold between them.
//!
//! The model keeps an account of its own, in 64-bit numbers that do not wrap, of what was sent,
//! received, read and granted, and compares it after each step with what the protocol says.

pub(crate) mod end;
pub(crate) mod event;
pub(crate) mod phases;
pub(crate) mod world;

// SPDX-License-Identifier: GPL-2.0

//! The protocol floor of the kernel module, compiled for the host from the very same files, and
//! its tests.
//!
//! - `unit`: each rule by itself, with the values at its edges;
//! - `model`: two endpoints that are joined by two links, with an account of their own of what
//!   was sent, read and granted;
//! - `property`: random interleavings of events on that model, and a peer that keeps no rule.

#![forbid(unsafe_code)]
// Outside the tests nobody calls into the module.
#![allow(dead_code)]

#[path = "../../../src/protocol/mod.rs"]
mod protocol;

#[cfg(test)]
mod model;
#[cfg(test)]
mod property;
#[cfg(test)]
mod unit;

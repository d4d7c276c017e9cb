// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over the kernel's socket layer.
//!
//! They are general: nothing here knows which family uses it. A family says what one of its
//! sockets consists of ([`sock::Protocol`]), what its system calls do ([`ops::Operations`]) and
//! how a socket comes to be ([`family::Family`]); a [`registration::Registration`] makes it known to the
//! kernel. All of that is written without `unsafe`.
//!
//! | file | subject |
//! |---|---|
//! | `family.rs`, `registration.rs` | what a family is, and making it known to the kernel |
//! | `create.rs` | how a socket comes to be, and how it ends |
//! | `proto.rs` | `struct proto`: how sockets are allocated and counted |
//! | `ops.rs`, `option.rs` | the system calls as a trait, and their arguments |
//! | `proto_ops.rs` | `struct proto_ops` from that trait |
//! | `sock.rs`, `guard.rs` | the socket object, its reference count and its two locks |
//! | `sock_fields.rs` | what it has in common with the sockets of all families |
//! | `timer.rs` | the timer of a socket |
//! | `charge.rs` | the memory that a socket has under way |
//! | `sock_queue.rs` | a queue of sockets that does not allocate |
//! | `message.rs`, `control.rs` | `struct msghdr` of a send and of a receive, control messages |
//! | `zerocopy.rs` | sending from the caller's memory, and the error queue |
//! | `wait.rs`, `task.rs`, `timeout.rs` | sleeping until a stated need is met |
//! | `trace.rs` | tracepoints |
//! | `poll.rs`, `errno.rs` | event masks, error codes |
//! | `skb.rs`, `skb_queue.rs`, `pages.rs` | memory for payload |
//! | `datagram.rs` | whole messages, each with its sender |
//! | `receive_buffer.rs` | memory for payload that a device writes |
//! | `random.rs`, `capability.rs` | a random number; what the caller may do |
//! | `namespace.rs`, `sysctl.rs` | what a family has in each network namespace |
//! | `sock_list.rs`, `diag.rs` | all sockets, for diagnostics |
//! | `misc_device.rs` | a character device |
//! | `table.rs` | finding sockets by key, under RCU |
//! | `lock.rs` | a spinlock that keeps bottom halves out |
//! | `series.rs` | what differs between the kernel's series |
//!
//! # Contexts
//!
//! "Process context" means that sleeping is allowed. "BH" means a bottom half (softirq, or a
//! workqueue that runs in softirq context), or any context with bottom halves switched off:
//! sleeping is not allowed. What says "any context" may also be called with interrupts off.
//!
//! Callers have to observe this themselves. The types keep memory valid and data behind its lock;
//! they prevent neither sleeping where that is not allowed, nor a task or a bottom half that waits
//! for itself: by taking a lock that it holds, or locks in two orders. The kernel's debugging
//! options find both (`CONFIG_DEBUG_ATOMIC_SLEEP`, `CONFIG_PROVE_LOCKING`).

pub(crate) mod capability;
pub(crate) mod charge;
pub(crate) mod control;
mod create;
pub(crate) mod datagram;
pub(crate) mod diag;
pub(crate) mod errno;
pub(crate) mod family;
pub(crate) mod gfp;
pub(crate) mod guard;
pub(crate) mod ioctl;
pub(crate) mod lock;
pub(crate) mod message;
pub(crate) mod misc_device;
mod namespace;
pub(crate) mod ops;
pub(crate) mod option;
mod pages;
mod payload;
pub(crate) mod poll;
pub(crate) mod proto;
mod proto_ops;
pub(crate) mod random;
pub(crate) mod receive_buffer;
pub(crate) mod registration;
pub(crate) mod series;
pub(crate) mod short;
pub(crate) mod skb;
pub(crate) mod skb_queue;
pub(crate) mod sock;
pub(crate) mod sock_fields;
mod sock_list;
pub(crate) mod sock_queue;
pub(crate) mod sysctl;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod timeout;
pub(crate) mod timer;
pub(crate) mod trace;
pub(crate) mod wait;
pub(crate) mod zerocopy;

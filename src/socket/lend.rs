// SPDX-License-Identifier: GPL-2.0

//! Sending from the caller's own memory (`MSG_ZEROCOPY`).
//!
//! All of a call's memory is taken hold of before its first byte is sent: memory that cannot be lent
//! fails the call as a whole. Each packet has as many pieces of it as the way that it goes takes.
//!
//! Source: `Documentation/networking/msg_zerocopy.rst`.

use super::Vsock;
use crate::net::{
    errno::EOPNOTSUPP,
    guard::Owned,
    message::{
        ReceiveMessage,
        SendMessage, //
    },
    skb::{
        PayloadLimits,
        SkBuff, //
    },
    skb_queue::SkBuffQueue,
    sock::Sock,
    zerocopy::Completion, //
};
use crate::protocol::packet::HEADER_LEN;
use kernel::prelude::*;

/// The control message of a completion: `SOL_VSOCK`, whatever the number of the family.
const SOL_VSOCK: u32 = 287;
const VSOCK_RECVERR: u32 = 1;

/// What a call lends, and how it learns that it is its own again.
///
/// It is dropped with the socket owned, and owned since it was made if nothing was sent.
pub(super) struct Lent {
    /// Packets that are still to be sent.
    packets: SkBuffQueue,
    /// `None` if the socket was not set to do this (`SO_ZEROCOPY`): nothing is lent, or told.
    completion: Option<Completion>,
}

impl Lent {
    /// Takes hold of the memory of `message`, of `len` bytes, if there is credit for all of them:
    /// `sendable` bytes. What is not taken hold of is to be copied, and the caller is told so.
    ///
    /// A packet is within `limits`.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if the caller can lend no more, or not this memory.
    pub(super) fn new(
        sock: &Sock<Vsock>,
        state: &Owned<'_, Vsock>,
        message: &mut SendMessage<'_>,
        len: usize,
        sendable: usize,
        limits: PayloadLimits,
    ) -> Result<Self> {
        let mut packets = SkBuffQueue::new();
        let completion = sock.completion(state, message, len)?;
        if let Some(completion) = &completion {
            // A call that has to wait for credit would hold its memory all that time.
            let mut copied = len > sendable;
            while !copied && !message.source().is_empty() {
                match SkBuff::lent(HEADER_LEN, message.source(), limits, GFP_KERNEL_ACCOUNT) {
                    Ok(mut buffer) => {
                        completion.attach(&mut buffer);
                        packets.push_back(buffer);
                    }
                    Err(error) if error == EOPNOTSUPP => copied = true,
                    Err(_) => return Err(ENOMEM),
                }
            }
            if copied {
                completion.mark_copied();
            }
        }
        Ok(Lent {
            packets,
            completion,
        })
    }

    /// The next packet, if there is one.
    pub(super) fn next(&mut self) -> Option<SkBuff> {
        self.packets.pop_front()
    }

    /// Bytes of the call were sent: it has a completion.
    pub(super) fn mark_sent(&mut self) {
        if let Some(completion) = &mut self.completion {
            completion.mark_sent();
        }
    }
}

/// `recv(2)` with `MSG_ERRQUEUE`: takes a completion.
///
/// # Errors
///
/// `EAGAIN` if there is none.
pub(super) fn receive_completion(
    sock: &Sock<Vsock>,
    message: &mut ReceiveMessage<'_>,
    len: usize,
) -> Result<usize> {
    sock.receive_error(message, len, SOL_VSOCK, VSOCK_RECVERR)
}

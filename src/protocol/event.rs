// SPDX-License-Identifier: GPL-2.0

//! Events: what a device tells its driver beside packets.
//!
//! Source: virtio specification, 5.10.6.7 (device events).

/// Length of `struct virtio_vsock_event`, in bytes.
pub(crate) const EVENT_LEN: usize = 4;

/// An event of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// All connections are lost, and the guest may have another CID. Listeners stay.
    TransportReset,
    /// Something that has no meaning yet.
    Unknown,
    /// Not an event: it has another length.
    Malformed,
}

impl Event {
    const TRANSPORT_RESET: u32 = 0;

    /// Reads an event. `written` is how many bytes the device says it has written to a buffer that
    /// holds [`EVENT_LEN`]; what is behind them says nothing.
    pub(crate) fn parse(bytes: [u8; EVENT_LEN], written: usize) -> Event {
        if written != EVENT_LEN {
            Event::Malformed
        } else if u32::from_le_bytes(bytes) == Self::TRANSPORT_RESET {
            Event::TransportReset
        } else {
            Event::Unknown
        }
    }
}

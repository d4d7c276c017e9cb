// SPDX-License-Identifier: GPL-2.0

//! Socket options: the family's own, at the level `AF_VSOCK` or its number, and those of the socket
//! layer that it handles.
//!
//! Source: vsock(7), socket(7), `<linux/vm_sockets.h>`.

use super::{
    state::State,
    Vsock, //
};
use crate::net::{
    errno::{
        ENOPROTOOPT,
        EOPNOTSUPP, //
    },
    guard::Bh,
    option::{
        socket,
        OptionOut,
        OptionValue,
        Timeval,
        TimevalForm, //
    },
    sock::Sock,
    sock_fields::SocketKind, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::Msecs, //
};
/// The level that programs written for the C implementation use.
pub(super) const AF_VSOCK: i32 = 40;

const BUFFER_SIZE: i32 = 0;
const BUFFER_MIN_SIZE: i32 = 1;
const BUFFER_MAX_SIZE: i32 = 2;
const CONNECT_TIMEOUT_OLD: i32 = 6;
const CONNECT_TIMEOUT_NEW: i32 = 8;
/// `RVSOCK_SO_WAKEUPS` of `include/uapi/linux/rvsock.h`: can only be read.
const WAKEUPS: i32 = 256;

/// Settings that the family adds to a socket. A child of `accept` starts with its listener's.
pub(super) struct Options {
    buffer_size: Atomic<u32>,
    buffer_min: Atomic<u32>,
    buffer_max: Atomic<u32>,
    /// The largest that `buffer_size` ever was.
    largest_buffer: Atomic<u32>,
    /// In milliseconds.
    connect_timeout: Atomic<u32>,
    /// A receive tells how much is left (`SO_INQ`).
    inq: Atomic<bool>,
}

impl Options {
    const DEFAULT_BUFFER: u32 = 256 * 1024;
    const DEFAULT_BUFFER_MIN: u32 = 128;
    /// Enough for a packet of the largest size, and another.
    const LEAST_MEMORY: usize = 128 * 1024;
    const DEFAULT_CONNECT_TIMEOUT_MS: u32 = 2000;

    /// The settings of a new socket.
    pub(super) fn new() -> Self {
        Options {
            buffer_size: Atomic::new(Self::DEFAULT_BUFFER),
            buffer_min: Atomic::new(Self::DEFAULT_BUFFER_MIN),
            buffer_max: Atomic::new(Self::DEFAULT_BUFFER),
            largest_buffer: Atomic::new(Self::DEFAULT_BUFFER),
            connect_timeout: Atomic::new(Self::DEFAULT_CONNECT_TIMEOUT_MS),
            inq: Atomic::new(false),
        }
    }

    /// The same settings for another socket.
    pub(super) fn copy(&self) -> Self {
        let copy = |value: &Atomic<u32>| Atomic::new(value.load(Relaxed));
        // Read once: it may be changed meanwhile.
        let buffer_size = self.buffer_size();
        Options {
            buffer_size: Atomic::new(buffer_size),
            buffer_min: copy(&self.buffer_min),
            buffer_max: copy(&self.buffer_max),
            largest_buffer: Atomic::new(buffer_size),
            connect_timeout: copy(&self.connect_timeout),
            inq: Atomic::new(false),
        }
    }

    /// The size of the receive buffer, in bytes: what the peer may have outstanding.
    pub(super) fn buffer_size(&self) -> u32 {
        self.buffer_size.load(Relaxed)
    }

    /// Sets the size of the receive buffer to what is within its bounds. It is stored once, since a
    /// connection that comes may take it over at any time. With the socket owned.
    fn resize(&self, sock: &Sock<Vsock>, wanted: u32) {
        let size = wanted
            .min(self.buffer_max.load(Relaxed))
            .max(self.buffer_min.load(Relaxed));
        self.buffer_size.store(size, Relaxed);
        let largest = self.largest_buffer().max(size);
        self.largest_buffer.store(largest, Relaxed);
        // SO_RCVBUF is another name of the same, in the socket layer's measure.
        sock.set_receive_buffer(size.saturating_mul(2));
    }

    /// Whether a receive tells in a control message how much is left (`SO_INQ`).
    pub(super) fn tells_what_is_left(&self) -> bool {
        self.inq.load(Relaxed)
    }

    /// The largest size that the receive buffer ever had, in bytes: what was granted once stays
    /// granted.
    pub(super) fn largest_buffer(&self) -> u32 {
        self.largest_buffer.load(Relaxed)
    }

    /// How much memory may be with the device for a sender to go on, in bytes with all overhead.
    pub(super) fn memory_limit(&self) -> usize {
        (self.buffer_size() as usize)
            .saturating_mul(2)
            .max(Self::LEAST_MEMORY)
    }

    /// How much memory datagrams may take that wait to be received, in bytes with all overhead.
    pub(super) fn datagram_memory(&self) -> usize {
        (self.buffer_size() as usize).saturating_mul(2)
    }

    /// How long a connect may take, in milliseconds.
    pub(super) fn connect_timeout(&self) -> Msecs {
        self.connect_timeout.load(Relaxed)
    }
}

fn check_level(sock: &Sock<Vsock>, level: i32) -> Result {
    if level == AF_VSOCK || level == i32::from(sock.family()) {
        Ok(())
    } else {
        Err(ENOPROTOOPT)
    }
}

/// A size in bytes; what the wire cannot express is cut to what it can.
fn size(value: &OptionValue<'_>) -> Result<u32> {
    Ok(u32::try_from(value.read::<u64>()?).unwrap_or(u32::MAX))
}

/// `setsockopt(2)`.
pub(super) fn set(sock: &Sock<Vsock>, level: i32, name: i32, value: &OptionValue<'_>) -> Result {
    check_level(sock, level)?;
    match name {
        BUFFER_SIZE | BUFFER_MIN_SIZE | BUFFER_MAX_SIZE => {
            let size = size(value)?;
            let mut state = sock.lock();
            let options = &sock.shared().options;
            let mut wanted = options.buffer_size();
            match name {
                BUFFER_MIN_SIZE => options.buffer_min.store(size, Relaxed),
                BUFFER_MAX_SIZE => options.buffer_max.store(size, Relaxed),
                _ => wanted = size,
            }
            // Whatever was set last, the size is kept within the bounds.
            options.resize(sock, wanted);
            state.buffer_resized(sock);
            Ok(())
        }
        CONNECT_TIMEOUT_OLD | CONNECT_TIMEOUT_NEW => {
            let time = value.read_time(form_of(name))?;
            if time.seconds < 0 || !(0..1_000_000).contains(&time.microseconds) {
                return Err(ERANGE);
            }
            // Rounded up, so that a short time does not become none; zero means the default.
            let ms = time
                .seconds
                .saturating_mul(1000)
                .saturating_add((time.microseconds + 999) / 1000);
            let ms = match u32::try_from(ms).unwrap_or(u32::MAX) {
                0 => Options::DEFAULT_CONNECT_TIMEOUT_MS,
                ms => ms,
            };
            sock.shared().options.connect_timeout.store(ms, Relaxed);
            Ok(())
        }
        _ => Err(ENOPROTOOPT),
    }
}

/// `setsockopt(2)` at the level `SOL_SOCKET`: whether the option is handled here.
///
/// # Errors
///
/// `EINVAL` for what is neither 0 nor 1, or cut short, and for `SO_INQ` of what is no stream; `EFAULT`.
pub(super) fn set_of_socket(
    sock: &Sock<Vsock>,
    name: i32,
    value: &OptionValue<'_>,
) -> Result<bool> {
    // Datagrams are copied when they are sent.
    let is_ours = match name {
        socket::ZEROCOPY => sock.kind() != SocketKind::DGRAM,
        socket::INQ => true,
        _ => false,
    };
    if !is_ours {
        return Ok(false);
    }
    let on = match value.read::<i32>()? {
        0 => false,
        1 => true,
        _ => return Err(EINVAL),
    };
    if name == socket::ZEROCOPY {
        let state = sock.lock();
        sock.set_zerocopy(&state, on);
    } else if sock.kind() == SocketKind::STREAM {
        sock.shared().options.inq.store(on, Relaxed);
    } else {
        return Err(EINVAL);
    }
    Ok(true)
}

/// `SO_PEEK_OFF`, for streams.
///
/// # Errors
///
/// `EOPNOTSUPP` for other sockets: each look shows the first message.
pub(super) fn peek_offset_set(sock: &Sock<Vsock>, value: i32) -> Result {
    if sock.kind() != SocketKind::STREAM {
        return Err(EOPNOTSUPP);
    }
    sock.set_peek_offset(value);
    Ok(())
}

/// `SO_RCVBUF` was set to `bytes`, by generic code that owns the socket.
pub(super) fn receive_buffer_set(sock: &Sock<Vsock>, bytes: u32) {
    sock.shared().options.resize(sock, bytes);
    // What concerns the peer waits until the owner lets go.
    if let Bh::Busy(mut backlog) = sock.lock_bh() {
        backlog.buffer_resized = true;
    }
}

impl State {
    /// The size of the receive buffer was set: the peer may have to hear of it.
    pub(super) fn buffer_resized(&mut self, sock: &Sock<Vsock>) {
        let size = sock.shared().options.buffer_size();
        if let Some(link) = self.link_mut() {
            if link.wire.resize(size) {
                link.send_credit(sock);
            }
        }
        self.settle(sock, false);
    }
}

/// The form of a connect timeout.
fn form_of(name: i32) -> TimevalForm {
    if name == CONNECT_TIMEOUT_OLD {
        TimevalForm::Old
    } else {
        TimevalForm::New
    }
}

/// `getsockopt(2)`.
pub(super) fn get(sock: &Sock<Vsock>, level: i32, name: i32, out: OptionOut<'_>) -> Result {
    check_level(sock, level)?;
    let options = &sock.shared().options;
    let size = match name {
        BUFFER_SIZE => &options.buffer_size,
        BUFFER_MIN_SIZE => &options.buffer_min,
        BUFFER_MAX_SIZE => &options.buffer_max,
        CONNECT_TIMEOUT_OLD | CONNECT_TIMEOUT_NEW => {
            let ms = i64::from(options.connect_timeout.load(Relaxed));
            let time = Timeval {
                seconds: ms / 1000,
                microseconds: ms % 1000 * 1000,
            };
            return out.write_time(form_of(name), time);
        }
        WAKEUPS => return out.write_whole(&sock.shared().published.wakeups()),
        _ => return Err(ENOPROTOOPT),
    };
    out.write_whole(&u64::from(size.load(Relaxed)))
}

// SPDX-License-Identifier: GPL-2.0

//! The state of a socket, behind its lock.

use super::{
    alarm::Alarms,
    bind::Bound,
    context::Context,
    dgram::Endpoint,
    link::Link,
    listen::Listener,
    published::{
        Levels,
        Snapshot,
        Status, //
    },
    queue::ReceiveQueue,
    Vsock, //
};
use crate::net::{
    errno::{
        ECONNRESET,
        ENOTCONN,
        EPROTO, //
    },
    sock::Sock,
    sock_fields::Shutdown, //
};
use crate::protocol::{
    address::{
        Address,
        Port, //
    },
    connection::{
        Cause,
        Payload,
        Phase, //
    },
    packet::{
        Halves,
        Header,
        Operation,
        SocketType, //
    },
    reason::DropReason, //
};
use crate::transport::{
    loopback::Outgoing,
    Incoming, //
};
use kernel::prelude::*;

/// What a socket is at the moment.
///
/// A transition consumes the old stage; one that fails gives back what it was given.
pub(super) enum Stage {
    /// New.
    Unbound,
    /// Has an address.
    Bound(Bound),
    /// Has sent a request. INVARIANT: the phase is `Connecting`.
    Connecting(Link),
    /// Has a connection, or had one whose data may still be read. INVARIANT: the phase is not
    /// `Connecting`, and not `Closing`.
    Connected(Link),
    /// Is closed for its program, and waits for the peer's last word, or has its own still to
    /// say. INVARIANT: the phase is `Closing`; or `Closed`, and packets are pending.
    Closing(Link),
    /// Takes connections.
    Listening(Listener),
    /// Took connections until it was shut down. It can be used as if it were only bound, but
    /// pollers see that it ended.
    Stopped(Bound),
    /// Sends and receives datagrams, from the beginning to the end.
    Datagrams(Endpoint),
    /// Is closed.
    Closed,
}

/// All of a socket that its lock protects.
pub(crate) struct State {
    pub(super) stage: Stage,
    /// What the timer is set for.
    pub(super) alarms: Alarms,
    /// A `connect` went back to user space for a moment, to be called again: until then nobody
    /// was told how the attempt has ended.
    pub(super) is_called_again: bool,
    /// How many bytes the credit has to let pass for pollers to call the socket writable: 1, or what
    /// the last message wanted that did not want to wait.
    pub(super) writable_at: usize,
    /// What was published last.
    published: Snapshot,
    /// The address that was published last; the wildcard before anything was.
    published_local: Address,
}

impl State {
    /// The state of a new socket for connections.
    pub(super) fn new() -> Self {
        Self::with_stage(Stage::Unbound)
    }

    /// The state of a new socket for datagrams.
    pub(super) fn for_datagrams() -> Self {
        Self::with_stage(Stage::Datagrams(Endpoint::default()))
    }

    fn with_stage(stage: Stage) -> Self {
        let mut state = State {
            stage,
            alarms: Alarms::default(),
            is_called_again: false,
            writable_at: 1,
            published: Snapshot::IDLE,
            published_local: Address::ANY,
        };
        state.published = state.snapshot();
        state
    }

    /// What was published last, or is to be published of a new socket.
    pub(super) fn published(&self) -> Snapshot {
        self.published
    }

    /// The connection: being made, standing, or ended with data left to read.
    pub(super) fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.stage {
            Stage::Connecting(link) | Stage::Connected(link) | Stage::Closing(link) => Some(link),
            _ => None,
        }
    }

    /// Takes the address of a socket that has nothing else.
    pub(super) fn take_bound(&mut self) -> Option<Bound> {
        match core::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Bound(bound) | Stage::Stopped(bound) => Some(bound),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// The connection that data can be read from and written to, as far as its directions go:
    /// `ENOTCONN` if there is none.
    pub(super) fn connected(&mut self) -> Result<&mut Link> {
        match &mut self.stage {
            Stage::Connected(link) => Ok(link),
            _ => Err(ENOTCONN),
        }
    }

    /// Brings the stage in line with the phase of its connection, and publishes. To be called
    /// after every change, with the lock held in any of its forms; `arrived` tells that
    /// something new became available.
    pub(super) fn settle(&mut self, sock: &Sock<Vsock>, arrived: bool) {
        if !self.settle_levels(sock, arrived) {
            self.settle_all(sock, arrived);
        }
        if arrived {
            self.watch_for_stall(sock);
        }
    }

    /// [`State::settle`] where the connection is as open as it was when all was published, and there is
    /// only more or less to be read or to be sent: this is what nearly every packet and call changes.
    /// Returns whether that is so; nothing was done if not.
    fn settle_levels(&mut self, sock: &Sock<Vsock>, arrived: bool) -> bool {
        let Stage::Connected(link) = &self.stage else {
            return false;
        };
        let new = link.levels();
        let only_levels = link.wire.is_open()
            && self.published.is_open()
            && self.published_local == link.wire.flow().local
            && self.published.window == link.window()
            && self.published.writable == link.is_enough(new.sendable, self.writable_at);
        if only_levels {
            let old = core::mem::replace(&mut self.published.levels, new);
            let published = &sock.shared().published;
            published.publish_levels(sock, &self.published, &old, arrived);
        }
        only_levels
    }

    /// [`State::settle`] whatever has changed.
    fn settle_all(&mut self, sock: &Sock<Vsock>, arrived: bool) {
        let stage = match (&self.stage, self.phase()) {
            (Stage::Connecting(_), Some(Phase::Connecting)) => None,
            (Stage::Connected(_), Some(Phase::Established)) => None,
            // Its end was seen before.
            (Stage::Connected(link), Some(Phase::Closed(_))) if link.has_ended() => None,
            (Stage::Closing(_), Some(Phase::Closing)) => None,
            (_, Some(phase)) => Some(phase),
            (_, None) => None,
        };
        if let Some(phase) = stage {
            if !matches!(phase, Phase::Closing) {
                // Whatever was waited for has come.
                self.end_alarms(sock);
            }
            self.follow(sock, phase);
        }
        if let Stage::Connected(link) = &mut self.stage {
            if link.wire.receive_ended() {
                link.queue.drop_unfinished();
            }
        }
        self.publish(sock, arrived);
    }

    /// `SO_RCVLOWAT` was changed: the peer may have to hear of free space for it to be reached.
    pub(super) fn low_water_changed(&mut self, sock: &Sock<Vsock>) {
        if let Some(link) = self.link_mut() {
            let is_stream = link.wire.kind() == SocketType::Stream;
            if is_stream && link.wire.read(0, sock.receive_low_water()) {
                link.send_credit(sock);
            }
        }
    }

    fn phase(&self) -> Option<Phase> {
        match &self.stage {
            Stage::Connecting(link) | Stage::Connected(link) | Stage::Closing(link) => {
                Some(link.phase())
            }
            _ => None,
        }
    }

    /// Enters the stage of a socket whose connection has gone on to `phase`.
    fn follow(&mut self, sock: &Sock<Vsock>, phase: Phase) {
        match (&mut self.stage, phase) {
            (Stage::Connecting(_), phase) => self.answered(sock, phase),
            (Stage::Connected(link), Phase::Closed(cause)) => {
                link.end(sock);
                if let Some(error) = Self::error_of_connection(cause) {
                    sock.set_error(error);
                }
            }
            (Stage::Closing(link), Phase::Closed(_)) => {
                link.end(sock);
                if !link.has_pending() {
                    self.stage = Stage::Closed;
                }
            }
            _ => {}
        }
    }

    /// A request for a connection was answered, or given up.
    fn answered(&mut self, sock: &Sock<Vsock>, phase: Phase) {
        self.stage = match (core::mem::replace(&mut self.stage, Stage::Closed), phase) {
            (Stage::Connecting(link), Phase::Established) => Stage::Connected(link),
            // A failed connect leaves the socket as it was before, so that it can try again.
            (Stage::Connecting(mut link), Phase::Closed(cause)) => {
                link.end(sock);
                sock.set_error(Self::error_of_connect(cause));
                match link.into_bound() {
                    Some(bound) => Stage::Bound(bound),
                    None => Stage::Unbound,
                }
            }
            (old, _) => old,
        };
    }

    fn error_of_connect(cause: Cause) -> Error {
        match cause {
            Cause::Abandoned => ETIMEDOUT,
            Cause::Protocol => EPROTO,
            Cause::Refused | Cause::Reset | Cause::TransportReset | Cause::Orderly => ECONNRESET,
        }
    }

    fn error_of_connection(cause: Cause) -> Option<Error> {
        match cause {
            Cause::Orderly => None,
            _ => Some(ECONNRESET),
        }
    }

    /// A packet of the socket's connection arrived. `keep` adds its payload to the receive queue,
    /// and is called only if it belongs there. Returns why the packet was dropped, if it was.
    pub(super) fn packet(
        &mut self,
        sock: &Sock<Vsock>,
        header: &Header,
        keep: impl FnOnce(&mut ReceiveQueue),
    ) -> Option<DropReason> {
        let mut verdict = Payload::Drop(DropReason::State);
        if let Some(link) = self.link_mut() {
            verdict = link.packet(sock, header);
            if verdict == Payload::Deliver {
                keep(&mut link.queue);
                link.tell_of_space(sock);
            } else if header.operation == Operation::ReadWrite && link.is_local() {
                // The peer may have sent it before it could hear that this end was closed. It is
                // not to believe that its bytes were taken.
                if let Some(control) = link.wire.timeout() {
                    link.send_control(sock, control);
                }
            }
        }
        self.settle(sock, verdict == Payload::Deliver);
        match verdict {
            Payload::Drop(reason) => Some(reason),
            Payload::Deliver | Payload::Nothing => None,
        }
    }

    /// Sees to it that payload without a buffer of its own is not lost by [`State::packet`]. Returns false
    /// if it would be, or is not to be gathered. BH.
    pub(super) fn make_room_for(&mut self, payload: &mut Incoming<'_>) -> bool {
        self.link_mut()
            .is_some_and(|link| link.queue.make_room_for(payload))
    }

    /// Takes out the packets that are pending until the lock is given up.
    pub(super) fn take_pending(&mut self, sock: &Sock<Vsock>) -> Option<Outgoing<Context>> {
        let outgoing = self.link_mut()?.take_pending(sock);
        self.settle(sock, false);
        outgoing
    }

    /// The address of the socket: a wildcard where it has none.
    pub(super) fn local(&self) -> Address {
        match &self.stage {
            Stage::Unbound | Stage::Closed => Address::ANY,
            Stage::Bound(bound) | Stage::Stopped(bound) => bound.address(),
            Stage::Listening(listener) => listener.bound().address(),
            Stage::Datagrams(endpoint) => endpoint.address(),
            Stage::Connecting(link) | Stage::Connected(link) | Stage::Closing(link) => {
                link.wire.flow().local
            }
        }
    }

    /// Publishes what the state is now.
    fn publish(&mut self, sock: &Sock<Vsock>, arrived: bool) {
        let new = self.snapshot();
        let old = core::mem::replace(&mut self.published, new);
        let halves = match &self.stage {
            Stage::Connecting(link) | Stage::Connected(link) | Stage::Closing(link) => {
                link.wire.shut_down()
            }
            Stage::Datagrams(endpoint) => endpoint.shut_down(),
            _ => Halves::default(),
        };
        sock.set_shutdown(Shutdown {
            receive: halves.receive,
            send: halves.send,
        });
        self.published_local = self.local();
        sock.shared().publish_local(self.published_local);
        sock.shared().published.publish(sock, &old, &new, arrived);
        if old.window != new.window {
            self.announce_to_sleepers(sock);
        }
        if new.status == Status::Disconnected && old.status != new.status {
            sock.shared().lingering.end();
        }
    }

    /// The window is another one: the peer may have to hear of free space for what readers sleep
    /// for.
    fn announce_to_sleepers(&mut self, sock: &Sock<Vsock>) {
        if !sock.shared().published.readers.has_sleepers() {
            return;
        }
        if let Some(link) = self.link_mut() {
            if link.wire.before_sleep(link.wire.window() as usize) {
                link.send_credit(sock);
            }
        }
    }

    /// The own port and the peer's: a wildcard where there is none.
    pub(super) fn ports(&self) -> (Port, Port) {
        let peer = match &self.stage {
            Stage::Connecting(link) | Stage::Connected(link) | Stage::Closing(link) => {
                link.wire.flow().peer.port
            }
            Stage::Datagrams(endpoint) => endpoint.peer().map_or(Port::ANY, |peer| peer.port),
            _ => Port::ANY,
        };
        (self.local().port, peer)
    }

    fn snapshot(&self) -> Snapshot {
        match &self.stage {
            Stage::Datagrams(endpoint) => endpoint.snapshot(),
            Stage::Unbound | Stage::Bound(_) | Stage::Closed => Snapshot::IDLE,
            Stage::Stopped(_) => Snapshot {
                status: Status::Stopped,
                ..Snapshot::IDLE
            },
            Stage::Listening(listener) => Snapshot {
                status: Status::Listening,
                levels: Levels {
                    available: listener.len(),
                    ..Levels::NONE
                },
                receive_ended: false,
                window: listener.limit(),
                ..Snapshot::IDLE
            },
            Stage::Connecting(link) | Stage::Connected(link) | Stage::Closing(link) => Snapshot {
                status: match link.phase() {
                    Phase::Connecting => Status::Connecting,
                    Phase::Established => Status::Connected,
                    Phase::Closing | Phase::Closed(_) => Status::Disconnected,
                },
                levels: link.levels(),
                receive_ended: link.wire.receive_ended(),
                writable: link.is_writable(self.writable_at),
                send_ended: link.wire.send_ended(),
                window: link.window(),
            },
        }
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The well-behaved side of the device: services that keep every rule, and go on beside a scenario.
//!
//! - Port 9998 echoes what it receives.
//! - Port 9000 takes a line: `play NAME` begins a scenario and is answered `playing`, or with a
//!   sentence; `fuzz SEED PACKETS` begins a run of the fuzzer and is answered `fuzzing`; `result` is
//!   answered when either has ended, with `passed` or with a sentence.

use std::collections::{BTreeMap, VecDeque};

use rvsock_packet::{Header, Operation, Packet, END_OF_MESSAGE, HOST_CID, SEQPACKET};

/// Port of the echo.
pub const ECHO_PORT: u32 = 9998;
/// Port that takes lines.
const CONTROL_PORT: u32 = 9000;

/// Size of the services' receive buffers, in bytes.
pub const BUFFER: u32 = 256 * 1024;

/// Payload of the packets that are sent, in bytes; any receive buffer has room for it.
const LARGEST: usize = 2048;

/// The bits of a shutdown: no more receiving, no more sending.
pub const BOTH: u32 = 3;

/// A connection of the guest.
#[derive(Debug)]
struct Flow {
    /// A packet to the guest, with everything that stays the same.
    template: Header,
    /// What the guest has said of its buffer.
    buf_alloc: u32,
    fwd_cnt: u32,
    /// Bytes that were sent to it, modulo 2^32.
    sent: u32,
    /// Bytes to be sent.
    unsent: VecDeque<u8>,
    /// A line that has not ended.
    line: Vec<u8>,
    /// What the guest has shut down.
    shut: u32,
}

/// A connection, by the guest's port and the host's.
pub type Ports = (u32, u32);

/// What a guest has asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// To play the scenario with this name.
    Play(String),
    /// To fuzz, as these words say.
    Fuzz(String),
    /// To be told what has come of it.
    Result,
}

/// Whether a port of the host is one of the services'.
pub fn is_service(port: u32) -> bool {
    matches!(port, ECHO_PORT | CONTROL_PORT)
}

/// The services and their connections.
#[derive(Debug, Default)]
pub struct Live {
    flows: BTreeMap<Ports, Flow>,
    asked: VecDeque<(Ports, Asked)>,
    outgoing: VecDeque<Packet>,
}

impl Live {
    /// Whether a packet is for one of the services.
    pub fn serves(packet: &Packet) -> bool {
        packet.header.dst_cid == HOST_CID && is_service(packet.header.dst_port)
    }

    /// Whether a packet is of a connection that is there.
    pub fn knows(&self, packet: &Packet) -> bool {
        let header = &packet.header;
        self.flows.contains_key(&(header.src_port, header.dst_port))
    }

    /// Forgets all connections: the guest has.
    pub fn forget(&mut self) {
        self.flows.clear();
        self.outgoing.clear();
    }

    /// Sends a packet after those that wait.
    pub fn send(&mut self, packet: Packet) {
        self.outgoing.push_back(packet);
    }

    /// The next packet to be sent.
    pub fn front(&self) -> Option<&Packet> {
        self.outgoing.front()
    }

    /// The first packet was sent.
    pub fn pop(&mut self) {
        self.outgoing.pop_front();
    }

    /// What a guest has asked for, once, and on which connection.
    pub fn asked(&mut self) -> Option<(Ports, Asked)> {
        self.asked.pop_front()
    }

    /// Sends a line on a connection, if it is still there.
    pub fn tell(&mut self, whom: Ports, line: &str) {
        if let Some(flow) = self.flows.get_mut(&whom) {
            flow.unsent.extend(line.bytes());
            flow.unsent.push_back(b'\n');
            flow.push(&mut self.outgoing);
        }
    }

    /// Handles a packet for one of the services.
    pub fn receive(&mut self, packet: &Packet) {
        let header = &packet.header;
        let key = (header.src_port, header.dst_port);
        if header.operation == Operation::REQUEST {
            let mut flow = Flow::new(header);
            flow.control(Operation::RESPONSE, &mut self.outgoing);
            self.flows.insert(key, flow);
            return;
        }
        let Some(flow) = self.flows.get_mut(&key) else {
            self.outgoing.extend(packet.refusal());
            return;
        };
        flow.buf_alloc = header.buf_alloc;
        flow.fwd_cnt = header.fwd_cnt;
        match header.operation {
            Operation::PAYLOAD if header.dst_port == ECHO_PORT => {
                flow.unsent.extend(&packet.payload);
            }
            Operation::PAYLOAD => {
                flow.template.fwd_cnt = flow.template.fwd_cnt.wrapping_add(header.len);
                for byte in &packet.payload {
                    if *byte == b'\n' {
                        let line = String::from_utf8_lossy(&flow.line).into_owned();
                        flow.line.clear();
                        let asked = match line.split_once(' ') {
                            Some(("play", name)) => Asked::Play(name.to_owned()),
                            Some(("fuzz", order)) => Asked::Fuzz(order.to_owned()),
                            _ => Asked::Result,
                        };
                        self.asked.push_back((key, asked));
                    } else {
                        flow.line.push(*byte);
                    }
                }
            }
            Operation::CREDIT_REQUEST => {
                flow.control(Operation::CREDIT_UPDATE, &mut self.outgoing);
            }
            Operation::SHUTDOWN => flow.shut |= header.flags & BOTH,
            Operation::RESET => {
                self.flows.remove(&key);
                return;
            }
            _ => {}
        }
        flow.push(&mut self.outgoing);
        if flow.shut == BOTH {
            flow.control(Operation::RESET, &mut self.outgoing);
            self.flows.remove(&key);
        }
    }
}

impl Flow {
    fn new(request: &Header) -> Self {
        Flow {
            template: Header {
                src_cid: request.dst_cid,
                dst_cid: request.src_cid,
                src_port: request.dst_port,
                dst_port: request.src_port,
                len: 0,
                kind: request.kind,
                operation: Operation::RESPONSE,
                flags: 0,
                buf_alloc: BUFFER,
                fwd_cnt: 0,
            },
            buf_alloc: request.buf_alloc,
            fwd_cnt: request.fwd_cnt,
            sent: 0,
            unsent: VecDeque::new(),
            line: Vec::new(),
            shut: 0,
        }
    }

    /// Sends a packet without payload.
    fn control(&mut self, operation: Operation, outgoing: &mut VecDeque<Packet>) {
        outgoing.push_back(Packet {
            header: Header {
                operation,
                ..self.template
            },
            payload: Vec::new(),
        });
    }

    /// Sends what is to be sent, as far as the guest has room. What is echoed counts as taken out
    /// of the buffer with that.
    fn push(&mut self, outgoing: &mut VecDeque<Packet>) {
        loop {
            let in_flight = self.sent.wrapping_sub(self.fwd_cnt);
            let room = self.buf_alloc.saturating_sub(in_flight) as usize;
            let len = self.unsent.len().min(room).min(LARGEST);
            if len == 0 {
                return;
            }
            let payload: Vec<u8> = self.unsent.drain(..len).collect();
            self.sent = self.sent.wrapping_add(len as u32);
            if self.template.src_port == ECHO_PORT {
                self.template.fwd_cnt = self.template.fwd_cnt.wrapping_add(len as u32);
            }
            let is_message = self.template.kind == SEQPACKET;
            outgoing.push_back(Packet {
                header: Header {
                    operation: Operation::PAYLOAD,
                    flags: if is_message { END_OF_MESSAGE } else { 0 },
                    len: len as u32,
                    ..self.template
                },
                payload,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(port: u32, operation: Operation, payload: &[u8]) -> Packet {
        Packet {
            header: Header {
                src_cid: 3,
                dst_cid: 2,
                src_port: 1025,
                dst_port: port,
                len: payload.len() as u32,
                kind: 1,
                operation,
                flags: 0,
                buf_alloc: 5,
                fwd_cnt: 0,
            },
            payload: payload.to_vec(),
        }
    }

    fn sent(live: &mut Live) -> Vec<(Operation, Vec<u8>, u32)> {
        let drained = live.outgoing.drain(..);
        drained
            .map(|packet| {
                (
                    packet.header.operation,
                    packet.payload,
                    packet.header.fwd_cnt,
                )
            })
            .collect()
    }

    #[test]
    fn echo_keeps_within_the_credit() {
        let mut live = Live::default();
        live.receive(&packet(ECHO_PORT, Operation::REQUEST, b""));
        live.receive(&packet(ECHO_PORT, Operation::PAYLOAD, b"abcdefg"));
        assert_eq!(
            sent(&mut live),
            [
                (Operation::RESPONSE, Vec::new(), 0),
                (Operation::PAYLOAD, b"abcde".to_vec(), 5),
            ]
        );
        let mut update = packet(ECHO_PORT, Operation::CREDIT_UPDATE, b"");
        update.header.fwd_cnt = 1;
        live.receive(&update);
        assert_eq!(sent(&mut live), [(Operation::PAYLOAD, b"f".to_vec(), 6)]);
    }

    #[test]
    fn lines_are_asked_and_answered() {
        let mut live = Live::default();
        live.receive(&packet(CONTROL_PORT, Operation::REQUEST, b""));
        live.receive(&packet(
            CONTROL_PORT,
            Operation::PAYLOAD,
            b"play a\nresult\n",
        ));
        let ports = (1025, CONTROL_PORT);
        assert_eq!(live.asked(), Some((ports, Asked::Play("a".to_owned()))));
        assert_eq!(live.asked(), Some((ports, Asked::Result)));
        assert_eq!(live.asked(), None);
        sent(&mut live);
        live.tell(ports, "ok");
        assert_eq!(
            sent(&mut live),
            [(Operation::PAYLOAD, b"ok\n".to_vec(), 14)]
        );
    }

    #[test]
    fn closing_is_answered_and_unknown_flows_are_reset() {
        let mut live = Live::default();
        live.receive(&packet(ECHO_PORT, Operation::REQUEST, b""));
        let mut shutdown = packet(ECHO_PORT, Operation::SHUTDOWN, b"");
        shutdown.header.flags = BOTH;
        live.receive(&shutdown);
        live.receive(&shutdown);
        let operations: Vec<_> = sent(&mut live).into_iter().map(|(one, _, _)| one).collect();
        assert_eq!(
            operations,
            [Operation::RESPONSE, Operation::RESET, Operation::RESET]
        );
    }
}

// SPDX-License-Identifier: GPL-2.0

//! The ports of the host that the guest can connect to.
//!
//! The device connects to the unix socket `SOCKET_PORT` when the guest connects to `PORT`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::command::{self, Command, CommandError, Service};
use crate::connection::Connection;
use crate::device::Device;
use crate::dial;
use crate::services::{self, BitFlip, ServiceError};
use crate::statistics::{Direction, Statistics};

/// Port of the two-byte reply.
const TWO_BYTES_PORT: u32 = 9999;

/// Port of the echo.
const ECHO_PORT: u32 = 9998;

/// Port that takes a command.
const COMMAND_PORT: u32 = 9000;

/// How long to wait when the system refuses a connection or a thread (too many files, say).
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// How long the answer of `pause` has to reach the guest.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    /// The device's socket, to which we connect to reach the guest.
    pub socket: PathBuf,
    /// Where connections are counted.
    pub statistics: Arc<Statistics>,
    /// What to change in what the echo port writes.
    pub flip: Option<BitFlip>,
    /// The process of the device, if it is known.
    pub device: Option<Device>,
}

/// The listening sockets; their files are removed when this is dropped.
#[derive(Debug, Default)]
pub struct Listeners(Vec<(u32, PathBuf, UnixListener)>);

impl Listeners {
    /// Listens on every port of the device whose host socket is at `socket`.
    ///
    /// # Errors
    ///
    /// Names the unix socket that cannot be listened on, and why.
    pub fn bind(socket: &Path) -> io::Result<Self> {
        let mut listeners = Self::default();
        for port in [TWO_BYTES_PORT, ECHO_PORT, COMMAND_PORT] {
            let path = port_path(socket, port);
            let listener = UnixListener::bind(&path).map_err(|error| {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "; end the program that listens there, or remove what it left behind"
                    }
                    _ => "",
                };
                let text = format!("cannot listen on {}: {error}{hint}", path.display());
                io::Error::new(error.kind(), text)
            })?;
            listeners.0.push((port, path, listener));
        }
        Ok(listeners)
    }

    /// Starts to accept, a thread for each listener and one for each connection.
    ///
    /// # Errors
    ///
    /// That of starting a thread.
    pub fn accept(&self, server: &Arc<Server>) -> io::Result<()> {
        for (port, _, listener) in &self.0 {
            let (port, listener) = (*port, listener.try_clone()?);
            let server = Arc::clone(server);
            thread::Builder::new()
                .name(format!("accept-{port}"))
                .spawn(move || accept(&server, port, &listener))?;
        }
        Ok(())
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for (_, path, _) in &self.0 {
            // It may have been removed with its directory: that is no failure.
            drop(fs::remove_file(path));
        }
    }
}

fn port_path(socket: &Path, port: u32) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(format!("_{port}"));
    path.into()
}

fn accept(server: &Arc<Server>, port: u32, listener: &UnixListener) {
    for stream in listener.incoming() {
        let result = stream.and_then(|stream| {
            let server = Arc::clone(server);
            thread::Builder::new()
                .name(format!("serve-{port}"))
                .spawn(move || server.handle(port, stream))
        });
        if let Err(error) = result {
            eprintln!("rvsock-peer: a connection to port {port} was lost: {error}");
            thread::sleep(REFUSAL_PAUSE);
        }
    }
}

impl Server {
    /// Serves a connection that the guest opened to `port`.
    fn handle(&self, port: u32, stream: UnixStream) {
        let mut connection = Connection::new(stream, self.statistics.begin(port, Direction::In));
        let result = match port {
            TWO_BYTES_PORT => as_text(services::two_bytes(&mut connection)),
            ECHO_PORT => as_text(services::echo(&mut connection, self.flip.as_ref())),
            _ => self.obey(&mut connection),
        };
        connection.end(result.err());
    }

    /// Reads a command and does what it says; the error is for the statistics.
    fn obey(&self, connection: &mut Connection) -> Result<(), String> {
        let line = command::read_line(connection.uncounted())
            .map_err(|error| format!("reading the command: {error}"))?;
        match line.and_then(|line| command::parse(&line)) {
            Ok(Command::Serve(service)) => as_text(services::serve(connection, &service)),
            Ok(Command::Dial { port, service }) => self.dial(connection, port, &service),
            Ok(Command::Pause(time)) => self.pause(connection, time),
            Ok(Command::Statistics) => self
                .statistics
                .summary()
                .and_then(|line| connection.write_all(line.as_bytes()))
                .map_err(|error| format!("answering: {error}")),
            Err(error) => {
                refuse(connection, &error);
                Err(error.to_string())
            }
        }
    }

    /// Stops the device for so long, once the answer has had time to reach the guest.
    fn pause(&self, connection: &mut Connection, time: Duration) -> Result<(), String> {
        let answer = match &self.device {
            Some(_) => "pausing\n",
            None => "error: the process of the device is not known\n",
        };
        connection
            .write_all(answer.as_bytes())
            .map_err(|error| format!("answering: {error}"))?;
        let device = self.device.as_ref().ok_or("there is no device")?;
        thread::sleep(ANSWER_PAUSE);
        device
            .pause(time)
            .map_err(|error| format!("stopping the device: {error}"))
    }

    /// Is a service on a connection that we open, and answers how that went on the first one.
    fn dial(
        &self,
        connection: &mut Connection,
        port: u32,
        service: &Service,
    ) -> Result<(), String> {
        let answering = |error: io::Error| format!("answering: {error}");
        connection.write_all(b"dialling\n").map_err(answering)?;
        let result = self.serve_dialled(port, service);
        let line = match &result {
            Ok(counts) => format!("result ok {counts}\n"),
            Err(reason) => format!("result failed {}\n", reason.replace('\n', " ")),
        };
        connection.write_all(line.as_bytes()).map_err(answering)?;
        result.map(drop)
    }

    fn serve_dialled(&self, port: u32, service: &Service) -> Result<String, String> {
        let tally = self.statistics.begin(port, Direction::Out);
        let stream = match dial::dial(&self.socket, port) {
            Ok(stream) => stream,
            Err(error) => {
                tally.end(Some(error.to_string()));
                return Err(error.to_string());
            }
        };
        let mut connection = Connection::new(stream, tally);
        let result = as_text(services::serve(&mut connection, service));
        let counts = connection.so_far();
        connection.end(result.clone().err());
        result.map(|()| {
            format!(
                "{} {} {} {}",
                counts.bytes_in, counts.crc_in, counts.bytes_out, counts.crc_out
            )
        })
    }
}

fn as_text(result: Result<(), ServiceError>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}

/// Answers a line that is no command.
fn refuse(connection: &mut Connection, error: &CommandError) {
    // The statistics hold the reason in any case, so a guest that is gone is no second failure.
    if connection
        .write_all(format!("error: {error}\n").as_bytes())
        .is_ok()
    {
        // What came behind the line is taken first: closing with it unread would be a reset,
        // which may overtake the answer.
        let stream = connection.uncounted();
        if stream.set_nonblocking(true).is_ok() {
            let mut rest = [0; 4096];
            for _ in 0..16 {
                if !matches!(io::Read::read(stream, &mut rest), Ok(1..)) {
                    break;
                }
            }
        }
    }
}

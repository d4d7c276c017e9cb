// SPDX-License-Identifier: GPL-2.0

//! The process of the vhost-user device, which can be made to stand still.

use std::io;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The process of the device.
#[derive(Debug)]
pub struct Device {
    pid: u32,
    /// Held while the process is stopped.
    stopped: Mutex<()>,
}

impl Device {
    /// The process with this number.
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            stopped: Mutex::new(()),
        }
    }

    /// Stops the process for so long.
    ///
    /// # Errors
    ///
    /// Says that it could not be stopped, or could not be made to go on.
    pub fn pause(&self, time: Duration) -> io::Result<()> {
        let _stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        self.signal("STOP")?;
        thread::sleep(time);
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.pid.to_string()])
            .stdin(Stdio::null())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "no signal to process {}",
                self.pid
            )))
        }
    }
}

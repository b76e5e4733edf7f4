//! A supervised child process: log, readiness, signals, restart, sure end.

mod program;
mod spawner;

use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use parking_lot::Mutex;

pub use program::Program;

use crate::eventually::eventually;

const TAIL_LINES: usize = 40;

/// A running program. Its output goes to a log file. It is killed when this
/// value is dropped, and by the kernel when the test process ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    command: Mutex<Command>,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `program`; its output is appended to `NAME.log` in `dir`, which
    /// must outlive the process.
    pub fn spawn(name: &str, program: Program, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap_or_else(|error| panic!("opening {}: {error}", log.display()));
        let mut command = program.into_command();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be doubled"))
            .stderr(output);
        let child = spawner::spawn(&mut command)
            .unwrap_or_else(|error| panic!("starting {name} ({command:?}): {error}"));
        Self { name: name.to_owned(), log, command: Mutex::new(command), child: Mutex::new(child) }
    }

    /// The process id, which a restart changes.
    pub fn pid(&self) -> u32 {
        self.child.lock().id()
    }

    /// The log file, which a restart continues.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of the log, under a heading.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        format!(
            "--- end of the log of {} ({} lines) ---\n{}\n---",
            self.name,
            lines.len(),
            lines[from..].join("\n")
        )
    }

    /// How it ended, if it did.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.lock().try_wait().expect("a child can be waited for")
    }

    /// Asks `check` until it answers `Ok`.
    ///
    /// # Panics
    ///
    /// With the log's end, when the process ends first or `deadline` passes.
    pub async fn wait_until<T, E: Display>(
        &self,
        what: &str,
        deadline: Duration,
        mut check: impl AsyncFnMut() -> Result<T, E>,
    ) -> T {
        let what = format!("{} {what}", self.name);
        eventually(&what, deadline, async || {
            if let Some(status) = self.exit_status() {
                panic!("{what}: it ended with {status}\n{}", self.log_tail());
            }
            check().await.map_err(|error| format!("{error}\n{}", self.log_tail()))
        })
        .await
    }

    /// Waits for the process to end by itself or by a signal sent before.
    pub async fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        eventually(&format!("{} ends", self.name), deadline, async || {
            self.exit_status().ok_or_else(|| format!("still running\n{}", self.log_tail()))
        })
        .await
    }

    /// Sends a signal; one to a process that has ended is lost.
    pub fn signal(&self, signal: Signal) {
        // Under the lock the child is not yet reaped, so the id is still its own.
        let mut child = self.child.lock();
        if child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = signal::kill(as_pid(child.id()), signal);
        }
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends it at once (SIGKILL) and reaps it.
    pub fn kill9(&self) {
        let mut child = self.child.lock();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Stops it where it is (SIGSTOP): connections stay open, nothing answers.
    /// Every thread of it stands still when this returns.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // Seen only, not reaped, should it have ended meanwhile.
        let seen = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let child = self.child.lock();
        let _ = waitid(Id::Pid(as_pid(child.id())), seen);
    }

    /// Lets a stopped process go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Kills it, if it still runs, and starts the same command again.
    pub fn restart(&self) {
        self.kill9();
        let mut command = self.command.lock();
        let child = spawner::spawn(&mut command)
            .unwrap_or_else(|error| panic!("starting {} again: {error}", self.name));
        *self.child.lock() = child;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

fn as_pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("process ids fit in 31 bits"))
}

#[cfg(test)]
mod tests;

//! What to run, where and as whom.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

/// A command line with its surroundings.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    namespace: Option<String>,
    privileges: Vec<OsString>,
}

impl Program {
    /// The program at `path`, or found by that name.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            envs: Vec::new(),
            namespace: None,
            privileges: Vec::new(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let pair = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.envs.push(pair);
        self
    }

    /// Runs it in the network namespace of that name.
    #[must_use]
    pub fn in_namespace(mut self, name: &str) -> Self {
        self.namespace = Some(name.to_owned());
        self
    }

    /// Runs it as this user and the group of the same number.
    #[must_use]
    pub fn as_user(mut self, uid: u32) -> Self {
        for option in [format!("--reuid={uid}"), format!("--regid={uid}")] {
            self.privileges.push(option.into());
        }
        self.privileges.push("--clear-groups".into());
        self
    }

    /// Runs it under this group and the present user.
    #[must_use]
    pub fn as_group(mut self, gid: u32) -> Self {
        self.privileges.push(format!("--regid={gid}").into());
        self.privileges.push("--clear-groups".into());
        self
    }

    /// `[ip netns exec NAME] setpriv … -- PROGRAM …`; each replaces itself by
    /// the next, so the child's id is the program's own.
    pub(super) fn into_command(self) -> Command {
        let mut line: Vec<OsString> = Vec::new();
        if let Some(namespace) = self.namespace {
            line.extend(["ip", "netns", "exec"].map(OsString::from));
            line.push(namespace.into());
        }
        // The signal is asked for last: a change of user would clear it.
        line.push("setpriv".into());
        line.extend(self.privileges);
        line.extend(["--pdeathsig", "KILL", "--"].map(OsString::from));
        line.push(self.path.into());
        line.extend(self.args);

        let mut line = line.into_iter();
        let mut command = Command::new(line.next().expect("the line is not empty"));
        command.args(line).envs(self.envs);
        command
    }
}

//! The audit log: one line of JSON for each attempt to change something.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;
use tracing::{info, warn};

use super::access::Caller;
use super::views::time;

/// How many refusals are written per second; further ones are only counted, so that
/// nobody who may do nothing can fill the disk.
const REFUSALS: u32 = 10;

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When.
    at: String,
    /// The name of the token; absent where none was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    /// Where from.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    /// What was attempted.
    verb: String,
    /// On what.
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// `done` or `refused`.
    result: &'static str,
    /// What it comes to, or why it was refused.
    detail: String,
    /// How many refusals before it were not written.
    #[serde(skip_serializing_if = "is_zero")]
    unwritten: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Record {
    fn new(caller: &Caller, verb: &str, result: &'static str, detail: &str) -> Self {
        Self {
            at: time(SystemTime::now()),
            who: caller.token.clone(),
            peer: caller.peer.map(|peer| peer.to_string()),
            verb: verb.trim_start_matches("/api/v1/").to_owned(),
            target: String::new(),
            reason: String::new(),
            result,
            detail: detail.to_owned(),
            unwritten: 0,
        }
    }

    /// Something is done.
    pub fn done(caller: &Caller, verb: &str, detail: &str) -> Self {
        Self::new(caller, verb, "done", detail)
    }

    /// Something is not done.
    pub fn refused(caller: &Caller, verb: &str, why: &str) -> Self {
        Self::new(caller, verb, "refused", why)
    }

    /// On what, and why.
    #[must_use]
    pub fn about(self, target: &str, reason: &str) -> Self {
        Self { target: target.to_owned(), reason: reason.to_owned(), ..self }
    }
}

/// Writes the log.
#[derive(Debug, Default)]
pub struct Audit {
    /// The second that counts, the refusals in it, and those that were not written.
    refusals: Mutex<Option<(Instant, u32, u32)>>,
}

impl Audit {
    /// Writes a record to the file, if there is one, and to the program's own log.
    ///
    /// # Errors
    /// When the file cannot be written: then nothing should be done.
    pub fn write(&self, file: Option<&Path>, mut record: Record) -> io::Result<()> {
        if record.result == "refused" {
            let Some(unwritten) = self.admit(Instant::now()) else { return Ok(()) };
            record.unwritten = unwritten;
        }
        let Record { who, peer, verb, target, reason, result, detail, .. } = &record;
        if *result == "done" {
            info!(?who, ?peer, verb, target, reason, detail, "a change is made");
        } else {
            warn!(?who, ?peer, verb, target, reason, detail, "a change was refused");
        }
        file.map_or(Ok(()), |file| append(file, &record))
    }

    /// Whether another refusal is written now, and how many were not before it.
    fn admit(&self, now: Instant) -> Option<u32> {
        let mut refusals = self.refusals.lock();
        let (since, count, unwritten) = refusals.get_or_insert((now, 0, 0));
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        if *count >= REFUSALS {
            *unwritten += 1;
            return None;
        }
        *count += 1;
        Some(std::mem::take(unwritten))
    }
}

/// Opened anew each time, so that the file may be moved away; one write a line, so that
/// lines of several processes do not mix.
fn append(file: &Path, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    OpenOptions::new().create(true).append(true).mode(0o600).open(file)?.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_record_is_one_line_of_a_file_of_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("audit.jsonl");
        let peer = "127.0.0.1:9".parse().ok();
        let caller = Caller { token: Some("anna".to_owned()), operator: true, peer };
        let audit = Audit::default();
        let record = Record::done(&caller, "/api/v1/release", "released").about("a\nb", "why");
        audit.write(Some(&file), record).unwrap();
        audit.write(Some(&file), Record::refused(&Caller::default(), "drain", "no")).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["who"], &lines[0]["verb"], &lines[0]["target"], &lines[0]["result"]),
            (&"anna".into(), &"release".into(), &"a\nb".into(), &"done".into())
        );
        assert_eq!(lines[1]["result"], "refused");
    }

    #[test]
    fn refusals_beyond_ten_a_second_are_counted_and_not_written() {
        let audit = Audit::default();
        let now = Instant::now();
        let written = (0..25).filter(|_| audit.admit(now).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(audit.admit(now + Duration::from_secs(1)), Some(15));
    }
}

//! When to say what changed, and when to write it down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstem_model::{Condition, ObjectRef, RegistryUpdate, Rejected};
use mainstem_registry::UpdateSender;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::config::MemoryConfig;
use crate::state;
use crate::store::Store;

/// The state file is written at most once in this time.
const WRITES: Duration = Duration::from_secs(1);

/// Follows the store for ever, or until another follows it.
pub(crate) async fn follow(config: MemoryConfig, store: Arc<Store>, updates: UpdateSender) {
    let mut changed = store.changes();
    let around = config.around(updates.registry());
    store.book().configure(config.clone(), around);
    let mut keeper = Keeper::new(config.state_file, &store);
    let rejected = keeper.restore(&store);
    let (reader, values) = store.book().whole();
    let live = RegistryUpdate::Condition(Condition::Live);
    updates.send_all([RegistryUpdate::Replace { values, rejected }, live]);
    loop {
        let wake = [store.book().next_due(), keeper.next()].into_iter().flatten().min();
        tokio::select! {
            _ = changed.changed() => {}
            () = until(wake) => {}
        }
        let now = Instant::now();
        let Some(changes) = store.book().changes(reader, now) else {
            return std::future::pending().await;
        };
        updates.send_all(changes);
        keeper.keep(&store, &updates, now).await;
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// Keeps the state file.
struct Keeper {
    path: Option<PathBuf>,
    /// The edition of the book that is in the file.
    written: u64,
    /// The newest edition, and when the file may be written next.
    edition: u64,
    earliest: Instant,
    failed: bool,
}

impl Keeper {
    fn new(path: Option<PathBuf>, store: &Store) -> Self {
        let edition = store.book().edition();
        Self { path, written: edition, edition, earliest: Instant::now(), failed: false }
    }

    /// Registers what the file keeps and nobody registered since; what could not be.
    fn restore(&mut self, store: &Store) -> Vec<Rejected> {
        let Some(path) = &self.path else { return Vec::new() };
        let kept = match state::read(path) {
            Ok(kept) => kept,
            Err(error) => {
                // Kept for whoever wants to look at it, and out of the way of what comes.
                let aside = path.with_added_extension("refused");
                let moved = match std::fs::rename(path, &aside) {
                    Ok(()) => format!("it is now {}", aside.display()),
                    Err(error) => format!("it cannot be moved aside: {error}"),
                };
                warn!(path = %path.display(), %error, moved, "the state file cannot be used");
                return vec![flaw(path, &format!("nothing is restored: {error}; {moved}"))];
            }
        };
        let mut book = store.book();
        let missing = kept.into_iter().filter_map(|kept| book.restore(Instant::now(), kept).err());
        let rejected = missing.map(|(id, error)| Rejected {
            object: ObjectRef { kind: "Registration", name: id.into() },
            reason: error.to_string(),
        });
        rejected.collect()
    }

    /// When there is something to write.
    fn next(&self) -> Option<Instant> {
        (self.path.is_some() && self.written != self.edition).then_some(self.earliest)
    }

    /// Writes the file, if something changed and it was not written just before.
    async fn keep(&mut self, store: &Store, updates: &UpdateSender, now: Instant) {
        self.edition = store.book().edition();
        let Some(path) = self.path.clone().filter(|_| self.next().is_some_and(|at| at <= now))
        else {
            return;
        };
        let (edition, kept) = {
            let book = store.book();
            (book.edition(), book.kept())
        };
        self.earliest = now + WRITES;
        let file = path.clone();
        match spawn_blocking(move || state::write(&file, &kept)).await {
            Ok(Ok(())) => {
                self.written = edition;
                if std::mem::take(&mut self.failed) {
                    updates.accept(object(&path));
                }
            }
            Ok(Err(error)) if !self.failed => {
                warn!(path = %path.display(), %error, "the state file cannot be written");
                updates.reject(flaw(&path, &format!("it cannot be written: {error}")));
                self.failed = true;
            }
            _ => {}
        }
    }
}

fn object(path: &Path) -> ObjectRef {
    ObjectRef { kind: "StateFile", name: path.display().to_string().into() }
}

fn flaw(path: &Path, reason: &str) -> Rejected {
    Rejected { object: object(path), reason: reason.to_owned() }
}

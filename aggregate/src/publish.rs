//! One pointer that readers follow.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use mainstem_model::{Generation, Snapshot};
use tokio::sync::watch;

/// A pointer to the newest snapshot: the end that publishes and the one that reads.
pub fn channel(first: Arc<Snapshot>) -> (SnapshotPublisher, Snapshots) {
    let (generations, newest) = watch::channel((first.generation(), Instant::now()));
    let current = Arc::new(ArcSwap::new(first));
    (SnapshotPublisher { current: current.clone(), generations }, Snapshots { current, newest })
}

/// The end that publishes.
#[derive(Debug)]
pub struct SnapshotPublisher {
    current: Arc<ArcSwap<Snapshot>>,
    generations: watch::Sender<(Generation, Instant)>,
}

impl SnapshotPublisher {
    /// Swaps the pointer, then wakes those who wait; `since` is when the first of what
    /// is new in it was said.
    pub fn publish(&self, snapshot: Arc<Snapshot>, since: Instant) {
        let generation = snapshot.generation();
        self.current.store(snapshot);
        self.generations.send_replace((generation, since));
    }
}

/// The end that reads. Cheap to clone; loading never locks, and who only waits
/// keeps no snapshot alive.
#[derive(Clone, Debug)]
pub struct Snapshots {
    current: Arc<ArcSwap<Snapshot>>,
    newest: watch::Receiver<(Generation, Instant)>,
}

/// The aggregate has ended: there will be no further snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waiting for a snapshot: the aggregate has ended")]
pub struct NoMoreSnapshots;

impl Snapshots {
    /// The newest snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// When the first of what is new in the newest snapshot was said by a registry, or
    /// else decided.
    pub fn since(&self) -> Instant {
        self.newest.borrow().1
    }

    /// Waits for a snapshot newer than the last one waited for. Safe to cancel.
    pub async fn changed(&mut self) -> Result<Generation, NoMoreSnapshots> {
        self.newest.changed().await.map_err(|_| NoMoreSnapshots)?;
        Ok(self.newest.borrow_and_update().0)
    }

    /// Waits until `fits` holds for the newest snapshot, and returns that one.
    pub async fn wait_for(
        &mut self,
        mut fits: impl FnMut(&Snapshot) -> bool,
    ) -> Result<Arc<Snapshot>, NoMoreSnapshots> {
        loop {
            // Marked as seen before it is read, so that none in between is missed.
            self.newest.mark_unchanged();
            let snapshot = self.load();
            if fits(&snapshot) {
                return Ok(snapshot);
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_wakes_for_the_newest_and_an_idle_one_keeps_none_alive() {
        let first = Arc::new(Snapshot::default());
        let (publisher, mut snapshots) = channel(first.clone());
        let idle = snapshots.clone();
        let second = Arc::new(first.edit().finish());
        let third = Arc::new(second.edit().finish());
        let since = Instant::now();
        publisher.publish(second.clone(), since);
        publisher.publish(third, since);
        assert_eq!(snapshots.changed().await, Ok(2));
        assert_eq!((snapshots.load().generation(), snapshots.since()), (2, since));
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
        drop(publisher);
        assert_eq!(snapshots.changed().await, Err(NoMoreSnapshots));
        assert_eq!(idle.load().generation(), 2);
    }
}

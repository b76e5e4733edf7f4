//! When the service list is asked for: pure.
//!
//! Its index moves with every registration, and it is as long as the catalog. Most
//! registrations are of services that have a query of their own, which answers at the
//! very index: they leave the names as they are. So the list is asked for at once when
//! nobody answers at its index, and otherwise a while later, since one transaction may
//! register several services.
//!
//! Where only what is needed has a query, most registrations are of services that
//! nobody needs: then the list is asked for at most once in a while.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::index::CatalogIndex;

/// How long a service's own query may take to answer at an index of the list.
const GRACE: Duration = Duration::from_millis(20);

/// After how long the list is asked for when services have answered at its indices.
const LATER: Duration = Duration::from_secs(5);

/// How many indices at which services answered are remembered.
const REMEMBERED: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Indices that no service has answered at, and until when one may.
    open: VecDeque<(CatalogIndex, Instant)>,
    /// When the list is to be asked for, whoever answers.
    wanted: Option<Instant>,
    answered: VecDeque<CatalogIndex>,
    newest: CatalogIndex,
    asking: bool,
    /// How long after the list was asked for it may be asked for again, and when that is.
    pause: Duration,
    rested: Option<Instant>,
}

impl Listing {
    /// Of a catalog of which only what is needed has a query.
    pub(super) fn of_the_needed() -> Self {
        Self { pause: LATER, ..Self::default() }
    }

    /// The list's index moved.
    pub(super) fn moved(&mut self, to: CatalogIndex, now: Instant) {
        self.newest = to;
        match self.answered.contains(&to) {
            true => self.want(now + LATER),
            false => self.open.push_back((to, now + GRACE)),
        }
        if self.open.len() > REMEMBERED {
            self.open.clear();
            self.want(now);
        }
    }

    /// A service that is followed answered at this index, and has instances.
    pub(super) fn answered(&mut self, index: CatalogIndex, now: Instant) {
        self.answered.push_back(index);
        if self.answered.len() > REMEMBERED {
            self.answered.pop_front();
        }
        let before = self.open.len();
        self.open.retain(|(open, _)| *open != index);
        if self.open.len() < before {
            self.want(now + LATER);
        }
    }

    /// The list is to be asked for at this time at the latest.
    pub(super) fn want(&mut self, at: Instant) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    /// When it is to be asked for; none while it is being asked for, or nobody wants it.
    pub(super) fn due(&self) -> Option<Instant> {
        let open = self.open.front().map(|(_, until)| *until);
        let due = open.into_iter().chain(self.wanted).min().filter(|_| !self.asking)?;
        Some(self.rested.map_or(due, |rested| due.max(rested)))
    }

    /// It is being asked for: the answer is to know all that moved until now, so to be
    /// of this index at least.
    pub(super) fn ask(&mut self, now: Instant) -> CatalogIndex {
        self.asking = true;
        self.rested = Some(now + self.pause);
        self.open.clear();
        self.wanted = None;
        self.newest
    }

    /// It has come.
    pub(super) fn came(&mut self) {
        self.asking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(index: u64) -> CatalogIndex {
        CatalogIndex::new(index).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_at_which_no_service_answers_asks_for_the_list_at_once() {
        let (mut listing, now) = (Listing::default(), Instant::now());
        assert_eq!(listing.due(), None);
        listing.answered(index(6), now);
        listing.moved(index(7), now);
        assert_eq!(listing.due(), Some(now + GRACE));
        assert_eq!(listing.ask(now), index(7));
        listing.moved(index(8), now + GRACE);
        assert_eq!(listing.due(), None, "while it is asked for");
        listing.came();
        assert_eq!(listing.due(), Some(now + GRACE * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_which_a_service_answers_asks_later_and_once() {
        let (mut listing, now) = (Listing::default(), Instant::now());
        // The service may be the first to answer, or the second.
        listing.answered(index(7), now);
        listing.moved(index(7), now);
        assert_eq!(listing.due(), Some(now + LATER));
        let then = now + LATER / 2;
        listing.moved(index(8), then);
        assert_eq!(listing.due(), Some(then + GRACE));
        listing.answered(index(8), then);
        assert_eq!(listing.due(), Some(now + LATER));
        assert_eq!(listing.ask(then), index(8));
        listing.came();
        assert_eq!(listing.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn where_few_are_needed_the_list_is_asked_for_once_in_a_while() {
        let (mut listing, now) = (Listing::of_the_needed(), Instant::now());
        listing.want(now);
        assert_eq!(listing.due(), Some(now));
        listing.ask(now);
        listing.came();
        listing.moved(index(7), now);
        assert_eq!(listing.due(), Some(now + LATER));
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_not_remembered_index_by_index() {
        let (mut listing, now) = (Listing::default(), Instant::now());
        for n in 1..=1_000 {
            listing.answered(index(10_000 + n), now);
            listing.moved(index(n), now);
            assert!(listing.open.len() <= REMEMBERED && listing.answered.len() <= REMEMBERED);
        }
        assert_eq!(listing.due(), Some(now));
    }
}

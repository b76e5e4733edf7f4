//! One blocking query after another.

use std::future::Future;
use std::time::Duration;

use mainstem_registry::Backoff;
use tokio::time::Instant;

use crate::api::{Answer, ApiError, Ask};
use crate::index::{CatalogIndex, Step};

/// An answer that took less than this did not wait for anything.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What makes an answer new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Other bytes than before.
    Bytes,
    /// A higher index: something changed, be it seen in the answer or not.
    Index,
}

/// A blocking query and who is told of it.
pub(super) trait Feed: Send + Sync {
    /// What an answer says.
    type Value: Send;

    /// What makes an answer new.
    const NEWS: News;

    /// Asks; from an index above the start it waits for a change.
    fn ask(
        &self,
        index: CatalogIndex,
        ask: Ask,
    ) -> impl Future<Output = Result<Answer<Self::Value>, ApiError>> + Send;

    /// Hands on an answer or an error.
    fn say(&self, answer: Result<Answer<Self::Value>, ApiError>)
    -> impl Future<Output = ()> + Send;

    /// The index went ahead, and the answer says nothing new.
    fn jumped(&self) {}

    /// The leader itself is at a lower index than was seen before.
    fn went_back(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Asks for ever and hands on each answer that says something new, and each error.
/// `wait` is how long a query waits for a change.
///
/// - From an index, a query waits; an answer at the same index says nothing, nor
///   does one without [news](Feed::NEWS).
/// - An index that went back is not believed: the leader is asked, from the start.
///   Where it is back too, that is [said](Feed::went_back). An answer at the same
///   index before the wait is over means that the server's whole state was
///   replaced, so that an index of the old state would wait in vain: it is treated
///   alike.
/// - After an error too the leader is asked from the start, after a backoff:
///   whoever answers may not know the index. Its answer is always handed on.
/// - Answers that come at once and say nothing new are asked for at growing
///   distance, up to a second, so that no server can make us spin.
pub(super) async fn follow<F: Feed>(feed: F, from: CatalogIndex, wait: Duration) {
    let mut position = Position { index: from, ..Position::START };
    let mut backoff = Backoff::default();
    let mut idle = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let asked = Instant::now();
        match feed.ask(position.index, position.ask).await {
            Ok(answer) => {
                backoff.reset();
                if position.is_back(answer.index) {
                    feed.went_back().await;
                }
                let known = position.index;
                let new = position.advance(&answer, F::NEWS, asked.elapsed() < wait);
                if !new && known.waits() && position.index > known {
                    feed.jumped();
                }
                if new {
                    feed.say(Ok(answer)).await;
                    idle.reset();
                } else if asked.elapsed() < AT_ONCE {
                    idle.wait().await;
                } else {
                    idle.reset();
                }
            }
            Err(error) => {
                position.doubt();
                position.hash = None;
                feed.say(Err(error)).await;
                backoff.wait().await;
            }
        }
    }
}

/// Where a query stands.
#[derive(Debug)]
struct Position {
    index: CatalogIndex,
    ask: Ask,
    hash: Option<u64>,
    /// The index from which another one went back.
    doubted: CatalogIndex,
}

impl Position {
    const START: Self = Self {
        index: CatalogIndex::START,
        ask: Ask::Any,
        hash: None,
        doubted: CatalogIndex::START,
    };

    /// Whether the leader confirms that the index went back.
    fn is_back(&self, answered: CatalogIndex) -> bool {
        self.ask == Ask::Leader && answered < self.doubted
    }

    /// Takes an answer, which came before the wait was over or not; whether it says
    /// something new.
    fn advance<T>(&mut self, answer: &Answer<T>, news: News, early: bool) -> bool {
        match self.index.step(answer.index) {
            Step::Same if !early => false,
            Step::Same | Step::Back => {
                self.doubt();
                false
            }
            Step::Ahead => {
                let new = news == News::Index || self.hash != Some(answer.hash);
                *self = Self { index: answer.index, hash: Some(answer.hash), ..Self::START };
                new
            }
        }
    }

    /// Starts again, by the leader's word.
    fn doubt(&mut self) {
        self.doubted = self.doubted.max(self.index);
        self.index = CatalogIndex::START;
        self.ask = Ask::Leader;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    use parking_lot::Mutex;
    use pretty_assertions::assert_eq;

    const WAIT: Duration = Duration::from_secs(300);

    fn answer(index: u64, hash: u64) -> Result<Answer<u64>, ApiError> {
        Ok(Answer { index: CatalogIndex::new(index).unwrap(), hash, by_agent: false, value: hash })
    }

    fn failure() -> Result<Answer<u64>, ApiError> {
        Err(ApiError::NoLeader { path: "p".to_owned() })
    }

    /// Gives prepared answers, and notes what was asked and said.
    #[derive(Default)]
    struct Script {
        answers: Mutex<VecDeque<Result<Answer<u64>, ApiError>>>,
        asked: Mutex<Vec<(String, Ask)>>,
        said: Mutex<Vec<Option<u64>>>,
        backs: Mutex<usize>,
        done: tokio::sync::Notify,
    }

    impl Feed for &Script {
        type Value = u64;

        const NEWS: News = News::Bytes;

        async fn ask(&self, index: CatalogIndex, ask: Ask) -> Result<Answer<u64>, ApiError> {
            let next = self.answers.lock().pop_front();
            if let Some(answer) = next {
                self.asked.lock().push((index.to_string(), ask));
                if matches!(&answer, Ok(answer) if answer.index == index && !answer.by_agent) {
                    tokio::time::sleep(WAIT).await;
                }
                return answer;
            }
            self.done.notify_one();
            std::future::pending().await
        }

        async fn say(&self, answer: Result<Answer<u64>, ApiError>) {
            self.said.lock().push(answer.ok().map(|answer| answer.value));
        }

        async fn went_back(&self) {
            *self.backs.lock() += 1;
        }
    }

    /// Gives these answers; returns what was asked, and what was said.
    async fn run(
        answers: Vec<Result<Answer<u64>, ApiError>>,
    ) -> (Vec<(String, Ask)>, Vec<Option<u64>>, usize) {
        let script = Script { answers: Mutex::new(answers.into()), ..Script::default() };
        tokio::select! {
            () = follow(&script, CatalogIndex::START, WAIT) => unreachable!("it goes on for ever"),
            () = script.done.notified() => {}
        }
        (script.asked.into_inner(), script.said.into_inner(), script.backs.into_inner())
    }

    fn asked(indices: &[(&str, Ask)]) -> Vec<(String, Ask)> {
        indices.iter().map(|(index, ask)| ((*index).to_owned(), *ask)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_change_is_said_once() {
        let (queries, said, backs) =
            run(vec![answer(5, 1), answer(5, 1), answer(6, 1), answer(9, 2)]).await;
        assert_eq!((said, backs), (vec![Some(1), Some(2)], 0));
        let any = |index| (index, Ask::Any);
        assert_eq!(queries, asked(&[any("0"), any("5"), any("5"), any("6")]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_went_back_is_asked_again_of_the_leader() {
        let (queries, said, backs) =
            run(vec![answer(9, 1), answer(3, 2), answer(4, 3), answer(5, 4)]).await;
        assert_eq!((said, backs), (vec![Some(1), Some(3), Some(4)], 1));
        let expected = [("0", Ask::Any), ("9", Ask::Any), ("0", Ask::Leader), ("4", Ask::Any)];
        assert_eq!(queries, asked(&expected));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_at_the_same_index_before_its_time_is_asked_again_from_the_start() {
        let early = Ok(Answer { by_agent: true, ..answer(9, 1).unwrap() });
        let (queries, said, backs) = run(vec![answer(9, 1), early, answer(4, 2)]).await;
        assert_eq!((said, backs), (vec![Some(1), Some(2)], 1));
        assert_eq!(queries, asked(&[("0", Ask::Any), ("9", Ask::Any), ("0", Ask::Leader)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_lags_behind_the_leader_is_no_way_back() {
        let (_, said, backs) = run(vec![answer(9, 1), answer(3, 2), answer(9, 1)]).await;
        assert_eq!((said, backs), (vec![Some(1)], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_error_everything_is_asked_and_said_again() {
        let (queries, said, backs) = run(vec![answer(9, 1), failure(), answer(9, 1)]).await;
        assert_eq!((said, backs), (vec![Some(1), None, Some(1)], 0));
        assert_eq!(queries, asked(&[("0", Ask::Any), ("9", Ask::Any), ("0", Ask::Leader)]));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_without_news_do_not_make_it_spin() {
        let start = Instant::now();
        run((0..20).map(|i| answer(1 + i % 2, 1)).collect()).await;
        assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

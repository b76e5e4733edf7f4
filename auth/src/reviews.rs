//! Tokens of Kubernetes service accounts, judged by their cluster's API server.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use mainstem_model::ClusterId;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cache::Cache;
use crate::observe::{AuthObserver, Reviewed};
use crate::principal::Principal;
use crate::token::{Fingerprint, Unverified};

/// Tokens in review at a time, per cluster; more wait their turn.
const AT_A_TIME: usize = 32;
/// Answers remembered, per cluster.
const REMEMBERED: usize = 10_000;
/// How long a refusal is remembered at most: what it rests on, such as a service
/// account that is just being made, may change.
const REFUSAL: Duration = Duration::from_secs(5);

/// Asks an API server about a token.
pub trait TokenReviewer: Send + Sync + 'static {
    /// What the API server says of it, for these audiences.
    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Review, ReviewError>>;
}

/// The API server could not be asked, or gave no answer.
pub type ReviewError = Box<dyn Error + Send + Sync>;

/// What an API server says of a token: the status of a TokenReview.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// Whether it knows whose it is.
    pub authenticated: bool,
    /// Whose.
    pub username: String,
    /// The groups of that user.
    pub groups: Vec<String>,
    /// Those audiences asked for that it is meant for.
    pub audiences: Vec<String>,
    /// Why it is not believed.
    pub error: String,
}

/// How tokens are reviewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewSettings {
    /// A token must be meant for one of these. Istio's is `istio-ca`.
    pub audiences: Vec<String>,
    /// How long an answer is remembered, at most until the token ends.
    pub remember: Duration,
    /// How long an answer may take, waiting for a turn included.
    pub timeout: Duration,
}

impl Default for ReviewSettings {
    fn default() -> Self {
        Self {
            audiences: vec!["istio-ca".to_owned()],
            remember: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Reviews tokens at one cluster.
pub struct ClusterReviews {
    cluster: ClusterId,
    reviewer: Arc<dyn TokenReviewer>,
    settings: ReviewSettings,
    turns: Semaphore,
    remembered: Mutex<Cache<Fingerprint, Result<Account, String>>>,
}

/// A service account, still without a trust domain.
type Account = Arc<str>;

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenDenied {
    #[error("{0}")]
    Refused(String),
    /// The reason is for the log, not for the client.
    #[error("the API server of cluster {cluster} cannot review tokens now")]
    Unavailable { cluster: ClusterId, reason: String },
}

impl ClusterReviews {
    /// Reviews by way of `reviewer`, which asks the API server of `cluster`.
    pub fn new(
        cluster: ClusterId,
        reviewer: Arc<dyn TokenReviewer>,
        settings: ReviewSettings,
    ) -> Self {
        Self {
            cluster,
            reviewer,
            settings,
            turns: Semaphore::new(AT_A_TIME),
            remembered: Mutex::new(Cache::new(REMEMBERED)),
        }
    }

    /// Whose token it is.
    pub(crate) async fn principal(
        &self,
        token: &str,
        trust_domain: &str,
        observer: &dyn AuthObserver,
    ) -> Result<Principal, TokenDenied> {
        let account = self.account(token, observer).await?;
        let principal = Principal::from_username(&account, trust_domain);
        let principal = principal.expect("only names of service accounts are remembered");
        Ok(principal.only_in([self.cluster.clone()]))
    }

    async fn account(
        &self,
        token: &str,
        observer: &dyn AuthObserver,
    ) -> Result<Account, TokenDenied> {
        let key = Fingerprint::of(token);
        let started = Instant::now();
        if let Some(known) = self.remembered.lock().get(&key, started) {
            observer.reviewed(&self.cluster, Reviewed::Cached, Duration::ZERO);
            return known.map_err(TokenDenied::Refused);
        }
        let claims = Unverified::read(token);
        if claims.remaining(SystemTime::now()) == Some(Duration::ZERO) {
            return Err(TokenDenied::Refused("the token has expired".to_owned()));
        }
        let verdict = match timeout(self.settings.timeout, self.ask(token)).await {
            Ok(Ok(review)) => judge(&review, &self.settings.audiences),
            Ok(Err(error)) => return Err(self.failed(described(&*error), started, observer)),
            Err(_) => {
                let reason = format!("no answer within {:?}", self.settings.timeout);
                return Err(self.failed(reason, started, observer));
            }
        };
        let result = if verdict.is_ok() { Reviewed::Accepted } else { Reviewed::Refused };
        observer.reviewed(&self.cluster, result, started.elapsed());
        let longest = claims.remaining(SystemTime::now()).unwrap_or(Duration::MAX);
        let span = self.settings.remember.min(match &verdict {
            Ok(_) => longest,
            Err(_) => REFUSAL,
        });
        self.remembered.lock().put(key, verdict.clone(), Instant::now(), span);
        verdict.map_err(TokenDenied::Refused)
    }

    async fn ask(&self, token: &str) -> Result<Review, ReviewError> {
        let _turn = self.turns.acquire().await?;
        self.reviewer.review(token, &self.settings.audiences).await
    }

    fn failed(&self, reason: String, since: Instant, observer: &dyn AuthObserver) -> TokenDenied {
        observer.reviewed(&self.cluster, Reviewed::Failed, since.elapsed());
        TokenDenied::Unavailable { cluster: self.cluster.clone(), reason }
    }
}

fn described(error: &(dyn Error + 'static)) -> String {
    crate::described(error)
}

impl fmt::Debug for ClusterReviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterReviews")
            .field("cluster", &self.cluster)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The name of the service account that a review vouches for.
fn judge(review: &Review, audiences: &[String]) -> Result<Account, String> {
    if !review.authenticated {
        let why = if review.error.is_empty() { "it is not believed" } else { &review.error };
        return Err(format!("the API server refuses the token: {why}"));
    }
    // An API server that knows nothing of audiences returns none: then the token
    // is good for itself, which is not what was asked.
    if !review.audiences.iter().any(|audience| audiences.contains(audience)) {
        return Err(format!("the token is not meant for {}", audiences.join(" or ")));
    }
    let account = Principal::from_username(&review.username, "")
        .filter(|_| review.groups.iter().any(|group| group == "system:serviceaccounts"));
    match account {
        Some(_) => Ok(review.username.as_str().into()),
        None => Err(format!("{:?} is not a service account", review.username)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mainstem_test_support::TokenIssuer;
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::observe::NoObserver;

    fn good() -> Review {
        Review {
            authenticated: true,
            username: "system:serviceaccount:shop:web".to_owned(),
            groups: vec!["system:serviceaccounts".to_owned(), "system:authenticated".to_owned()],
            audiences: vec!["istio-ca".to_owned()],
            error: String::new(),
        }
    }

    #[rstest]
    #[case::good(good(), Ok("system:serviceaccount:shop:web"))]
    #[case::refused(
        Review { authenticated: false, error: "expired".to_owned(), ..good() },
        Err("the API server refuses the token: expired")
    )]
    #[case::other_audience(
        Review { audiences: vec!["api".to_owned()], ..good() },
        Err("the token is not meant for istio-ca")
    )]
    #[case::no_audience(
        Review { audiences: vec![], ..good() },
        Err("the token is not meant for istio-ca")
    )]
    #[case::a_person(
        Review { username: "alice".to_owned(), ..good() },
        Err("\"alice\" is not a service account")
    )]
    #[case::in_name_only(
        Review { groups: vec![], ..good() },
        Err("\"system:serviceaccount:shop:web\" is not a service account")
    )]
    fn a_review_is_believed_if_it_names_a_service_account_for_our_audience(
        #[case] review: Review,
        #[case] expected: Result<&str, &str>,
    ) {
        let found = judge(&review, &["istio-ca".to_owned()]);
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    /// Counts questions; gives an answer, none ever, or an error.
    struct Asked {
        questions: AtomicUsize,
        /// Questions under way, and the most that ever were.
        under_way: Mutex<(usize, usize)>,
        answer: Option<Result<Review, &'static str>>,
    }

    impl TokenReviewer for Asked {
        fn review<'a>(
            &'a self,
            _: &'a str,
            _: &'a [String],
        ) -> BoxFuture<'a, Result<Review, ReviewError>> {
            self.questions.fetch_add(1, Ordering::SeqCst);
            let under_way = UnderWay::new(self);
            Box::pin(async move {
                let _under_way = under_way;
                match self.answer.clone() {
                    Some(answer) => answer.map_err(ReviewError::from),
                    None => std::future::pending().await,
                }
            })
        }
    }

    struct UnderWay<'a>(&'a Asked);

    impl<'a> UnderWay<'a> {
        fn new(asked: &'a Asked) -> Self {
            let mut counts = asked.under_way.lock();
            counts.0 += 1;
            counts.1 = counts.0.max(counts.1);
            Self(asked)
        }
    }

    impl Drop for UnderWay<'_> {
        fn drop(&mut self) {
            self.0.under_way.lock().0 -= 1;
        }
    }

    fn reviews(answer: Option<Result<Review, &'static str>>) -> (Arc<Asked>, ClusterReviews) {
        let under_way = Mutex::default();
        let asked = Arc::new(Asked { questions: AtomicUsize::new(0), under_way, answer });
        let reviews = ClusterReviews::new("eu".into(), asked.clone(), ReviewSettings::default());
        (asked, reviews)
    }

    async fn ask(reviews: &ClusterReviews, token: &str) -> Result<String, TokenDenied> {
        let principal = reviews.principal(token, "mesh.test", &NoObserver).await;
        principal.map(|principal| principal.to_string())
    }

    #[tokio::test]
    async fn an_answer_is_remembered_for_a_moment_whatever_it_is() {
        let refused = Review { authenticated: false, error: "no".to_owned(), ..good() };
        for (answer, expected) in [
            (good(), Ok("spiffe://mesh.test/ns/shop/sa/web".to_owned())),
            (refused, Err(TokenDenied::Refused("the API server refuses the token: no".to_owned()))),
        ] {
            let (asked, reviews) = reviews(Some(Ok(answer)));
            for _ in 0..3 {
                assert_eq!(ask(&reviews, "opaque").await, expected);
            }
            assert_eq!(asked.questions.load(Ordering::SeqCst), 1);
            assert_eq!(ask(&reviews, "another").await, expected);
            assert_eq!(asked.questions.load(Ordering::SeqCst), 2);
        }
    }

    #[tokio::test]
    async fn an_api_server_that_fails_refutes_nothing_and_is_asked_again() {
        let (asked, reviews) = reviews(Some(Err("connection refused")));
        for _ in 0..2 {
            let reason = "connection refused".to_owned();
            let expected = TokenDenied::Unavailable { cluster: "eu".into(), reason };
            assert_eq!(ask(&reviews, "opaque").await, Err(expected));
        }
        assert_eq!(asked.questions.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_says_nothing_is_waited_for_so_long_and_asked_so_much() {
        let (asked, reviews) = reviews(None);
        let tokens: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let all = futures::future::join_all(tokens.iter().map(|token| ask(&reviews, token))).await;
        let reason = "no answer within 10s".to_owned();
        let expected = TokenDenied::Unavailable { cluster: "eu".into(), reason };
        assert!(all.iter().all(|found| *found == Err(expected.clone())), "{all:?}");
        assert_eq!(*asked.under_way.lock(), (0, AT_A_TIME));
    }

    #[tokio::test]
    async fn a_token_that_has_expired_by_its_own_words_is_not_asked_about() {
        let (asked, reviews) = reviews(Some(Ok(good())));
        let token = TokenIssuer::new("https://issuer").mint(&json!({"exp": 1}));
        let expected = TokenDenied::Refused("the token has expired".to_owned());
        assert_eq!(ask(&reviews, &token).await, Err(expected));
        assert_eq!(asked.questions.load(Ordering::SeqCst), 0);
    }
}

//! Asking the API server about tokens of service accounts.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Mutex;

use crate::api::{ConnectError, connect};
use crate::config::KubernetesConfig;

/// Has tokens reviewed by one cluster's API server, with the credentials of its
/// registry, which need the right to create `tokenreviews`
/// (`system:auth-delegator`).
pub struct TokenReviews {
    config: KubernetesConfig,
    /// Made at the first question.
    client: Mutex<Option<Client>>,
}

/// What the API server says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenVerdict {
    /// Whether it knows whose it is.
    pub authenticated: bool,
    /// Whose.
    pub username: String,
    /// The groups of that user.
    pub groups: Vec<String>,
    /// Those audiences asked for that it is meant for; none where the API server
    /// knows nothing of audiences.
    pub audiences: Vec<String>,
    /// Why it is not believed.
    pub error: String,
}

/// The API server did not say.
#[derive(Debug, thiserror::Error)]
pub enum TokenReviewError {
    /// It cannot be reached by the configuration.
    #[error("connecting to the API server of cluster {cluster}")]
    Connect {
        /// Whose API server.
        cluster: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It gave no answer, or refused to give one.
    #[error("having a token reviewed by the API server of cluster {cluster}")]
    Review {
        /// Whose API server.
        cluster: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl TokenReviews {
    /// Reviews by the API server of this registry; asks nothing yet.
    pub fn new(config: KubernetesConfig) -> Self {
        Self { config, client: Mutex::default() }
    }

    /// What the API server says of a token, for these audiences. Credentials that
    /// it refuses are read anew once.
    ///
    /// # Errors
    /// [`TokenReviewError`] where it does not say.
    pub async fn review(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<TokenVerdict, TokenReviewError> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: Some(audiences.to_vec()) },
            ..TokenReview::default()
        };
        let answer = match ask(self.client().await?, &review).await {
            Err(error) if is_unauthorized(&error) => {
                *self.client.lock().await = None;
                ask(self.client().await?, &review).await
            }
            answer => answer,
        };
        let cluster = || self.config.cluster.to_string();
        let reviewed = answer.map_err(|source| TokenReviewError::Review {
            cluster: cluster(),
            source: Box::new(source),
        })?;
        Ok(verdict(reviewed))
    }

    async fn client(&self) -> Result<Client, TokenReviewError> {
        let mut held = self.client.lock().await;
        if let Some(client) = &*held {
            return Ok(client.clone());
        }
        let failed = |source: ConnectError| TokenReviewError::Connect {
            cluster: self.config.cluster.to_string(),
            source: source.into(),
        };
        let client = connect::client(&self.config).await.map_err(failed)?;
        *held = Some(client.clone());
        Ok(client)
    }
}

/// Without the client.
impl std::fmt::Debug for TokenReviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenReviews")
            .field("cluster", &self.config.cluster)
            .finish_non_exhaustive()
    }
}

async fn ask(client: Client, review: &TokenReview) -> kube::Result<TokenReview> {
    Api::<TokenReview>::all(client).create(&PostParams::default(), review).await
}

fn is_unauthorized(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 401)
}

fn verdict(review: TokenReview) -> TokenVerdict {
    let status = review.status.unwrap_or_default();
    let user = status.user.unwrap_or_default();
    TokenVerdict {
        authenticated: status.authenticated.unwrap_or_default(),
        username: user.username.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        audiences: status.audiences.unwrap_or_default(),
        error: status.error.unwrap_or_default(),
    }
}

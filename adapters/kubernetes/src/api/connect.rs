//! Finding the API server and the credentials for it.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::config::KubernetesConfig;

/// How long it may take to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the API server may take to accept what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The API server or the credentials for it cannot be found out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("reading kubeconfig {}", .path.display())]
    File { path: PathBuf, source: KubeconfigError },

    #[error("reading the kubeconfig of $KUBECONFIG or ~/.kube/config")]
    Default { source: KubeconfigError },

    #[error("taking context {context:?} from the kubeconfig")]
    Context { context: String, source: KubeconfigError },

    #[error("reading this Pod's service account")]
    InCluster { source: InClusterError },

    #[error("making a client for {server}")]
    Client { server: String, source: kube::Error },
}

/// A client with timeouts of its own and no retries: when to ask again is
/// decided, and told, by whoever asks.
pub(crate) async fn client(config: &KubernetesConfig) -> Result<Client, ConnectError> {
    // One TLS provider for the whole program; another that came first stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut found = find(config).await?;
    found.connect_timeout = Some(CONNECT_TIMEOUT);
    found.write_timeout = Some(WRITE_TIMEOUT);
    found.default_retry = false;
    let server = found.cluster_url.to_string();
    Client::try_from(found).map_err(|source| ConnectError::Client { server, source })
}

async fn find(config: &KubernetesConfig) -> Result<Config, ConnectError> {
    let in_cluster = env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if config.kubeconfig.is_none() && config.context.is_none() && in_cluster {
        return Config::incluster().map_err(|source| ConnectError::InCluster { source });
    }
    let kubeconfig = match &config.kubeconfig {
        Some(path) => {
            let path = expand(path);
            Kubeconfig::read_from(&path).map_err(|source| ConnectError::File { path, source })?
        }
        None => Kubeconfig::read().map_err(|source| ConnectError::Default { source })?,
    };
    let context = config.context.clone().or_else(|| kubeconfig.current_context.clone());
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|source| ConnectError::Context { context: context.unwrap_or_default(), source })
}

/// The path with a leading `~/` replaced by the home directory.
fn expand(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_is_the_home_directory() {
        let home = env::home_dir().unwrap();
        assert_eq!(expand(Path::new("~/.kube/config")), home.join(".kube/config"));
        assert_eq!(expand(Path::new("/etc/~/config")), Path::new("/etc/~/config"));
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let config = KubernetesConfig {
            kubeconfig: Some("/nowhere/config".into()),
            ..KubernetesConfig::new("eu")
        };
        let error = client(&config).await.err().unwrap();
        assert_eq!(error.to_string(), "reading kubeconfig /nowhere/config");
    }
}

//! Who of several replicas does what only one should: whoever holds a Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::PostParams;

use crate::api::connect;
use crate::config::KubernetesConfig;

/// How long a Lease holds without being renewed.
pub const HOLDS: Duration = Duration::from_secs(15);

/// How often its holder renews it.
pub const RENEWED: Duration = Duration::from_secs(5);

/// The Lease could be neither read nor written.
#[derive(Debug, thiserror::Error)]
#[error("taking the Lease {namespace}/{name}")]
pub struct LeaseError {
    namespace: String,
    name: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// A Lease that replicas compete for.
pub struct Leasehold {
    config: KubernetesConfig,
    namespace: String,
    name: String,
    /// Who competes.
    holder: String,
}

impl Leasehold {
    /// The Lease `namespace/name` for `holder`, whose name nobody else has.
    pub fn new(config: KubernetesConfig, namespace: &str, name: &str, holder: &str) -> Self {
        let [namespace, name, holder] = [namespace, name, holder].map(str::to_owned);
        Self { config, namespace, name, holder }
    }

    /// Takes or renews the Lease; whether it is held for [`HOLDS`] from now.
    ///
    /// # Errors
    /// When that is not known.
    pub async fn hold(&self) -> Result<bool, LeaseError> {
        let client = connect::client(&self.config).await.map_err(|error| self.failed(error))?;
        let api: Api<Lease> = Api::namespaced(client, &self.namespace);
        let found = api.get_opt(&self.name).await.map_err(|error| self.failed(error))?;
        let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let Some(claim) = claim(spec, &self.holder, Timestamp::now()) else { return Ok(false) };
        let metadata = found.map_or_else(
            || ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            |lease| lease.metadata,
        );
        let exists = metadata.resource_version.is_some();
        let lease = Lease { metadata, spec: Some(claim) };
        let post = PostParams::default();
        let written = match exists {
            true => api.replace(&self.name, &post, &lease).await,
            false => api.create(&post, &lease).await,
        };
        match written {
            Ok(_) => Ok(true),
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, source: impl std::error::Error + Send + Sync + 'static) -> LeaseError {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        LeaseError { namespace, name, source: source.into() }
    }
}

/// The Lease as `holder` writes it; `None` while it is somebody else's.
fn claim(found: Option<&LeaseSpec>, holder: &str, now: Timestamp) -> Option<LeaseSpec> {
    let found = found.cloned().unwrap_or_default();
    let own = found.holder_identity.as_deref() == Some(holder);
    let span = SignedDuration::from_secs(found.lease_duration_seconds.unwrap_or_default().into());
    let held = found.renew_time.as_ref().is_some_and(|MicroTime(renewed)| now < *renewed + span)
        && found.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty());
    if held && !own {
        return None;
    }
    let transitions = found.lease_transitions.unwrap_or_default();
    let acquired = found.acquire_time.clone().filter(|_| own).unwrap_or(MicroTime(now));
    Some(LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: i32::try_from(HOLDS.as_secs()).ok(),
        renew_time: Some(MicroTime(now)),
        acquire_time: Some(acquired),
        lease_transitions: Some(if own { transitions } else { transitions + 1 }),
        ..found
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lease_is_its_holders_until_it_is_not_renewed() {
        let first = claim(None, "a", at(100)).unwrap();
        assert_eq!(claim(Some(&first), "b", at(114)), None);
        let renewed = claim(Some(&first), "a", at(110)).unwrap();
        assert_eq!(renewed, LeaseSpec { renew_time: Some(MicroTime(at(110))), ..first.clone() });
        assert_eq!(claim(Some(&renewed), "b", at(124)), None);
        let second = claim(Some(&renewed), "b", at(125)).unwrap();
        let expected = LeaseSpec {
            holder_identity: Some("b".to_owned()),
            acquire_time: Some(MicroTime(at(125))),
            renew_time: Some(MicroTime(at(125))),
            lease_transitions: Some(2),
            ..first
        };
        assert_eq!(second, expected);
    }

    #[test]
    fn a_lease_that_was_given_up_is_free() {
        let held = claim(None, "a", at(100)).unwrap();
        let free = LeaseSpec { holder_identity: Some(String::new()), ..held };
        assert!(claim(Some(&free), "b", at(101)).is_some());
    }
}

//! What another Mainstem says besides Istio's specification: where things come from,
//! and which endpoints are degraded. Pure.
//!
//! What comes back to the control plane that exported it is left out, or it would
//! never go: each of two that import from each other would keep it for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{
    ClusterId, Endpoint, Health, Labels, Origins, RegistryId, Service, Sourced, Via,
};
use mainstem_proto::istio::{DEGRADED, HEALTH, Metadata, ORIGIN, ORIGINS};
use mainstem_registry::serviceentry::Declared;

/// The clusters that nothing is taken from: this control plane's own, and those that
/// the configuration excludes.
#[derive(Clone, Debug, Default)]
pub struct Excluded(BTreeSet<String>);

impl Excluded {
    /// These clusters.
    pub fn new<'a>(clusters: impl IntoIterator<Item = &'a ClusterId>) -> Self {
        let named = clusters.into_iter().filter(|cluster| !cluster.as_str().is_empty());
        Self(named.map(ToString::to_string).collect())
    }

    fn has(&self, via: &Via) -> Option<&str> {
        via.clusters().find_map(|cluster| self.0.get(cluster)).map(String::as_str)
    }
}

/// The origins that an entry lists, by number; none in an entry of another source.
pub(crate) struct Listed {
    origins: BTreeMap<String, Via>,
    own: String,
}

/// Nothing of an entry is left: all of it comes from an excluded cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Returned(pub String);

impl Listed {
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        let list = metadata.annotations.get(ORIGINS)?;
        let texts: Vec<String> = serde_json::from_str(list).ok()?;
        let origins = texts.iter().enumerate();
        let origins =
            origins.filter_map(|(number, text)| Some((number.to_string(), Via::parse(text)?)));
        let own = metadata.annotations.get(ORIGIN).cloned().unwrap_or_default();
        Some(Self { origins: origins.collect(), own })
    }

    /// The origins that are listed for an object as a whole, if not all are excluded.
    pub(crate) fn object(&self, of: &Origins, excluded: &Excluded) -> Result<Origins, Returned> {
        let origins = self.origins(&self.own, of, excluded);
        origins.map_err(|cluster| Returned(cluster.to_owned()))
    }

    /// The services with the origins that are listed for them and their endpoints,
    /// without what is excluded.
    pub(crate) fn apply(
        &self,
        declared: Vec<Declared>,
        excluded: &Excluded,
    ) -> Result<Vec<Declared>, Returned> {
        let all = declared.into_iter().map(|one| self.one(one, excluded));
        all.collect()
    }

    fn one(&self, declared: Declared, excluded: &Excluded) -> Result<Declared, Returned> {
        let Declared { service, endpoints } = declared;
        let own = self.origins(&self.own, &service.origins, excluded);
        let endpoints: Vec<Arc<Endpoint>> =
            endpoints.into_iter().filter_map(|one| self.endpoint(&one, excluded)).collect();
        let origins = match own {
            Ok(origins) => origins,
            // The definition is excluded, and yet others add to the service.
            Err(_) if !endpoints.is_empty() => service.origins.clone(),
            Err(cluster) => return Err(Returned(cluster.to_owned())),
        };
        let service = Arc::new(Service { origins, ..Service::clone(&service) });
        Ok(Declared { service, endpoints })
    }

    fn endpoint(&self, endpoint: &Arc<Endpoint>, excluded: &Excluded) -> Option<Arc<Endpoint>> {
        let numbers = endpoint.labels.get(ORIGIN).unwrap_or_default();
        let origins = self.origins(numbers, &endpoint.origins, excluded).ok()?;
        let degraded = endpoint.labels.get(HEALTH) == Some(DEGRADED);
        let labels = endpoint.labels.iter().filter(|(key, _)| *key != ORIGIN && *key != HEALTH);
        Some(Arc::new(Endpoint {
            health: if degraded { Health::Degraded } else { endpoint.health },
            labels: labels.collect::<Labels>(),
            origins,
            ..Endpoint::clone(endpoint)
        }))
    }

    /// The origins of these numbers that are not excluded, each as this registry's
    /// object with its way; `fallback` where none is listed.
    ///
    /// # Errors
    /// An excluded cluster, when there is no other.
    fn origins<'a>(
        &self,
        numbers: &str,
        fallback: &Origins,
        excluded: &'a Excluded,
    ) -> Result<Origins, &'a str> {
        let Some(object) = fallback.first() else { return Ok(fallback.clone()) };
        let listed: Vec<&Via> =
            numbers.split('.').filter_map(|number| self.origins.get(number)).collect();
        let with = |via: &Via| {
            let mut sourced: Sourced = object.clone();
            sourced.origin.via = Some(via.clone());
            sourced
        };
        let taken: Vec<Sourced> =
            listed.iter().filter(|via| excluded.has(via).is_none()).map(|via| with(via)).collect();
        match listed.iter().find_map(|via| excluded.has(via)) {
            Some(cluster) if taken.is_empty() => Err(cluster),
            _ if taken.is_empty() => Ok(fallback.clone()),
            _ => Ok(Origins::from(taken)),
        }
    }
}

/// Why an object is not taken.
pub(crate) fn reason(registry: &RegistryId, Returned(cluster): &Returned) -> String {
    format!(
        "it comes from cluster {cluster}, of which {registry} takes nothing: that is this control \
         plane's own, or stands under `exclude`"
    )
}

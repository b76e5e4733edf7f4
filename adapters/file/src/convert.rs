//! Objects of files to values. Pure: no file, clock or log.

pub(crate) use mainstem_registry::own::{Around, service, service_key, workload};

use mainstem_model::{Locality, RegistryId};
use mainstem_registry::serviceentry::Surroundings;

use crate::FileConfig;

/// What a registry's configuration says of every object.
pub(crate) fn around(config: &FileConfig, registry: &RegistryId) -> Around {
    Around {
        entries: Surroundings {
            registry: registry.clone(),
            cluster: config.cluster.clone(),
            network: config.network.clone(),
            locality: Locality::parse(&config.locality),
            trust_domain: config.trust_domain.as_str().into(),
        },
        namespace: config.namespace.clone(),
    }
}

#[cfg(test)]
mod tests;

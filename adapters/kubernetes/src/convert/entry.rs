//! ServiceEntries and WorkloadEntries, by the conversion that all registries share.

use std::sync::Arc;

use mainstem_model::{Labels, Locality, NetworkId, Origins, Workload};
use mainstem_registry::serviceentry::{
    Declared, Entry as Around, ServiceEntrySpec, Surroundings, WorkloadEntrySpec, convert,
};

use super::{Settings, augmented};
use crate::api::Kind;
use crate::names::ObjectName;
use crate::objects::Entry;

/// The services that a ServiceEntry declares.
pub(crate) fn service_entry(
    settings: &Settings,
    network: &NetworkId,
    name: &ObjectName,
    revision: &str,
    entry: &Entry<ServiceEntrySpec>,
) -> Result<Vec<Declared>, String> {
    let origins = settings.origins(Kind::ServiceEntry.name(), name, revision);
    let around = around(name, &entry.labels, &entry.annotations, origins);
    let mut all = convert::service_entry(&surroundings(settings, network), &around, &entry.spec)
        .map_err(|problems| problems.to_string())?;
    for endpoint in all.iter_mut().flat_map(|declared| &mut declared.endpoints) {
        let endpoint = Arc::make_mut(endpoint);
        endpoint.labels = augmented(
            &endpoint.labels,
            &settings.cluster,
            &endpoint.place.network,
            &endpoint.place.locality,
            None,
        );
    }
    Ok(all)
}

/// The workload that a WorkloadEntry declares.
pub(crate) fn workload_entry(
    settings: &Settings,
    network: &NetworkId,
    name: &ObjectName,
    revision: &str,
    entry: &Entry<WorkloadEntrySpec>,
) -> Result<Workload, String> {
    let origins = settings.origins(Kind::WorkloadEntry.name(), name, revision);
    let around = around(name, &entry.labels, &entry.annotations, origins);
    let mut workload =
        convert::workload_entry(&surroundings(settings, network), &around, &entry.spec)
            .map_err(|problems| problems.to_string())?;
    workload.labels =
        augmented(&workload.labels, &settings.cluster, &workload.network, &workload.locality, None);
    Ok(workload)
}

fn around(name: &ObjectName, labels: &Labels, annotations: &Labels, origins: Origins) -> Around {
    Around {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        labels: labels.clone(),
        annotations: annotations.clone(),
        origins,
    }
}

fn surroundings(settings: &Settings, network: &NetworkId) -> Surroundings {
    Surroundings {
        registry: settings.registry.clone(),
        cluster: settings.cluster.clone(),
        network: network.clone(),
        locality: Locality::default(),
        trust_domain: settings.trust_domain.as_str().into(),
    }
}

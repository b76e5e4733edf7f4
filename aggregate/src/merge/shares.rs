//! How registries share a service: tiers and weights by its policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstem_model::{Endpoint, Health, RegistryId};

use super::endpoints::{Fitted, Portion};
use crate::policy::{Isolation, Sharing};

/// What weights of one port sum to where exact ones do not fit 32 bits.
const WHOLE: u128 = 1 << 31;

/// The portions that serve, in their order, with the tiers and weights that the
/// policy gives them. The tier's meaning is relative: 0 is used first.
pub(super) fn apply<'a>(sharing: &Sharing, portions: Vec<Portion<'a>>) -> Vec<Portion<'a>> {
    match sharing {
        Sharing::Union | Sharing::Isolate(Isolation::OwnCluster) => portions,
        Sharing::Prefer(_) => preferred(portions),
        Sharing::Failover(tiers) => {
            let last = tiers.values().max().map_or(0, |highest| highest.saturating_add(1));
            let tier = |registry: &RegistryId| tiers.get(registry).copied().unwrap_or(last);
            portions
                .into_iter()
                .map(|p| Portion { endpoints: on_tier(&p, tier(p.registry)), ..p })
                .collect()
        }
        Sharing::Weighted(shares) => weighted(shares, portions),
        Sharing::Isolate(Isolation::Registries(only)) => {
            portions.into_iter().filter(|portion| only.contains(portion.registry)).collect()
        }
    }
}

/// The first portion that takes traffic, else the first with any endpoint.
/// Portions stand in the order of preference.
fn preferred(mut portions: Vec<Portion<'_>>) -> Vec<Portion<'_>> {
    let takes_traffic =
        |e: &Arc<Endpoint>| !e.held && matches!(e.health, Health::Healthy | Health::Degraded);
    let serving = |p: &Portion<'_>| p.endpoints.endpoints().iter().any(takes_traffic);
    let some = |p: &Portion<'_>| !p.endpoints.endpoints().is_empty();
    let found = portions.iter().position(serving).or_else(|| portions.iter().position(some));
    match found {
        Some(at) => vec![portions.swap_remove(at)],
        None => portions,
    }
}

/// The portions with their weights brought to their shares of the whole: each
/// registry's traffic within a priority goes down in proportion. A share of 0 is
/// not a weight: those endpoints stand in the last tier already.
pub(super) fn drained(portions: Vec<Portion<'_>>) -> Vec<Portion<'_>> {
    let share = |portion: &Portion<'_>| match portion.share {
        0 | 100.. => 100,
        share => u64::from(share),
    };
    let common = portions.iter().fold(0, |common, one| gcd(common, u128::from(share(one))));
    let factor = |portion: &Portion<'_>| u128::from(share(portion)) / common.max(1);
    if portions.iter().all(|portion| factor(portion) == 1) {
        return portions;
    }
    let weights = portions.iter().flat_map(|portion| {
        let factor = factor(portion);
        portion.endpoints.endpoints().iter().map(move |e| u128::from(e.weight) * factor)
    });
    let most = weights.max().unwrap_or_default();
    let divisor = most.div_ceil(u128::from(u32::MAX)).max(1);
    let each = portions.into_iter().map(|portion| {
        let factor = factor(&portion);
        let weight = |own: u32| (u128::from(own) * factor / divisor).max(1);
        let endpoints = changed(&portion.endpoints, |endpoint| {
            let weight = u32::try_from(weight(endpoint.weight)).unwrap_or(u32::MAX);
            (endpoint.tier, weight)
        });
        Portion { endpoints, ..portion }
    });
    each.collect()
}

fn on_tier<'a>(portion: &Portion<'a>, tier: u8) -> Fitted<'a> {
    if let (0, Fitted::AsItIs(set)) = (tier, &portion.endpoints) {
        return Fitted::AsItIs(set);
    }
    changed(&portion.endpoints, |endpoint| (tier, endpoint.weight))
}

fn changed(endpoints: &Fitted<'_>, change: impl Fn(&Endpoint) -> (u8, u32)) -> Fitted<'static> {
    let all = endpoints.endpoints().iter().map(|endpoint| {
        let (tier, weight) = change(endpoint);
        if (tier, weight) == (endpoint.tier, endpoint.weight) {
            return endpoint.clone();
        }
        Arc::new(Endpoint { tier, weight, ..Endpoint::clone(endpoint) })
    });
    Fitted::Changed(all.collect())
}

/// Each port's healthy endpoints weighted so that each registry has its share of
/// the port, divided among its endpoints by their own weights. Registries without
/// a share stand one tier behind, with their own weights.
fn weighted<'a>(shares: &BTreeMap<RegistryId, u8>, portions: Vec<Portion<'a>>) -> Vec<Portion<'a>> {
    let share = |registry: &RegistryId| shares.get(registry).copied().unwrap_or_default();
    let ports: BTreeSet<u16> =
        portions.iter().flat_map(|p| p.endpoints.endpoints()).map(|e| e.port).collect();
    let scales: BTreeMap<u16, Scale> =
        ports.into_iter().map(|port| (port, Scale::of(port, &portions, &share))).collect();
    portions
        .into_iter()
        .map(|portion| {
            let share = share(portion.registry);
            let endpoints = changed(&portion.endpoints, |endpoint| match share {
                0 => (1, endpoint.weight),
                _ => (0, scales[&endpoint.port].weight(portion.registry, endpoint.weight)),
            });
            Portion { endpoints, ..portion }
        })
        .collect()
}

/// What an endpoint's own weight is multiplied by, for one port.
struct Scale {
    /// By registry, a numerator over a common denominator.
    factors: BTreeMap<RegistryId, (u128, u128)>,
}

impl Scale {
    /// Registry r with the share s and healthy endpoints of weight W in all gets
    /// the factor s/W, brought to whole numbers by the least common multiple of
    /// all W, and reduced.
    fn of(port: u16, portions: &[Portion<'_>], share: &impl Fn(&RegistryId) -> u8) -> Self {
        let mut sums: BTreeMap<&RegistryId, (u128, u128)> = BTreeMap::new();
        for portion in portions.iter().filter(|portion| share(portion.registry) > 0) {
            let of_port = portion.endpoints.endpoints().iter().filter(|e| e.port == port);
            for endpoint in of_port {
                let (healthy, all) = sums.entry(portion.registry).or_default();
                *healthy += u128::from(endpoint.weight) * u128::from(counts(endpoint));
                *all += u128::from(endpoint.weight);
            }
        }
        sums.retain(|_, (healthy, _)| *healthy > 0);
        let exact = exact(&sums, share);
        let factor = |registry: &RegistryId, healthy: u128| match &exact {
            Some(factors) => (factors[registry], 1),
            None => (u128::from(share(registry)) * WHOLE, 100 * healthy),
        };
        let factors = sums
            .iter()
            .map(|(registry, (healthy, _))| ((*registry).clone(), factor(registry, *healthy)));
        Self { factors: factors.collect() }
    }

    /// A registry without a healthy endpoint on the port has no factor, and its
    /// endpoints their own weights.
    fn weight(&self, registry: &RegistryId, own: u32) -> u32 {
        let (over, under) = self.factors.get(registry).copied().unwrap_or((1, 1));
        let weight = (u128::from(own) * over / under).clamp(1, u128::from(u32::MAX));
        u32::try_from(weight).expect("clamped to 32 bits")
    }
}

/// Whether an endpoint has a part in its registry's share.
fn counts(endpoint: &Endpoint) -> bool {
    endpoint.health == Health::Healthy && !endpoint.held
}

/// Whole factors; `None` where they would take the port's weights beyond 32 bits.
fn exact(
    sums: &BTreeMap<&RegistryId, (u128, u128)>,
    share: &impl Fn(&RegistryId) -> u8,
) -> Option<BTreeMap<RegistryId, u128>> {
    let mut multiple: u128 = 1;
    for (healthy, _) in sums.values() {
        multiple = multiple.checked_mul(healthy / gcd(multiple, *healthy))?;
    }
    let mut factors = BTreeMap::new();
    for (registry, (healthy, _)) in sums {
        let factor = u128::from(share(registry)).checked_mul(multiple / healthy)?;
        factors.insert((*registry).clone(), factor);
    }
    let common = factors.values().copied().fold(0, gcd).max(1);
    factors.values_mut().for_each(|factor| *factor /= common);
    let mut total: u128 = 0;
    for (registry, (_, all)) in sums {
        total = total.checked_add(factors[*registry].checked_mul(*all)?)?;
    }
    (total <= u128::from(u32::MAX)).then_some(factors)
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

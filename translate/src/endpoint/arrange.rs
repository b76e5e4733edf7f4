//! Priorities, localities and weights.

use std::collections::BTreeMap;

use mainstem_model::{Health, Locality, NetworkGatewayKey, Service};
use rustc_hash::FxHashSet;

use super::network::Member;
use super::view::{Audience, EndpointView};

/// Which members are used first. Derived order: lexicographic, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// What the withdrawal guard keeps comes last.
    held: bool,
    /// For gRPC, which knows no degraded endpoints: they come after healthy ones.
    degraded: bool,
    /// The merge policy's tier.
    tier: u8,
    /// How far away it is, where that matters.
    distance: u8,
}

/// The members by rank and locality.
type Places<'a> = BTreeMap<(Rank, &'a Locality), Vec<Member<'a>>>;

/// Members of one priority and locality.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    /// From 0 on, without gaps.
    pub priority: u32,
    pub locality: &'a Locality,
    /// The weight of each member, where a group has only members of one weight.
    pub share: Option<u32>,
    /// The sum of the members' weights.
    pub weight: u32,
    pub members: Vec<(Member<'a>, u32)>,
}

impl Group<'_> {
    /// Leaves only the first member.
    pub(crate) fn keep_first(&mut self) {
        self.members.truncate(1);
        self.weight = self.members.iter().map(|(_, weight)| weight).sum();
    }
}

/// Orders members by rank and locality, ranks becoming priorities. Within a
/// group endpoints keep their order, and gateways follow in theirs. An address
/// occurs once, where it ranks first.
pub(crate) fn groups<'a>(
    service: &Service,
    members: Vec<Member<'a>>,
    view: &EndpointView,
) -> Vec<Group<'a>> {
    let grpc = view.audience == Audience::Grpc;
    let mut places: Places<'_> = BTreeMap::new();
    let several_networks = members.windows(2).any(|pair| {
        pair[0].endpoint.place.network != pair[1].endpoint.place.network
            || pair[1].gateway.is_some()
    });
    for member in members {
        let endpoint = member.endpoint;
        let distance = view.distance(service, endpoint);
        let degraded = grpc && endpoint.health == Health::Degraded;
        let rank = Rank { held: endpoint.held, degraded, tier: endpoint.tier, distance };
        places.entry((rank, &endpoint.place.locality)).or_default().push(member);
    }
    for members in places.values_mut() {
        merge_gateways(members);
    }
    // Within one network a service port has an address once.
    if several_networks {
        drop_repeated(&mut places);
    }
    let groups = prioritise(places);
    if grpc { groups.into_iter().flat_map(by_share).collect() } else { groups }
}

/// gRPC balances over a locality's endpoints without looking at their weights,
/// but by the weights of localities: endpoints of each weight get a group, in
/// ascending order.
fn by_share(group: Group<'_>) -> Vec<Group<'_>> {
    let mut shares: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (member, weight) in group.members {
        shares.entry(weight).or_default().push((member, weight));
    }
    let (priority, locality) = (group.priority, group.locality);
    let groups = shares.into_iter().map(|(share, members)| {
        let weight = members.iter().fold(0u32, |sum, (_, weight)| sum.saturating_add(*weight));
        Group { priority, locality, share: Some(share), weight, members }
    });
    groups.collect()
}

/// Makes one member of all that go through the same gateway with the same health.
fn merge_gateways(members: &mut Vec<Member<'_>>) {
    if members.iter().all(|member| member.gateway.is_none()) {
        return;
    }
    let mut merged: BTreeMap<(&NetworkGatewayKey, Health), Member<'_>> = BTreeMap::new();
    members.retain(|member| {
        let Some(gateway) = member.gateway else { return true };
        merged
            .entry((gateway, member.endpoint.health))
            .and_modify(|one| one.weight = one.weight.saturating_add(member.weight))
            .or_insert_with(|| member.clone());
        false
    });
    members.extend(merged.into_values());
}

fn drop_repeated(places: &mut Places<'_>) {
    let mut seen = FxHashSet::default();
    for members in places.values_mut() {
        members.retain(|member| {
            let (address, port) = member.address();
            seen.insert((address.clone(), port))
        });
    }
    places.retain(|_, members| !members.is_empty());
}

fn prioritise(places: Places<'_>) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::with_capacity(places.len());
    let mut before: Option<(Rank, u32)> = None;
    let divisors = divisors(&places);
    for ((rank, locality), members) in places {
        let priority = match before {
            None => 0,
            Some((last, priority)) => priority + u32::from(last != rank),
        };
        before = Some((rank, priority));
        let divisor = divisors[&rank];
        let weighted = members.into_iter().map(|member| {
            let weight = (member.weight / divisor).clamp(1, u64::from(u32::MAX));
            (member, u32::try_from(weight).expect("clamped to 32 bits"))
        });
        let members: Vec<_> = weighted.collect();
        let weight = members.iter().fold(0u32, |sum, (_, weight)| sum.saturating_add(*weight));
        groups.push(Group { priority, locality, share: None, weight, members });
    }
    groups
}

/// What weights are divided by, per rank: Envoy refuses a priority whose
/// weights sum to more than 32 bits.
fn divisors(places: &Places<'_>) -> BTreeMap<Rank, u64> {
    let mut sums: BTreeMap<Rank, (u128, u64)> = BTreeMap::new();
    for ((rank, _), members) in places {
        let (sum, count) = sums.entry(*rank).or_default();
        *sum += members.iter().map(|member| u128::from(member.weight)).sum::<u128>();
        *count += members.len() as u64;
    }
    let divisor = |(sum, count): (u128, u64)| {
        // Dividing may round up to 1 once per member.
        let room = u128::from(u64::from(u32::MAX).saturating_sub(count).max(1));
        let divisor = if sum <= u128::from(u32::MAX) { 1 } else { sum.div_ceil(room) };
        u64::try_from(divisor).unwrap_or(u64::MAX)
    };
    sums.into_iter().map(|(rank, sum)| (rank, divisor(sum))).collect()
}

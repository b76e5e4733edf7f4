//! What operators decide: releases, freezes, tracks of proxies, drains.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use mainstem_model::{EndpointSet, Proxy, Service, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::state::Moment;
use crate::stored::Encoder;

/// The guard was told to let go, and keeps off until its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// When.
    pub at: Moment,
    /// How long nothing in its scope is held.
    pub until: Moment,
    /// Why, in the operator's words.
    pub reason: String,
}

/// A registry's or service's membership stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Freeze {
    /// Since when.
    pub since: Moment,
    /// Until when.
    pub until: Moment,
    /// Why, in the operator's words.
    pub reason: String,
}

impl Freeze {
    /// Whether it is the one that something was kept for at this moment.
    pub(super) fn covers(&self, at: Moment) -> bool {
        self.since <= at && at < self.until
    }
}

/// A frozen service as a registry had it before the first change of its members
/// or its definition.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// When that change came.
    pub since: Moment,
    /// The definition; `None` where there was none.
    pub definition: Option<Arc<Service>>,
    /// The members, as they were.
    pub endpoints: Arc<EndpointSet>,
}

impl Frozen {
    /// Of two that replicas saw: the earlier.
    pub(super) fn first(self: Arc<Self>, other: Arc<Self>) -> Arc<Self> {
        let order = |one: &Self| (one.since, one.values());
        let earlier = self.since < other.since
            || (self.since == other.since && order(&self) <= order(&other));
        if earlier { self } else { other }
    }

    /// Definition and members, as last good states have them.
    pub(super) fn values(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        if let Some(definition) = &self.definition {
            encoder.value(&Value::Service(definition.clone()));
        }
        encoder.value(&Value::Endpoints(self.endpoints.clone()));
        encoder.finish()
    }
}

/// A group of proxies keeps the snapshot of the moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Track {
    /// Since when.
    pub since: Moment,
    /// Until when.
    pub until: Moment,
    /// Why, in the operator's words.
    pub reason: String,
}

/// A group of proxies: those that fit everything it says. Written
/// `namespace=shop,type=sidecar`; `all` says nothing.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ProxyGroup {
    cluster: Option<Arc<str>>,
    kind: Option<Arc<str>>,
    name: Option<Arc<str>>,
    namespace: Option<Arc<str>>,
}

/// A text that names no group of proxies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no group of proxies: write `all`, or what they have in common, as in \
     `namespace=shop,type=sidecar`; known are cluster, name (which may end in *), namespace and \
     type (sidecar, router, grpc)"
)]
pub struct InvalidGroup {
    text: String,
}

impl ProxyGroup {
    const WORDS: [&str; 4] = ["cluster", "type", "name", "namespace"];

    /// Whether the proxy belongs to it.
    pub fn contains(&self, proxy: &Proxy) -> bool {
        let is = |wanted: &Option<Arc<str>>, own: &str| wanted.as_deref().is_none_or(|w| w == own);
        let kind = if proxy.is_grpc() { "grpc".to_owned() } else { proxy.kind.to_string() };
        let name = |wanted: &str| match wanted.strip_suffix('*') {
            Some(beginning) => proxy.name.starts_with(beginning),
            None => proxy.name == *wanted,
        };
        is(&self.cluster, proxy.cluster.as_str())
            && is(&self.kind, &kind)
            && is(&self.namespace, proxy.namespace.as_str())
            && self.name.as_deref().is_none_or(name)
    }

    fn parts(&self) -> [(&'static str, Option<&str>); 4] {
        let values = [&self.cluster, &self.kind, &self.name, &self.namespace];
        let [a, b, c, d] = values.map(Option::as_deref);
        let [cluster, kind, name, namespace] = Self::WORDS;
        [(cluster, a), (kind, b), (name, c), (namespace, d)]
    }
}

impl FromStr for ProxyGroup {
    type Err = InvalidGroup;

    fn from_str(text: &str) -> Result<Self, InvalidGroup> {
        let invalid = || InvalidGroup { text: text.to_owned() };
        let mut group = Self::default();
        if text == "all" {
            return Ok(group);
        }
        for part in text.split(',') {
            let (word, value) = part.split_once('=').ok_or_else(invalid)?;
            let place = match word.trim() {
                "cluster" => &mut group.cluster,
                "type" => &mut group.kind,
                "name" => &mut group.name,
                "namespace" => &mut group.namespace,
                _ => return Err(invalid()),
            };
            let value = value.trim();
            let plain = !value.is_empty() && !value.contains(['/', '=', ' ']);
            if !plain || place.replace(value.into()).is_some() {
                return Err(invalid());
            }
        }
        Ok(group)
    }
}

impl fmt::Display for ProxyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.parts().into_iter().filter_map(|(word, value)| Some((word, value?)));
        let said: Vec<_> = said.map(|(word, value)| format!("{word}={value}")).collect();
        f.write_str(if said.is_empty() { "all" } else { "" })?;
        f.write_str(&said.join(","))
    }
}

impl TryFrom<String> for ProxyGroup {
    type Error = InvalidGroup;

    fn try_from(text: String) -> Result<Self, InvalidGroup> {
        text.parse()
    }
}

impl From<ProxyGroup> for String {
    fn from(group: ProxyGroup) -> Self {
        group.to_string()
    }
}

/// A registry's share of traffic goes down, or up again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// Since when.
    pub since: Moment,
    /// When it reaches its percentage.
    pub until: Moment,
    /// What it starts from, in percent.
    pub from: u8,
    /// Where it goes, in percent.
    pub to: u8,
    /// Why, in the operator's words.
    pub reason: String,
}

/// The least time between two steps of a drain, in milliseconds.
const STEP: u64 = 1_000;

impl Drain {
    /// How much of its weight the registry has at a moment, in percent: evenly
    /// from `from` to `to`, in whole percents and in steps of at least a second.
    pub fn share(&self, now: Moment) -> u8 {
        let (step, steps) = (self.step(now), self.steps());
        let moved = u128::from(self.to.abs_diff(self.from)) * step / steps;
        let moved = u8::try_from(moved).expect("no more than the whole way");
        if self.to < self.from { self.from - moved } else { self.from + moved }
    }

    /// When the share changes next.
    pub fn next_change(&self, now: Moment) -> Option<Moment> {
        let next = self.step(now) + 1;
        let at =
            self.since.0 + u64::try_from((next * self.length()).div_ceil(self.steps())).ok()?;
        (next <= self.steps()).then_some(Moment(at))
    }

    /// Whether it is over by this moment: the registry has its whole weight again.
    pub(super) fn over(&self, now: Moment) -> bool {
        self.to == 100 && self.until <= now
    }

    fn length(&self) -> u128 {
        u128::from(self.until.0.saturating_sub(self.since.0))
    }

    fn steps(&self) -> u128 {
        let percents = u128::from(self.to.abs_diff(self.from));
        percents.min(self.length() / u128::from(STEP)).max(1)
    }

    /// How many steps it has made.
    fn step(&self, now: Moment) -> u128 {
        if now >= self.until {
            return self.steps();
        }
        let elapsed = u128::from(now.0.saturating_sub(self.since.0));
        elapsed * self.steps() / self.length().max(1)
    }
}

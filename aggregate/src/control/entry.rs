//! Control state as named entries of text, which stores keep one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mainstem_model::{EndpointSet, RegistryId, ServiceKey, Value};
use serde::{Deserialize, Serialize};

use super::decisions::{Drain, Freeze, Frozen, ProxyGroup, Release, Track};
use super::state::{Cause, ControlState, Hold, HoldKey, Moment, Scope};
use crate::stored::{Encoder, decode};

/// The name of an entry: `hold/consul/dc1/shop/orders.shop`, `release/consul/dc1`.
/// Parts are separated by slashes and have none of their own, host names aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryName(Arc<str>);

impl EntryName {
    /// A name as a store has it.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn hold(key: &HoldKey) -> Self {
        Self(format!("hold/{}/{}", key.registry, key.service).into())
    }

    pub(super) fn release(scope: &Scope) -> Self {
        Self::scoped("release", scope)
    }

    pub(super) fn freeze(scope: &Scope) -> Self {
        Self::scoped("freeze", scope)
    }

    pub(super) fn frozen(key: &HoldKey) -> Self {
        Self(format!("frozen/{}/{}", key.registry, key.service).into())
    }

    pub(super) fn track(group: &ProxyGroup) -> Self {
        Self(format!("track/{group}").into())
    }

    pub(super) fn drain(registry: &RegistryId) -> Self {
        Self(format!("drain/{registry}").into())
    }

    fn scoped(kind: &str, scope: &Scope) -> Self {
        Self(match &scope.service {
            Some(service) => format!("{kind}/{}/{service}", scope.registry).into(),
            None => format!("{kind}/{}", scope.registry).into(),
        })
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An entry that cannot be understood; it has no effect and stays as it is.
#[derive(Debug, thiserror::Error)]
#[error("control state entry {name} has no effect: {problem}")]
pub struct InvalidEntry {
    /// Its name.
    pub name: EntryName,
    /// What is wrong with it.
    pub problem: String,
}

/// An entry's text, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", deny_unknown_fields)]
enum Entry {
    Hold {
        scope: ScopeText,
        since: Moment,
        until: Moment,
        cause: Cause,
        /// How many endpoints are held, for people who look.
        held: usize,
        /// Definition and endpoints, as last good states have them.
        values: String,
    },
    Release {
        scope: ScopeText,
        release: Release,
    },
    Freeze {
        scope: ScopeText,
        freeze: Freeze,
    },
    Frozen {
        scope: ScopeText,
        since: Moment,
        /// Definition and endpoints, as last good states have them.
        values: String,
    },
    Track {
        proxies: ProxyGroup,
        track: Track,
    },
    Drain {
        registry: RegistryId,
        drain: Drain,
    },
}

impl Entry {
    /// As every store gives it back, so that texts can be compared.
    fn text(&self) -> String {
        serde_json::to_value(self).expect("entries are plain JSON").to_string()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeText {
    registry: RegistryId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

impl From<&Scope> for ScopeText {
    fn from(scope: &Scope) -> Self {
        Self {
            registry: scope.registry.clone(),
            hostname: scope.service.as_ref().map(|service| service.hostname().to_string()),
            namespace: scope.service.as_ref().map(|service| service.namespace().to_string()),
        }
    }
}

impl From<ScopeText> for Scope {
    fn from(text: ScopeText) -> Self {
        let service = text.hostname.zip(text.namespace);
        Self {
            registry: text.registry,
            service: service.map(|(host, space)| ServiceKey::new(host.as_str(), space.as_str())),
        }
    }
}

impl ControlState {
    /// The state that entries tell, and what is wrong with the others.
    pub fn from_entries<'a>(
        entries: impl IntoIterator<Item = (&'a EntryName, &'a str)>,
    ) -> (Self, Vec<InvalidEntry>) {
        let mut state = Self::default();
        let mut invalid = Vec::new();
        for (name, text) in entries {
            if let Err(problem) = state.read(name, text) {
                invalid.push(InvalidEntry { name: name.clone(), problem });
            }
        }
        (state, invalid)
    }

    fn read(&mut self, name: &EntryName, text: &str) -> Result<(), String> {
        let entry = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let own = match entry {
            Entry::Hold { scope, since, until, cause, held: _, values } => {
                let (key, hold) = read_hold(scope, &values)?;
                let hold = Hold { since, until, cause, ..hold };
                self.holds.insert(key.clone(), Arc::new(hold));
                EntryName::hold(&key)
            }
            Entry::Release { scope, release } => {
                put(&mut self.releases, scope, release, EntryName::release)
            }
            Entry::Freeze { scope, freeze } => {
                put(&mut self.freezes, scope, freeze, EntryName::freeze)
            }
            Entry::Frozen { scope, since, values } => {
                let (key, read) = read_hold(scope, &values)?;
                let Hold { definition, endpoints, .. } = read;
                let name = EntryName::frozen(&key);
                self.frozen.insert(key, Arc::new(Frozen { since, definition, endpoints }));
                name
            }
            Entry::Track { proxies, track } => {
                let name = EntryName::track(&proxies);
                self.tracks.insert(proxies, track);
                name
            }
            Entry::Drain { registry, drain } => {
                let name = EntryName::drain(&registry);
                self.drains.insert(registry, drain);
                name
            }
        };
        if own == *name { Ok(()) } else { Err(format!("its content belongs to {own}")) }
    }

    /// The texts of several entries; `None` where there is nothing of that name.
    pub(super) fn texts(
        &self,
        names: impl IntoIterator<Item = EntryName>,
    ) -> BTreeMap<EntryName, Option<String>> {
        let mut texts: BTreeMap<EntryName, Option<String>> =
            names.into_iter().map(|name| (name, None)).collect();
        let mut tell = |name: EntryName, entry: &dyn Fn() -> Entry| {
            if let Some(text) = texts.get_mut(&name) {
                *text = Some(entry().text());
            }
        };
        for (key, hold) in &self.holds {
            tell(EntryName::hold(key), &|| written_hold(key, hold));
        }
        for (scope, release) in &self.releases {
            let entry = || Entry::Release { scope: scope.into(), release: release.clone() };
            tell(EntryName::release(scope), &entry);
        }
        for (scope, freeze) in &self.freezes {
            let entry = || Entry::Freeze { scope: scope.into(), freeze: freeze.clone() };
            tell(EntryName::freeze(scope), &entry);
        }
        for (key, frozen) in &self.frozen {
            tell(EntryName::frozen(key), &|| written_frozen(key, frozen));
        }
        for (group, track) in &self.tracks {
            let entry = || Entry::Track { proxies: group.clone(), track: track.clone() };
            tell(EntryName::track(group), &entry);
        }
        for (registry, drain) in &self.drains {
            let entry = || Entry::Drain { registry: registry.clone(), drain: drain.clone() };
            tell(EntryName::drain(registry), &entry);
        }
        texts
    }
}

fn put<V>(
    map: &mut BTreeMap<Scope, V>,
    scope: ScopeText,
    value: V,
    name: impl Fn(&Scope) -> EntryName,
) -> EntryName {
    let scope = Scope::from(scope);
    let name = name(&scope);
    map.insert(scope, value);
    name
}

fn written_hold(key: &HoldKey, hold: &Hold) -> Entry {
    let mut encoder = Encoder::default();
    if let Some(definition) = &hold.definition {
        encoder.value(&Value::Service(definition.clone()));
    }
    encoder.value(&Value::Endpoints(hold.endpoints.clone()));
    let scope = Scope { registry: key.registry.clone(), service: Some(key.service.clone()) };
    Entry::Hold {
        scope: (&scope).into(),
        since: hold.since,
        until: hold.until,
        cause: hold.cause,
        held: hold.endpoints.len(),
        values: BASE64.encode(encoder.finish()),
    }
}

fn written_frozen(key: &HoldKey, frozen: &Frozen) -> Entry {
    let scope = Scope { registry: key.registry.clone(), service: Some(key.service.clone()) };
    let values = BASE64.encode(frozen.values());
    Entry::Frozen { scope: (&scope).into(), since: frozen.since, values }
}

fn read_hold(scope: ScopeText, values: &str) -> Result<(HoldKey, Hold), String> {
    let scope = Scope::from(scope);
    let service = scope.service.ok_or("a hold of no service")?;
    let bytes = BASE64.decode(values).map_err(|error| error.to_string())?;
    let mut definition = None;
    let mut endpoints = EndpointSet::new(service.clone(), Vec::new()).into();
    for value in decode(&bytes).map_err(|corrupt| corrupt.to_string())? {
        match value {
            Value::Service(own) if own.key == service => definition = Some(own),
            Value::Endpoints(own) if own.service == service => endpoints = own,
            _ => return Err("a hold with values of something else".to_owned()),
        }
    }
    let hold = Hold {
        since: Moment::default(),
        until: Moment::default(),
        cause: Cause::Service,
        definition,
        endpoints,
    };
    Ok((HoldKey { registry: scope.registry, service }, hold))
}

//! Where a value came from.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::{ClusterId, RegistryId};

/// The kind of a registry's native object, in the registry's own word: `Service`,
/// `EndpointSlice`, `ServiceEntry`, `instance`.
pub type ObjectKind = &'static str;

/// A registry's own mark of an object's version: a `resourceVersion`, a
/// `ModifyIndex`, a content hash. Never part of a resource.
pub type Revision = Arc<str>;

/// A native object within its registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name, unique for the kind within the registry; `namespace/name` where there are namespaces.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The registry and the native object that said something: content, which may
/// stand in a resource's metadata.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    /// The registry.
    pub registry: RegistryId,
    /// The object there.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// Where another control plane has it from that gave it to the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
}

/// Whence something came that control planes handed on to each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Via(Arc<str>);

impl Via {
    /// `first` control plane has it from `origin`, an origin as text.
    pub fn new(first: &ClusterId, origin: &Origin) -> Self {
        Self(format!("{first} {} {}", origin.registry, origin.object).into())
    }

    /// Reads what [`Via`] writes; none if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, origin) = text.split_once(' ')?;
        let full = path.split('>').all(|name| !name.is_empty()) && origin.contains(' ');
        full.then(|| Self(text.into()))
    }

    /// The same, handed on by one more control plane.
    #[must_use]
    pub fn through(&self, next: &ClusterId) -> Self {
        let (path, origin) = self.parts();
        Self(format!("{path}>{next} {origin}").into())
    }

    /// The clusters on the way: of the registry where it began, then of each
    /// control plane, by their ClusterIDs.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        let (path, origin) = self.parts();
        let registry = origin.split_once(' ').map_or(origin, |(registry, _)| registry);
        let first = registry.split_once('/').map(|(_, cluster)| cluster);
        first.into_iter().chain(path.split('>'))
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once(' ').unwrap_or((&self.0, ""))
    }
}

/// `FIRST>SECOND>… PROVIDER/CLUSTER KIND NAME`: the control planes in order, then
/// the origin at the first of them.
impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An origin with the revision it was read at: provenance, which `explain`
/// shows and no comparison of content sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Sourced {
    /// Who said it.
    #[serde(flatten)]
    pub origin: Origin,
    /// At which revision.
    pub revision: Revision,
}

/// The ordered list of who says a thing: fields come from the first. One pointer
/// wide, and cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Origins(Arc<Box<[Sourced]>>);

impl<T: Into<Box<[Sourced]>>> From<T> for Origins {
    fn from(origins: T) -> Self {
        Self(Arc::new(origins.into()))
    }
}

impl FromIterator<Sourced> for Origins {
    fn from_iter<I: IntoIterator<Item = Sourced>>(origins: I) -> Self {
        Self(Arc::new(origins.into_iter().collect()))
    }
}

impl Deref for Origins {
    type Target = [Sourced];

    fn deref(&self) -> &[Sourced] {
        &self.0
    }
}

impl Sourced {
    /// An origin list of one.
    pub fn only(registry: &RegistryId, kind: ObjectKind, name: &str, revision: &str) -> Origins {
        Origins::from([Self {
            origin: Origin {
                registry: registry.clone(),
                object: ObjectRef { kind, name: Arc::from(name) },
                via: None,
            },
            revision: Arc::from(revision),
        }])
    }
}

/// Whether two lists name the same origins in the same order, revisions aside.
pub(crate) fn same_origins(a: &[Sourced], b: &[Sourced]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.origin == b.origin)
}

/// A native object that could not be understood. Its last good values stay in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rejected {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// What is wrong with it, where, and what to do.
    pub reason: String,
}

//! Where resources of a type stand among the translated ones.
//!
//! Most types have a kind of their own. Configuration objects that pass through unread
//! are of one kind, whatever their types, with names that begin with the type.

use std::sync::Arc;

use mainstem_translate::{Kind, Moment, Resource, passing};
use mainstem_xds::{Name, NameSet, SetVersion, TypeUrl, Version};

/// The resources of a type.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    /// All of a kind.
    Whole(Kind),
    /// The configuration objects of this type.
    Configs(TypeUrl),
}

/// What Envoy's types, and the messages within others, begin with. Istio's objects are
/// asked for by group, version and kind.
const MESSAGES: &str = "type.googleapis.com/";

impl Shelf {
    /// That of a type; objects that pass through are for importers alone.
    pub(super) fn of(type_url: &TypeUrl, importer: bool) -> Option<Self> {
        let whole = Kind::ALL.into_iter().find(|kind| type_of(*kind).as_ref() == Some(type_url));
        let passing = importer && !type_url.starts_with(MESSAGES);
        whole.map(Self::Whole).or_else(|| passing.then(|| Self::Configs(type_url.clone())))
    }

    /// The resource of this name.
    pub(super) fn get<'m>(&self, moment: &'m Moment, name: &str) -> Option<&'m Arc<Resource>> {
        match self {
            Self::Whole(kind) => moment.view(*kind).get(name),
            Self::Configs(of) => moment.view(Kind::Config).get(&passing::name(of, name)),
        }
    }

    /// All of them, in order of names.
    pub(super) fn list(self, moment: &Moment) -> impl Iterator<Item = &Arc<Resource>> {
        let (kind, only) = match self {
            Self::Whole(kind) => (kind, None),
            Self::Configs(of) => (Kind::Config, Some(of)),
        };
        let of_type = move |resource: &&Arc<Resource>| {
            only.as_ref().is_none_or(|only| passing::parts(&resource.name).0 == &**only)
        };
        moment.view(kind).iter().filter(of_type)
    }

    /// The version of all of them, or of these.
    pub(super) fn version(self, moment: &Moment, names: Option<&NameSet>) -> SetVersion {
        let listed = self
            .list(moment)
            .map(|resource| (told_as(resource.kind, &resource.name).1, Version(resource.version)));
        let asked = |name: &Name| names.is_none_or(|names| names.contains(name));
        let all: Vec<_> = listed.filter(|(name, _)| asked(name)).collect();
        SetVersion::of(all.iter().map(|(name, version)| (&**name, *version)))
    }
}

/// The type of a kind that has one.
fn type_of(kind: Kind) -> Option<TypeUrl> {
    match kind {
        Kind::Cluster => Some(TypeUrl::CLUSTER),
        Kind::LoadAssignment => Some(TypeUrl::CLUSTER_LOAD_ASSIGNMENT),
        Kind::Listener => Some(TypeUrl::LISTENER),
        Kind::Route => Some(TypeUrl::ROUTE_CONFIGURATION),
        Kind::ServiceEntry => Some(TypeUrl::from(kind.type_url())),
        Kind::Config => None,
    }
}

/// Type and name by which a client knows a resource.
pub(super) fn told_as(kind: Kind, name: &Name) -> (TypeUrl, Name) {
    type_of(kind).map(|type_url| (type_url, name.clone())).unwrap_or_else(|| {
        let (type_url, name) = passing::parts(name);
        (TypeUrl::from(type_url), name.into())
    })
}

/// Adds names of one kind, which are in order, by type.
pub(super) fn tell_by_type(kind: Kind, names: Arc<[Name]>, told: &mut Vec<(TypeUrl, Arc<[Name]>)>) {
    if let Some(type_url) = type_of(kind) {
        return told.push((type_url, names));
    }
    let of_one = names.chunk_by(|a, b| passing::parts(a).0 == passing::parts(b).0);
    told.extend(of_one.map(|names| {
        let type_url = TypeUrl::from(passing::parts(&names[0]).0);
        (type_url, names.iter().map(|name| told_as(kind, name).1).collect())
    }));
}

//! Where resources come from, as the protocol sees it.

mod client;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::names::{Name, NameSet, Subscription, TypeUrl};
use crate::resource::Resource;
use crate::version::SetVersion;

pub use client::Client;

/// Something that has resources for clients.
pub trait ResourceSource: Send + Sync + 'static {
    /// Opens the view of one client.
    ///
    /// Called once per stream, with the node of its first request and the
    /// identity that was verified. Here is decided what the client may see.
    fn connect(&self, client: &Arc<Client>) -> Result<Box<dyn ResourceView>, Refusal>;
}

/// What one client may see, moving from moment to moment.
///
/// A view reads between [`advance`](Self::advance) and
/// [`release`](Self::release); in between, all types belong to one moment.
/// Outside, it must not hold on to old content: thousands of views are idle at
/// any time.
pub trait ResourceView: Send + 'static {
    /// Ready when there may be something new since the last
    /// [`advance`](Self::advance); until then the task is to be woken.
    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Moves to the latest moment, and says what differs from the previous one.
    ///
    /// A view that was just connected has no previous moment, and returns no
    /// changes.
    fn advance(&mut self) -> Changes;

    /// The reader is done with this moment.
    fn release(&mut self) {}

    /// The client asks for this from now on, of one type: for sources that load
    /// what somebody needs.
    fn subscribed(&mut self, type_url: &TypeUrl, subscription: &Subscription) {
        let _ = (type_url, subscription);
    }

    /// Reads one resource by its name or an alias.
    fn get(&self, type_url: &TypeUrl, name: &str) -> Lookup;

    /// Whether there is a resource of this name now. Asking is no sign that the client
    /// wants it.
    fn has(&self, type_url: &TypeUrl, name: &str) -> bool {
        matches!(self.get(type_url, name), Lookup::Found(_))
    }

    /// What a name without a resource of its own stands for: clients without delta that
    /// ask for it are sent all of these.
    fn parts(&self, type_url: &TypeUrl, name: &str) -> Vec<Arc<Resource>> {
        let _ = (type_url, name);
        Vec::new()
    }

    /// Everything of a type that the client may see, in order of names.
    fn list(&self, type_url: &TypeUrl) -> Box<dyn Iterator<Item = Arc<Resource>> + '_>;

    /// Whether [`list`](Self::list) is complete. Until it is, nobody who asked
    /// for everything is answered; becoming so counts as a change of every name.
    fn complete(&self, type_url: &TypeUrl) -> bool {
        let _ = type_url;
        true
    }

    /// The version of everything of a type, or of the named part of it.
    ///
    /// Clients without delta are given it on every response. A source that has
    /// many clients keeps it up to date instead of counting it anew.
    fn set_version(&self, type_url: &TypeUrl, names: Option<&NameSet>) -> SetVersion {
        fn of(resources: impl Iterator<Item = Arc<Resource>>) -> SetVersion {
            let mut set = SetVersion::default();
            for resource in resources {
                set.insert(resource.name(), resource.version());
            }
            set
        }
        match names {
            None => of(self.list(type_url)),
            Some(names) => of(names.iter().filter_map(|name| self.get(type_url, name).found())),
        }
    }
}

/// What a view has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The resource.
    Found(Arc<Resource>),
    /// Surely nothing.
    Absent,
    /// Not known yet: the client hears nothing until the name is among the
    /// [`Changes`], even if it then turns out absent.
    Loading,
    /// Nothing, for a reason that the client can be told.
    Failed(ResourceFailure),
}

impl Lookup {
    /// The resource, if there is one.
    pub fn found(self) -> Option<Arc<Resource>> {
        match self {
            Lookup::Found(resource) => Some(resource),
            Lookup::Absent | Lookup::Loading | Lookup::Failed(_) => None,
        }
    }
}

/// Why a resource cannot be given (xRFC TP3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceFailure {
    /// `NOT_FOUND` and `PERMISSION_DENIED` say something about the resource;
    /// other codes are taken as passing trouble of the server.
    pub code: tonic::Code,
    /// For people.
    pub message: Arc<str>,
}

/// What differs between two moments of a view.
///
/// Every name whose lookup differs is here, under its canonical name and its
/// aliases; a name that does not differ should not be, since it will be sent.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Names per type; a type occurs once.
    pub names: Vec<(TypeUrl, Arc<[Name]>)>,
    /// When the earliest of the changes was made, for measuring how long it
    /// takes to reach clients.
    pub since: Option<Instant>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(|(_, names)| names.is_empty())
    }
}

/// A client that is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The node does not say what the source needs to know.
    InvalidNode(String),
    /// The verified identity may not act as that node.
    Denied(String),
    /// Not now; the client shall try again.
    Unavailable(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::InvalidNode(why) => write!(f, "node: {why}"),
            Refusal::Denied(why) | Refusal::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::InvalidNode(_) => tonic::Status::invalid_argument(text),
            Refusal::Denied(_) => tonic::Status::permission_denied(text),
            Refusal::Unavailable(_) => tonic::Status::unavailable(text),
        }
    }
}

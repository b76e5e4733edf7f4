//! What a change does to the endpoints that serve.

use std::cmp::Ordering;
use std::sync::Arc;

use mainstem_model::{Endpoint, EndpointSet, Health};

/// Whether an endpoint takes traffic, as its registry says.
pub(crate) fn serves(endpoint: &Endpoint) -> bool {
    matches!(endpoint.health, Health::Healthy | Health::Degraded)
}

/// From one state of a service to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moves {
    /// Served before and is gone or unhealthy.
    pub(crate) lost: Vec<Arc<Endpoint>>,
    /// Serves and did not before.
    pub(crate) gained: Vec<Arc<Endpoint>>,
    /// How many served.
    pub(crate) before: usize,
    /// How many serve.
    pub(crate) after: usize,
    /// Whether somebody began or ceased to need the service, which is neither gain nor loss.
    pub(crate) demand: Option<NewDemand>,
}

/// What became of the need for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewDemand {
    /// It was loaded.
    Loaded,
    /// It is loaded no more.
    Unloaded,
}

/// Compares two states of a service's endpoints.
pub(crate) fn compare(before: Option<&EndpointSet>, after: Option<&EndpointSet>) -> Moves {
    let mut moves = Moves::default();
    let mut old = before.map_or(&[][..], EndpointSet::endpoints).iter().peekable();
    let mut new = after.map_or(&[][..], EndpointSet::endpoints).iter().peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return moves,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => Ordering::Equal,
            (Some(a), Some(b)) => a.key().cmp(&b.key()),
        };
        let was = if order.is_le() { old.next() } else { None };
        let is = if order.is_ge() { new.next() } else { None };
        moves.count(was, is);
    }
}

impl Moves {
    fn count(&mut self, was: Option<&Arc<Endpoint>>, is: Option<&Arc<Endpoint>>) {
        let served = was.filter(|endpoint| serves(endpoint));
        let serving = is.filter(|endpoint| serves(endpoint));
        self.before += usize::from(served.is_some());
        self.after += usize::from(serving.is_some());
        match (served, serving) {
            (Some(lost), None) if is.is_none_or(|is| is.health != Health::Draining) => {
                self.lost.push(lost.clone());
            }
            (None, Some(gained)) => self.gained.push(gained.clone()),
            _ => {}
        }
    }
}

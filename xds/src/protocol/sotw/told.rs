//! Errors of resources that the client was told.

use std::collections::BTreeMap;

use crate::names::Name;
use crate::source::ResourceFailure;
use crate::version::Version;

/// What failed when it was looked at last, and why: each error is told once.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The code, and a hash of the message.
    errors: BTreeMap<Name, (tonic::Code, Version)>,
}

impl Told {
    /// Of all names that fail now, in their order, those of which the client does
    /// not know.
    pub(super) fn news(
        &mut self,
        failed: Vec<(Name, ResourceFailure)>,
    ) -> Vec<(Name, ResourceFailure)> {
        self.errors.retain(|name, _| failed.binary_search_by_key(&name, |(of, _)| of).is_ok());
        let is_new = |(name, failure): &(Name, ResourceFailure)| {
            let error = (failure.code, Version::of(failure.message.as_bytes()));
            self.errors.insert(name.clone(), error) != Some(error)
        };
        failed.into_iter().filter(is_new).collect()
    }

    /// The client asks for it anew.
    pub(super) fn forget(&mut self, name: &str) {
        self.errors.remove(name);
    }

    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.errors.retain(|name, _| wanted(name));
    }
}

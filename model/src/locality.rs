//! Where something runs.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Serialize, Serializer};

use crate::intern::Pool;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Parts {
    region: Box<str>,
    zone: Box<str>,
    subzone: Box<str>,
}

/// Region, zone and subzone, from the widest to the narrowest; each may be empty.
/// Written `region/zone/subzone`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality(Arc<Parts>);

static UNKNOWN: LazyLock<Locality> = LazyLock::new(|| Locality(Arc::default()));

impl Default for Locality {
    fn default() -> Self {
        UNKNOWN.clone()
    }
}

impl Locality {
    /// A locality of these parts.
    pub fn new(region: &str, zone: &str, subzone: &str) -> Self {
        if region.is_empty() && zone.is_empty() && subzone.is_empty() {
            return Self::default();
        }
        static KNOWN: LazyLock<Pool<Parts>> = LazyLock::new(Pool::new);
        let parts = Parts { region: region.into(), zone: zone.into(), subzone: subzone.into() };
        Self(KNOWN.share(parts))
    }

    /// Reads `region/zone/subzone` with fewer parts allowed. `.` separates where
    /// `/` cannot stand (Kubernetes label values, `istio-locality`).
    pub fn parse(text: &str) -> Self {
        let separator = if text.contains('/') { '/' } else { '.' };
        let mut parts = text.splitn(3, separator);
        let mut next = || parts.next().unwrap_or("");
        Self::new(next(), next(), next())
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// The zone within the region.
    pub fn zone(&self) -> &str {
        &self.0.zone
    }

    /// The subzone within the zone.
    pub fn subzone(&self) -> &str {
        &self.0.subzone
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == *UNKNOWN
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}/{}", self.region(), self.zone(), self.subzone());
        text.truncate(text.trim_end_matches('/').len());
        f.pad(&text)
    }
}

impl Serialize for Locality {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("eu/eu-1/a", "eu/eu-1/a")]
    #[case("eu/eu-1", "eu/eu-1")]
    #[case("eu.eu-1.a", "eu/eu-1/a")]
    #[case("eu", "eu")]
    #[case("", "")]
    fn a_locality_is_written_as_it_was_read(#[case] text: &str, #[case] written: &str) {
        assert_eq!(Locality::parse(text).to_string(), written);
    }
}

//! Short names of Kubernetes services.

use mainstem_model::Hostname;

/// The search domain of a proxy in Kubernetes: `shop.svc.cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SearchDomain {
    /// `shop`
    namespace: Box<str>,
    /// `cluster.local`
    suffix: Box<str>,
}

impl SearchDomain {
    /// Reads a DNS domain; none if it is not of the form `NAMESPACE.svc.SUFFIX`.
    pub(crate) fn parse(domain: &str) -> Option<Self> {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        let (namespace, rest) = domain.split_once('.')?;
        let suffix = rest.strip_prefix("svc.")?;
        let whole = !namespace.is_empty() && !suffix.is_empty();
        whole.then(|| Self { namespace: namespace.into(), suffix: suffix.into() })
    }

    /// The names under which a client may call `host` instead, the longest first:
    /// `web.shop.svc`, `web.shop` and, from within `shop`, `web`.
    pub(crate) fn short_names(&self, host: &str) -> Vec<String> {
        let Some(name) = self.within(host) else { return Vec::new() };
        let mut names = vec![format!("{name}.svc"), name.to_owned()];
        let own = name.strip_suffix(&*self.namespace).and_then(|rest| rest.strip_suffix('.'));
        names.extend(own.map(str::to_owned));
        names
    }

    /// The host names that have `name` among their short names.
    pub(crate) fn expansions(&self, name: &str) -> Vec<Hostname> {
        let Self { namespace, suffix } = self;
        let mut found = vec![
            format!("{name}.svc.{suffix}"),
            format!("{name}.{suffix}"),
            format!("{name}.{namespace}.svc.{suffix}"),
        ];
        found.retain(|host| self.short_names(host).iter().any(|short| short == name));
        found.into_iter().map(Hostname::from).collect()
    }

    /// `web.shop` of `web.shop.svc.cluster.local`.
    fn within<'a>(&self, host: &'a str) -> Option<&'a str> {
        let name = host.strip_suffix(&*self.suffix)?.strip_suffix(".svc.")?;
        (name.matches('.').count() == 1).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rstest::rstest;

    fn shop() -> SearchDomain {
        SearchDomain::parse("shop.svc.cluster.local").unwrap()
    }

    #[rstest]
    #[case("web.shop.svc.cluster.local", &["web.shop.svc", "web.shop", "web"])]
    #[case("web.other.svc.cluster.local", &["web.other.svc", "web.other"])]
    #[case("web.shop.svc.cluster.other", &[])]
    #[case("svc.cluster.local", &[])]
    #[case("web.svc.cluster.local", &[])]
    #[case("example.com", &[])]
    fn short_names_follow_the_search_domain(#[case] host: &str, #[case] expected: &[&str]) {
        assert_eq!(shop().short_names(host), expected);
        for short in expected {
            assert_eq!(shop().expansions(short), [Hostname::from(host)]);
        }
    }

    #[rstest]
    fn other_domains_have_no_short_names(
        #[values("", "node.dc1.consul", "svc.cluster.local", "shop.svc.", ".svc.x")] domain: &str,
    ) {
        assert_eq!(SearchDomain::parse(domain), None);
    }
}

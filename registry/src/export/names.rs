//! Names: scopes, aliases and templates.

use std::collections::BTreeMap;

use mainstem_model::{HostPattern, Hostname, NamespaceName, ServiceKey};

use super::settings::Rewrite;

/// A pattern of host names, in one namespace or in any.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) text: String,
    namespace: Option<NamespaceName>,
    pub(super) pattern: HostPattern,
}

impl Scope {
    pub(super) fn parse(text: &str) -> Self {
        let (namespace, pattern) = split(text);
        let namespace = namespace.filter(|namespace| *namespace != "*").map(Into::into);
        Self { text: text.to_owned(), namespace, pattern: pattern.into() }
    }

    pub(super) fn matches(&self, key: &ServiceKey) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| namespace == key.namespace())
            && self.pattern.matches(key.hostname())
    }

    /// Whether every service of `other` is one of this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        (self.namespace.is_none() || self.namespace == other.namespace)
            && self.pattern.covers(&other.pattern)
    }
}

/// `NAMESPACE/HOST` or `HOST`.
pub(super) fn split(text: &str) -> (Option<&str>, &str) {
    text.split_once('/').map_or((None, text), |(namespace, host)| (Some(namespace), host))
}

/// Another name for one service.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    from: Scope,
    host: Hostname,
    namespace: Option<NamespaceName>,
}

impl Alias {
    pub(super) fn parse(from: &str, to: &str) -> Self {
        let (namespace, host) = split(to);
        let host = Hostname::normalised(host);
        Self { from: Scope::parse(from), host, namespace: namespace.map(Into::into) }
    }

    pub(super) fn apply(&self, native: &ServiceKey) -> Option<(ServiceKey, String)> {
        self.from.matches(native).then(|| {
            let namespace = self.namespace.as_ref().unwrap_or(native.namespace());
            let to = ServiceKey::new(self.host.clone(), namespace.clone());
            (to, format!("alias {}", self.from.text))
        })
    }
}

/// One label of a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Capture(String),
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match inner {
            Some(name) if !name.is_empty() && name.chars().all(word) => {
                Ok(Self::Capture(name.to_owned()))
            }
            None if !text.is_empty() && text.chars().all(word) => {
                Ok(Self::Text(text.to_ascii_lowercase()))
            }
            _ => Err(format!("{text:?} is neither a label of a host name nor a capture")),
        }
    }

    fn capture(&self) -> Option<&str> {
        match self {
            Self::Capture(name) => Some(name),
            Self::Text(_) => None,
        }
    }

    fn fill<'a>(&'a self, captured: &BTreeMap<&'a str, &'a str>) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Capture(name) => captured.get(name.as_str()).copied(),
        }
    }
}

/// Whether some name fits both.
pub(super) fn meet(a: &[Part], b: &[Part]) -> bool {
    let same = |(a, b): (&Part, &Part)| a.capture().is_some() || b.capture().is_some() || a == b;
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// Whether every name that fits `b` fits `a`.
pub(super) fn covers(a: &[Part], b: &[Part]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.capture().is_some() || a == b)
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    text.trim_end_matches('.').split('.').map(Part::parse).collect()
}

/// A rewrite, compiled.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    text: String,
    pub(super) host: Vec<Part>,
    pub(super) to: Vec<Part>,
    pub(super) namespace: Option<Part>,
}

impl Compiled {
    /// Compiles a rule; the error says what is wrong with it.
    pub(super) fn new(rule: &Rewrite) -> Result<Self, String> {
        let namespace = rule.namespace.as_deref().map(Part::parse).transpose()?;
        let (host, to) = (parts(&rule.host)?, parts(&rule.to)?);
        let compiled = Self { text: rule.host.clone(), host, to, namespace };
        for name in compiled.wanted() {
            if name != "namespace" && !compiled.captures().any(|own| own == name) {
                return Err(format!("{{{name}}} is captured nowhere in {:?}", rule.host));
            }
        }
        for (at, name) in compiled.captures().enumerate() {
            if compiled.captures().skip(at + 1).any(|other| other == name) {
                return Err(format!("{{{name}}} stands twice in {:?}", rule.host));
            }
        }
        Ok(compiled)
    }

    fn captures(&self) -> impl Iterator<Item = &str> {
        self.host.iter().filter_map(Part::capture)
    }

    fn wanted(&self) -> impl Iterator<Item = &str> {
        self.to.iter().chain(&self.namespace).filter_map(Part::capture)
    }

    /// The first capture that the new name says nothing of.
    pub(super) fn lost(&self) -> Option<&str> {
        self.captures().find(|name| self.wanted().all(|wanted| wanted != *name))
    }

    pub(super) fn apply(&self, native: &ServiceKey) -> Option<(ServiceKey, String)> {
        let mut captured = BTreeMap::from([("namespace", native.namespace().as_str())]);
        let mut labels = native.hostname().as_str().split('.');
        for part in &self.host {
            let label = labels.next()?;
            match part {
                Part::Text(text) if text == label => {}
                Part::Capture(name) if !label.is_empty() => drop(captured.insert(name, label)),
                _ => return None,
            }
        }
        if labels.next().is_some() {
            return None;
        }
        let host: Vec<&str> = self.to.iter().filter_map(|part| part.fill(&captured)).collect();
        let namespace = match &self.namespace {
            Some(part) => NamespaceName::from(part.fill(&captured)?),
            None => native.namespace().clone(),
        };
        let to = ServiceKey::new(Hostname::from(host.join(".")), namespace);
        Some((to, format!("rewrite {}", self.text)))
    }
}

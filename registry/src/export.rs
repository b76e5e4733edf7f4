//! What a registry gives to the mesh, and under which names: applied to what an
//! adapter says, before the aggregate hears it.
//!
//! ```text
//! adapter ─ UpdateSender ─▶ Stage: leave out ─▶ alias, rewrite ─▶ labels ─▶ mailbox ─▶ aggregate
//! ```
//!
//! Rules, in order: `include` and `exclude` by the native name; `services` and
//! `endpoints` by native labels; an alias, else the first rewrite whose pattern
//! fits; then labels. Namespaces, gateways and configuration objects pass as they are.
//!
//! Invariants:
//! - What a name becomes depends on the rules alone: [`Export::name`] is pure.
//! - Several native services under one name are one service: the one that has the
//!   name natively comes first, then ascending by native key. The first is its
//!   definition, ports of the others are added by number; endpoints are united,
//!   of several with one key the first stays. The order of arrival never matters.
//! - Origins keep the native object.

mod check;
mod labels;
mod names;
mod settings;
mod stage;

use mainstem_model::{Labels, ServiceKey};

pub use check::ExportFault;
pub use settings::{ExportSettings, LabelRules, Rewrite};
pub(crate) use stage::Stage;

use labels::Term;
use names::{Alias, Compiled, Scope};

/// What becomes of a native service by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Kept,
    /// It gets this name, by the rule that is named in words.
    Renamed {
        /// The name in the mesh.
        to: ServiceKey,
        /// The rule: `alias orders.consul`, `rewrite {service}.consul`.
        rule: String,
    },
    /// The mesh never sees it, by the rule that is named in words.
    LeftOut {
        /// The rule: `exclude *.internal`.
        rule: String,
    },
}

/// The rules of one registry, compiled.
#[derive(Clone, Debug, Default)]
pub struct Export {
    include: Vec<Scope>,
    exclude: Vec<Scope>,
    services: Vec<Term>,
    endpoints: Vec<Term>,
    aliases: Vec<Alias>,
    rewrites: Vec<Compiled>,
    labels: LabelRules,
}

impl Export {
    /// Compiles rules in which [`ExportSettings::check`] finds no fault; a rule
    /// with a fault has no effect.
    pub fn new(settings: &ExportSettings) -> Self {
        let scopes = |texts: &[String]| texts.iter().map(|text| Scope::parse(text)).collect();
        let terms = |texts: &[String]| texts.iter().filter_map(|text| Term::parse(text)).collect();
        let aliases = settings.aliases.iter();
        Self {
            include: scopes(&settings.include),
            exclude: scopes(&settings.exclude),
            services: terms(&settings.services),
            endpoints: terms(&settings.endpoints),
            aliases: aliases.map(|(from, to)| Alias::parse(from, to)).collect(),
            rewrites: settings.rewrite.iter().filter_map(|rule| Compiled::new(rule).ok()).collect(),
            labels: settings.labels.clone(),
        }
    }

    /// What becomes of a native service, by its name.
    pub fn name(&self, native: &ServiceKey) -> Verdict {
        if let Some(scope) = self.exclude.iter().find(|scope| scope.matches(native)) {
            return Verdict::LeftOut { rule: format!("exclude {}", scope.text) };
        }
        if !self.include.is_empty() && !self.include.iter().any(|scope| scope.matches(native)) {
            return Verdict::LeftOut { rule: "include names others".to_owned() };
        }
        let alias = self.aliases.iter().find_map(|alias| alias.apply(native));
        let renamed =
            alias.or_else(|| self.rewrites.iter().find_map(|rewrite| rewrite.apply(native)));
        match renamed {
            Some((to, rule)) if to != *native => Verdict::Renamed { to, rule },
            _ => Verdict::Kept,
        }
    }

    /// The rule by which a service of these native labels is left out.
    pub fn service_left_out(&self, labels: &Labels) -> Option<String> {
        unmet(&self.services, labels).map(|term| format!("services {term}"))
    }

    /// The rule by which an endpoint or workload of these native labels is left out.
    pub fn endpoint_left_out(&self, labels: &Labels) -> Option<String> {
        unmet(&self.endpoints, labels).map(|term| format!("endpoints {term}"))
    }

    /// The labels that native ones become.
    pub fn labels(&self, native: &Labels) -> Labels {
        self.labels.apply(native)
    }

    /// The name in the mesh; `None` if it is left out.
    pub(crate) fn target(&self, native: &ServiceKey) -> Option<ServiceKey> {
        match self.name(native) {
            Verdict::Kept => Some(native.clone()),
            Verdict::Renamed { to, .. } => Some(to),
            Verdict::LeftOut { .. } => None,
        }
    }
}

fn unmet<'a>(terms: &'a [Term], labels: &Labels) -> Option<&'a Term> {
    terms.iter().find(|term| !term.holds(labels))
}

#[cfg(test)]
mod tests;

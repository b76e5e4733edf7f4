//! What is wrong with rules, before they are used.

use std::collections::BTreeMap;

use mainstem_model::Hostname;

use super::labels::Term;
use super::names::{Compiled, Scope, covers, meet, split};
use super::settings::ExportSettings;

/// One thing that is wrong with the rules of a registry. The message says what is
/// wrong, and after a semicolon what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExportFault {
    /// The setting: `rewrite`, `aliases`, …
    pub setting: &'static str,
    /// The entry in a list, from 0, or in a mapping in key order.
    pub entry: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl ExportSettings {
    /// Everything that is wrong, in the order of the settings.
    pub fn check(&self) -> Vec<ExportFault> {
        let mut faults = Vec::new();
        self.check_scopes(&mut faults);
        check_terms("services", &self.services, &mut faults);
        check_terms("endpoints", &self.endpoints, &mut faults);
        self.check_aliases(&mut faults);
        self.check_rewrites(&mut faults);
        self.check_labels(&mut faults);
        faults
    }

    fn check_scopes(&self, faults: &mut Vec<ExportFault>) {
        for (entry, text) in self.include.iter().enumerate() {
            let scope = Scope::parse(text);
            let over = self.exclude.iter().find(|other| Scope::parse(other).covers(&scope));
            if let Some(over) = over {
                let message = format!(
                    "{text:?} never matches, because `exclude` has {over:?}; remove one of them"
                );
                faults.push(ExportFault { setting: "include", entry, message });
            }
        }
    }

    fn check_aliases(&self, faults: &mut Vec<ExportFault>) {
        let host = |text: &str| Hostname::normalised(split(text).1);
        let next: BTreeMap<Hostname, Hostname> =
            self.aliases.iter().map(|(from, to)| (host(from), host(to))).collect();
        for (entry, (from, to)) in self.aliases.iter().enumerate() {
            let mut fault =
                |message| faults.push(ExportFault { setting: "aliases", entry, message });
            if [from, to].iter().any(|name| host(name).is_empty() || name.contains(['*', '{'])) {
                fault(format!(
                    "alias {from:?}: {to:?} needs two exact names; use `rewrite` for patterns"
                ));
            } else if is_cyclic(&next, &host(from)) {
                fault(format!("alias {from:?} leads back to itself; remove one of the circle"));
            } else if next.contains_key(&host(to)) {
                fault(format!(
                    "alias {from:?} leads to {to:?}, an alias itself; name where that one leads"
                ));
            }
        }
    }

    fn check_rewrites(&self, faults: &mut Vec<ExportFault>) {
        let mut earlier: Vec<(Compiled, bool)> = Vec::new();
        for (entry, rule) in self.rewrite.iter().enumerate() {
            let mut fault =
                |message| faults.push(ExportFault { setting: "rewrite", entry, message });
            let compiled = match Compiled::new(rule) {
                Ok(compiled) => compiled,
                Err(why) => {
                    fault(format!("{why}; write labels and captures such as {{service}}.consul"));
                    continue;
                }
            };
            if let Some(message) = shadowed(rule.host.as_str(), &compiled, &earlier) {
                fault(message);
            } else if let Some(lost) = compiled.lost().filter(|_| !rule.merge) {
                fault(format!(
                    "services that differ in {{{lost}}} alone get one name; use {{{lost}}} in `to` \
                     or `namespace`, or say `merge: true`"
                ));
            } else if earlier
                .iter()
                .any(|(other, merge)| collide(other, &compiled) && !(*merge && rule.merge))
            {
                fault(format!(
                    "{:?} can give the name that an earlier rewrite gives; tell them apart, or say \
                     `merge: true` in both",
                    rule.to
                ));
            }
            earlier.push((compiled, rule.merge));
        }
    }

    fn check_labels(&self, faults: &mut Vec<ExportFault>) {
        let rename = &self.labels.rename;
        for (entry, (old, new)) in rename.iter().enumerate() {
            let twice = rename.iter().any(|(other, key)| key == new && other < old);
            let message = if self.labels.drop.contains(old) {
                format!("label {old:?} is dropped before it is renamed; remove one of them")
            } else if twice {
                format!("two labels are renamed to {new:?}; give one of them another key")
            } else {
                continue;
            };
            faults.push(ExportFault { setting: "labels", entry, message });
        }
    }
}

fn is_cyclic(next: &BTreeMap<Hostname, Hostname>, start: &Hostname) -> bool {
    let steps = std::iter::successors(next.get(start), |name| next.get(*name));
    steps.take(next.len()).any(|name| name == start)
}

/// What is wrong with the place of a rule after `earlier` ones.
fn shadowed(text: &str, rule: &Compiled, earlier: &[(Compiled, bool)]) -> Option<String> {
    if earlier.iter().any(|(other, _)| covers(&other.host, &rule.host)) {
        return Some(format!(
            "{text:?} never matches, because an earlier rewrite takes all its names; \
             put the narrower one first"
        ));
    }
    let overlaps =
        |other: &Compiled| meet(&other.host, &rule.host) && !covers(&rule.host, &other.host);
    earlier.iter().any(|(other, _)| overlaps(other)).then(|| {
        format!("{text:?} and an earlier rewrite overlap; make one of them narrower than the other")
    })
}

/// Whether two rules can give one name.
fn collide(a: &Compiled, b: &Compiled) -> bool {
    let namespaces = match (&a.namespace, &b.namespace) {
        (Some(a), Some(b)) => meet(std::slice::from_ref(a), std::slice::from_ref(b)),
        _ => true,
    };
    namespaces && meet(&a.to, &b.to)
}

fn check_terms(setting: &'static str, texts: &[String], faults: &mut Vec<ExportFault>) {
    let mut earlier: Vec<Term> = Vec::new();
    for (entry, text) in texts.iter().enumerate() {
        let message = match Term::parse(text) {
            None => format!("{text:?} is no requirement; write key=value, key!=value, key or !key"),
            Some(term) => match earlier.iter().find(|other| other.excludes(&term)) {
                Some(other) => format!("no labels meet {other} and {term}; remove one of them"),
                None => {
                    earlier.push(term);
                    continue;
                }
            },
        };
        faults.push(ExportFault { setting, entry, message });
    }
}

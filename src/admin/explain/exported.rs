//! What registries' own rules (`export`) make of a name.

use mainstem_model::{RegistryId, ServiceKey};
use mainstem_registry::{Export, ExportSettings, Verdict};

use super::Ground;
use super::origins::Brought;

/// The rules of a registry that has some.
pub type Exporting = (RegistryId, ExportSettings);

/// Under which rules it is brought; none where no registry that brings it has any.
pub fn given(ground: &Ground<'_>, brought: &Brought) -> Option<String> {
    let host = brought.key.hostname().as_str();
    let of = |(id, rules): &Exporting| {
        let named = |to: &str| to.rsplit('/').next() == Some(host);
        let alias = rules.aliases.iter().find(|(_, to)| named(to)).map(|(from, _)| from);
        match alias {
            Some(native) => format!("{id} gives {native} under this name, by an alias"),
            None => format!("{id} gives it under its export rules"),
        }
    };
    let bringing = ground.exports.iter().filter(|(id, _)| brought.by(id));
    let all: Vec<_> = bringing.map(of).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Which registry would leave a service of this name out, or give it another, and by
/// which rule.
pub fn left_out(ground: &Ground<'_>, key: Option<&ServiceKey>) -> Option<String> {
    let question = ground.question;
    let namespace = question.namespace.clone().unwrap_or_else(|| "default".into());
    let asked = ServiceKey::new(question.host.clone(), namespace);
    let native = key.unwrap_or(&asked);
    ground.exports.iter().find_map(|(id, rules)| match Export::new(rules).name(native) {
        Verdict::Kept => None,
        Verdict::LeftOut { rule } => Some(format!("{id} leaves {} out: {rule}", question.host)),
        Verdict::Renamed { to, rule } => {
            Some(format!("{id} gives {} as {}: {rule}", question.host, to.hostname()))
        }
    })
}

//! Scopes of configuration objects, for control planes that import them.

use std::sync::Arc;

use mainstem_model::{ClusterId, Config, ConfigKey, NamespaceName, Snapshot};

use super::recipe::{Changes, Context, Recipe};
use super::state::Edit;
use crate::{Kind, Resource, passing};

/// All objects, or those of a namespace and of the root namespace.
pub(super) struct Configs {
    namespace: Option<NamespaceName>,
    home: ClusterId,
}

impl Configs {
    pub(super) fn new(namespace: Option<NamespaceName>, home: ClusterId) -> Self {
        Self { namespace, home }
    }

    fn sees(&self, snapshot: &Snapshot, key: &ConfigKey) -> bool {
        let root = &snapshot.mesh().root_namespace;
        let own = |own: &NamespaceName| key.namespace == *own || key.namespace == *root;
        self.namespace.as_ref().is_none_or(own)
    }

    fn of(&self, context: &mut Context<'_>, config: &Config) -> Option<Arc<Resource>> {
        let body = passing::resource(config, passing::passed(config)?, &self.home);
        Some(context.resource(Kind::Config, name(&config.key), body))
    }
}

fn name(key: &ConfigKey) -> String {
    passing::name(&key.kind, &passing::full_name(key))
}

impl Recipe for Configs {
    fn build(&mut self, context: &mut Context<'_>) -> Vec<Arc<Resource>> {
        let snapshot = context.snapshot;
        let seen = snapshot.configs().filter(|config| self.sees(snapshot, &config.key));
        seen.filter_map(|config| self.of(context, config)).collect()
    }

    fn rebuild(&mut self, context: &mut Context<'_>, changes: &Changes<'_>) -> Vec<Edit> {
        let snapshot = context.snapshot;
        let seen = changes.set.configs.iter().filter(|key| self.sees(snapshot, key));
        let edit = |key: &ConfigKey| {
            let now = snapshot.config(key).and_then(|config| self.of(context, config));
            now.map_or_else(|| Edit::Remove(name(key).into()), Edit::Put)
        };
        seen.map(edit).collect()
    }
}

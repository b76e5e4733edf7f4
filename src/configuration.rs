//! Following the configuration: what changed in its files takes effect without
//! a restart, or is refused as a whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use mainstem_memory::Stores;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admin::Current;
use crate::config::{Config, ConfigError, ConfigWatch, Input, Loaded};
use crate::policies::Merging;
use crate::registries::{Followed, Plan};
use crate::xds::Source;

/// Who has to hear of a new configuration.
pub struct Followers {
    /// The admin API.
    pub current: watch::Sender<Current>,
    /// What the aggregate is told.
    pub merging: Arc<Merging>,
    /// The registry manager.
    pub plan: watch::Sender<Plan<Followed>>,
    /// Where registrations are.
    pub stores: Stores,
    /// The source of resources, once there is one.
    pub source: Option<Source>,
}

/// Which adapters a configuration wants.
pub fn plan(config: &Config, stores: &Stores) -> Plan<Followed> {
    let all = config.registries.iter();
    all.map(|registry| {
        let (adapter, export) = (registry.adapter.clone(), registry.common.export.clone());
        (registry.id.clone(), Followed { adapter, export, stores: stores.clone() })
    })
    .collect()
}

/// Reads and checks the configuration, and says what is odd about it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: Option<&std::path::Path>) -> Result<Config, ConfigError> {
    let Loaded { config, warnings } = Input::read(path)?.load()?;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok(config)
}

impl Followers {
    /// Followers that start with `config`.
    pub fn new(config: Arc<Config>, file: Option<PathBuf>) -> Self {
        let merging = Merging::new(config.clone());
        let stores = Stores::default();
        let plan = watch::Sender::new(plan(&config, &stores));
        let current = Current { config, file, since: SystemTime::now(), error: None };
        Self { current: watch::Sender::new(current), merging, plan, stores, source: None }
    }

    /// Watches the files of the configuration until the shutdown.
    ///
    /// # Errors
    /// Never; the signature is that of a core task.
    pub async fn follow(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let file = self.current.borrow().file.clone();
        let Some(file) = file else {
            shutdown.cancelled().await;
            return Ok(());
        };
        let files = |config: &Config| {
            let mut all = config.files.clone();
            all.push(file.clone());
            all
        };
        let mut watch = ConfigWatch::new(files(&self.current.borrow().config));
        while shutdown.run_until_cancelled(watch.changed()).await.is_some() {
            match load(Some(&file)) {
                Ok(config) => {
                    watch.follow(files(&config));
                    self.apply(config);
                }
                Err(error) => self.refuse(&error),
            }
        }
        Ok(())
    }

    /// Puts a configuration in force.
    fn apply(&self, config: Config) {
        let before = self.current.borrow().config.clone();
        if config == *before {
            self.current.send_modify(|current| current.error = None);
            return;
        }
        if config.admin.address != before.admin.address {
            warn!("admin.address takes effect after a restart");
        }
        if config.control != before.control {
            warn!("control takes effect after a restart");
        }
        if !config.xds.serves_alike(&before.xds) {
            warn!("changed bounds and times of xds take effect after a restart");
        }
        // The aggregate first: what a new registry brings is then wanted already.
        let config = Arc::new(config);
        self.merging.configure(config.clone());
        self.plan.send_replace(plan(&config, &self.stores));
        if let Some(source) = &self.source {
            source.set_cluster(config.cluster.clone());
            source.set_authorities(config.xds.authorities.iter().cloned());
        }
        self.current.send_modify(|current| {
            current.config = config;
            current.since = SystemTime::now();
            current.error = None;
        });
        info!("the changed configuration is in force");
    }

    fn refuse(&self, error: &ConfigError) {
        error!("the changed configuration cannot be used, the one before stays in force:\n{error}");
        self.current.send_modify(|current| current.error = Some(error.to_string()));
    }
}

/// Runs `work` for the configuration in force, and anew whenever what `part` takes of it
/// is another, until the shutdown. `work` goes on for ever.
pub async fn with_each<K: PartialEq, F: Future<Output = ()>>(
    mut current: watch::Receiver<Current>,
    shutdown: CancellationToken,
    part: impl Fn(&Config) -> K,
    work: impl Fn(Arc<Config>) -> F,
) {
    loop {
        let config = current.borrow_and_update().config.clone();
        let known = part(&config);
        let other = |current: &Current| part(&current.config) != known;
        let changed = async { drop(current.wait_for(other).await) };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = changed => {}
            () = work(config.clone()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "cluster: a\nregistries: [{ type: file, cluster: b, path: x }]\n";
    const SECOND: &str = "cluster: a\nregistries: [{ type: file, cluster: c, path: x }]\n";

    #[tokio::test]
    async fn a_change_takes_effect_and_a_bad_one_is_refused_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.yaml");
        std::fs::write(&file, FIRST).unwrap();
        let config = Arc::new(load(Some(&file)).unwrap());
        let followers = Followers::new(config, Some(file.clone()));
        let mut current = followers.current.subscribe();
        let plans = followers.plan.subscribe();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(followers.follow(shutdown.clone()));

        std::fs::write(&file, format!("{SECOND}colour: red\n")).unwrap();
        let refused = current.wait_for(|current| current.error.is_some()).await.unwrap();
        assert!(refused.error.as_ref().unwrap().contains("unknown setting `colour`"));
        drop(refused);
        assert!(plans.borrow().contains_key(&mainstem_model::RegistryId::from("file/b")));

        std::fs::write(&file, SECOND).unwrap();
        current.wait_for(|current| current.error.is_none()).await.unwrap();
        let ids: Vec<_> = plans.borrow().keys().map(ToString::to_string).collect();
        assert_eq!(ids, ["file/c"]);
        shutdown.cancel();
        task.await.unwrap().unwrap();
    }
}

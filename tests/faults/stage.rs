//! A control plane that follows one registry, and the Envoys that it serves.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use mainstem_test_support::{Envoy, EnvoyVersion, TIMEOUT, eventually};
use serde_json::Value;

use super::Fault;
use super::sites::{SERVICES, Site, WINDOW, address};
use crate::common::{Mainstem, throughout};

const ALL: [u8; 4] = [1, 2, 3, 4];

/// What an Envoy has: addresses, and the priority of each.
type Places = BTreeMap<String, u64>;

/// What is true while a fault lasts.
pub struct Expected {
    /// The registry's state.
    state: &'static str,
    /// Hosts of each service that are used first.
    first: Vec<u8>,
    /// Hosts that are held, one priority behind.
    held: Vec<u8>,
    /// Whether objects are rejected.
    rejects: bool,
}

impl Expected {
    /// What a fault does to a kind of registry, as docs/freshness.md says.
    pub fn of(site: &Site, fault: Fault) -> Self {
        let all = || Self { state: "live", first: ALL.into(), held: vec![], rejects: false };
        let half = || Self { first: vec![3, 4], held: vec![1, 2], ..all() };
        match (site, fault) {
            (_, Fault::HalfGone) if matches!(site, Site::Kubernetes(_)) => {
                // A watched removal is somebody's explicit act.
                Self { held: vec![], ..half() }
            }
            (_, Fault::HalfGone) => half(),
            (_, Fault::AllGone | Fault::Emptied) => {
                Self { first: vec![], held: ALL.into(), ..all() }
            }
            // The registry is there, and those who registered are silent.
            (Site::Memory(_), Fault::Stopped) => Self { first: vec![], held: ALL.into(), ..all() },
            // They are heard, but hear nothing.
            (Site::Memory(_), Fault::Cut | Fault::Slow) => all(),
            (_, Fault::Malformed) | (Site::File(_), Fault::Cut) => Self { rejects: true, ..all() },
            (_, Fault::Older) => all(),
            _ => Self { state: "stale", ..all() },
        }
    }

    fn places(&self) -> Places {
        let behind = u64::from(!self.first.is_empty());
        let of = |hosts: &[u8], priority| {
            let hosts = hosts.to_vec();
            SERVICES.into_iter().flat_map(move |service| {
                let hosts = hosts.clone();
                hosts
                    .into_iter()
                    .map(move |host| (format!("{}:8080", address(service, host)), priority))
            })
        };
        of(&self.first, 0).chain(of(&self.held, behind)).collect()
    }
}

/// See the module.
pub struct Stage {
    pub site: Site,
    pub mainstem: Mainstem,
    envoys: [Envoy; 2],
}

impl Stage {
    pub async fn set(mut site: Site) -> Self {
        site.put_all(&ALL).await;
        let mainstem = Mainstem::keeping(Ipv4Addr::LOCALHOST, &[site.config()], None).await;
        mainstem.ready().await;
        site.attach(mainstem.admin());
        let envoys = [gateway(&mainstem, "--delta").await, gateway(&mainstem, "--sotw").await];
        let stage = Self { site, mainstem, envoys };
        stage.stands("at the start").await;
        stage
    }

    /// Lets one fault come and go; with `killed`, the control plane is killed and
    /// started again meanwhile.
    pub async fn suffer(&mut self, fault: Fault, killed: bool) {
        let begun = Instant::now();
        let what = format!("{} {fault:?}{}", self.site.id(), if killed { ", killed" } else { "" });
        self.site.prepare(fault).await;
        self.mainstem.configure(&[self.site.config()]);
        if fault == Fault::Older {
            self.site.put("web", &[1, 2, 3, 4, 5]).await;
            self.shows("the newer state", |places| places.len() == 9).await;
            self.site.put("web", &ALL).await;
        }
        self.stands(&format!("{what}: before")).await;
        self.is_kept().await;
        self.outlasts_the_window(&format!("{what}: before")).await;

        self.site.inject(fault).await;
        let expected = Expected::of(&self.site, fault);
        let told = self.holds(&format!("{what}: during"), &expected).await;
        if killed {
            self.mainstem.kill_and_start().await;
            self.mainstem.ready().await;
            self.holds(&format!("{what}: after the restart"), &expected).await;
            let late = gateway(&self.mainstem, "--delta").await;
            let what = format!("{what}: an Envoy that connects late");
            self.envoy_shows(&what, &late, |places| *places == expected.places()).await;
        }

        self.site.heal(fault).await;
        self.stands(&format!("{what}: after")).await;
        self.follows(&what).await;
        let (held, stale) = (expected.held.len() * SERVICES.len(), expected.state);
        eprintln!("{what}: {stale}, {held} held, {:?}; {told}", begun.elapsed());
    }

    /// Everything is there, live and first.
    pub async fn stands(&self, what: &str) {
        let all = Expected { state: "live", first: ALL.into(), held: vec![], rejects: false };
        self.holds(what, &all).await;
    }

    /// An Envoy that connects only now gets everything, live and first.
    pub async fn a_late_proxy_has_everything(&self) {
        let late = gateway(&self.mainstem, "--delta").await;
        let places = Expected::of(&self.site, Fault::Killed).places();
        self.envoy_shows("a late Envoy", &late, |there| *there == places).await;
    }

    /// All stays as it is until the guard has forgotten what came: a loss counts net of
    /// that.
    async fn outlasts_the_window(&self, what: &str) {
        let places = Expected::of(&self.site, Fault::Killed).places();
        self.stays(what, &places, WINDOW + WINDOW / 10).await;
    }

    async fn stays(&self, what: &str, places: &Places, span: Duration) {
        throughout(span, async || {
            for envoy in &self.envoys {
                assert_eq!(placed(envoy, &self.site).await, *places, "{what}");
            }
        })
        .await;
    }

    /// Waits until all is as expected, and sees that it stays so for a moment.
    async fn holds(&self, what: &str, expected: &Expected) -> String {
        let places = expected.places();
        let said = self.registry_is(what, expected).await;
        self.shows(what, |there| *there == places).await;
        self.stays(what, &places, Duration::from_millis(300)).await;
        for envoy in &self.envoys {
            let refused = envoy.stats("update_rejected$").await;
            assert_eq!(refused.values().sum::<u64>(), 0, "{what}: {refused:?}");
        }
        said
    }

    async fn registry_is(&self, what: &str, expected: &Expected) -> String {
        let held = expected.held.len() * SERVICES.len();
        eventually(what, TIMEOUT, async || {
            let registry = self.registry().await;
            let rejects = registry["rejected"].as_array().is_some_and(|all| !all.is_empty());
            let is = (registry["state"].as_str(), registry["held"].as_u64(), rejects);
            if is == (Some(expected.state), Some(held as u64), expected.rejects) {
                Ok(registry["reason"].as_str().unwrap_or("no complaint").to_owned())
            } else {
                Err(registry.to_string())
            }
        })
        .await
    }

    pub async fn registry(&self) -> Value {
        self.mainstem.ask("/api/v1/registries").await[0].clone()
    }

    pub async fn shows(&self, what: &str, fits: impl Fn(&Places) -> bool) {
        for envoy in &self.envoys {
            self.envoy_shows(what, envoy, &fits).await;
        }
    }

    async fn envoy_shows(&self, what: &str, envoy: &Envoy, fits: impl Fn(&Places) -> bool) {
        eventually(what, TIMEOUT, async || {
            let places = placed(envoy, &self.site).await;
            if fits(&places) { Ok(()) } else { Err(format!("{places:?}")) }
        })
        .await;
    }

    /// Waits until the last good state on disk is that of now.
    pub async fn is_kept(&self) {
        if let Site::Memory(site) = &self.site {
            site.is_kept().await;
        }
        let now = SystemTime::now();
        let name = self.site.id().replace('/', "~");
        let file = self.mainstem.state_directory().join("last-good").join(name);
        eventually("the last good state is written", TIMEOUT, async || {
            let modified = std::fs::metadata(&file).and_then(|metadata| metadata.modified());
            match modified {
                Ok(at) if at >= now => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// A change arrives: the registry is followed again without help.
    pub async fn follows(&self, what: &str) {
        self.site.put("web", &[1, 2, 3, 4, 9]).await;
        let nine = format!("{}:8080", address("web", 9));
        self.shows(&format!("{what}: a change"), |places| places.contains_key(&nine)).await;
        self.site.put("web", &ALL).await;
        self.shows(&format!("{what}: its end"), |places| !places.contains_key(&nine)).await;
    }
}

async fn gateway(mainstem: &Mainstem, protocol: &str) -> Envoy {
    let id = "router~10.0.0.1~gateway.edge~edge.svc.cluster.local";
    let bootstrap = mainstem.bootstrap(&["--node", id, "--admin-port", "0", protocol]);
    let envoy = Envoy::start(&bootstrap, EnvoyVersion::DEFAULT).await;
    envoy.ready().await;
    envoy
}

/// The endpoints of both services.
async fn placed(envoy: &Envoy, site: &Site) -> Places {
    let names = SERVICES.map(|service| format!("outbound|80||{}", site.host(service)));
    let clusters = envoy.clusters().await;
    let statuses = clusters["cluster_statuses"].as_array().into_iter().flatten();
    let own = statuses.filter(|status| names.iter().any(|name| status["name"] == *name));
    let hosts = own.flat_map(|status| status["host_statuses"].as_array().into_iter().flatten());
    hosts
        .map(|host| {
            let address = &host["address"]["socket_address"];
            let place = format!(
                "{}:{}",
                address["address"].as_str().unwrap_or_default(),
                address["port_value"]
            );
            (place, host["priority"].as_u64().unwrap_or_default())
        })
        .collect()
}

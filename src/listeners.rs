//! Where proxies are served: which sockets, and what happens when the
//! configuration or certificates change.
//!
//! ```text
//!  configuration ─▶ wanted ─▶ bind what is new ─▶ end what is gone (its streams drain)
//!  certificate files ─▶ Tls::replace ─▶ from the next connection on
//! ```
//!
//! Invariants:
//! - A socket that cannot be bound, or certificates that cannot be used, keep the
//!   process from starting; later they change nothing, and are reported.
//! - A new address is listened on before the old one is left.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use mainstem_auth::Authorities;
use mainstem_xds::{Anonymous, Authenticator, Listener, Server, Tls, TlsMaterial};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::admin::Current;
use crate::authentication::Gate;
use crate::config::{Config, ConfigWatch, DomainCa, ListenAddress, TlsConfig, XdsConfig};
use crate::metrics::AuthMetrics;
use crate::supervise::panic_text;

/// A socket that the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    Plaintext(SocketAddr),
    Tls(SocketAddr),
    Unix(PathBuf, u32),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext(address) => address.fmt(f),
            Self::Tls(address) => write!(f, "{address} (TLS)"),
            Self::Unix(path, _) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Door {
    fn of(config: &XdsConfig) -> Vec<Self> {
        let plaintext = config.plaintext.then_some(Self::Plaintext(config.address.0));
        let tls = config.tls.as_ref().map(|tls| Self::Tls(tls.address.0));
        let unix = config.unix_socket.as_ref();
        let unix = unix.map(|unix| Self::Unix(unix.path.clone(), unix.mode.0));
        plaintext.into_iter().chain(tls).chain(unix).collect()
    }

    /// Whether both cannot be open at once.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one, _), Self::Unix(other, _)) => one == other,
            (Self::Unix(..), _) | (_, Self::Unix(..)) => false,
            (Self::Plaintext(one) | Self::Tls(one), Self::Plaintext(other) | Self::Tls(other)) => {
                ListenAddress(*one).collides(ListenAddress(*other))
            }
        }
    }
}

/// A door that is served.
struct Open {
    /// Where it is, with the port that was chosen if none was given.
    shown: String,
    stop: CancellationToken,
}

/// A door that is bound and not yet served.
struct Bound {
    shown: String,
    listener: Listener,
}

/// All sockets at which proxies are served.
pub struct Listeners {
    bound: Vec<(Door, Bound)>,
    open: BTreeMap<Door, Open>,
    /// Of the TLS listener, whatever its address.
    tls: Option<Arc<Tls>>,
    /// Those of `clientCas`, as they were read last.
    authorities: Authorities,
    tasks: JoinSet<Door>,
    addresses: watch::Sender<String>,
    metrics: AuthMetrics,
}

impl Listeners {
    /// Binds what the configuration asks for; nobody is served yet.
    ///
    /// # Errors
    /// When an address cannot be listened on, or certificates cannot be used.
    pub async fn bind(config: &XdsConfig) -> anyhow::Result<Self> {
        let mut listeners = Self {
            bound: Vec::new(),
            open: BTreeMap::new(),
            tls: None,
            authorities: Authorities::default(),
            tasks: JoinSet::new(),
            addresses: watch::Sender::default(),
            metrics: AuthMetrics::default(),
        };
        if let Some(tls) = &config.tls {
            let (material, authorities) = material(tls)?;
            listeners.tls = Some(Arc::new(Tls::new(&material).with_context(|| unusable(tls))?));
            listeners.authorities = authorities;
        }
        for door in Door::of(config) {
            let bound = listeners.bind_door(&door).await?;
            listeners.bound.push((door, bound));
        }
        listeners.announce();
        Ok(listeners)
    }

    /// Where proxies are served, for people.
    pub fn addresses(&self) -> watch::Receiver<String> {
        self.addresses.subscribe()
    }

    /// Counts there from now on.
    pub fn observe(&mut self, metrics: AuthMetrics) {
        self.metrics = metrics;
        if self.tls.is_some() {
            self.metrics.certificates_read(true);
        }
    }

    /// Serves, and follows the configuration and the certificates, until the
    /// shutdown; then waits for all streams to end.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn serve(
        mut self,
        server: Server,
        gate: Arc<Gate>,
        mut current: watch::Receiver<Current>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut config = current.borrow_and_update().config.clone();
        gate.trust(self.authorities.clone(), &config);
        for (door, bound) in std::mem::take(&mut self.bound) {
            self.open(door, bound, &server, &gate, &shutdown);
        }
        let mut certificates = ConfigWatch::new(files(&config.xds));
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = self.tasks.join_next() => self.ended(ended)?,
                Ok(()) = current.changed() => {
                    let next = current.borrow_and_update().config.clone();
                    gate.follow(&next);
                    if next.xds != config.xds {
                        self.follow(&next, &server, &gate, &shutdown).await;
                        certificates.follow(files(&next.xds));
                    }
                    config = next;
                }
                () = certificates.changed() => {
                    self.reload(&config, &gate);
                }
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended)?;
        }
        Ok(())
    }

    async fn bind_door(&self, door: &Door) -> anyhow::Result<Bound> {
        let listener = match (door, &self.tls) {
            (Door::Plaintext(address), _) => Listener::tcp(*address).await?,
            (Door::Tls(address), Some(tls)) => Listener::tls(*address, tls.clone()).await?,
            (Door::Tls(_), None) => unreachable!("certificates are read before"),
            (Door::Unix(path, mode), _) => Listener::unix_with_mode(path, *mode).await?,
        };
        let shown = match (door, listener.address()) {
            (Door::Plaintext(_), Ok(address)) => Door::Plaintext(address).to_string(),
            (Door::Tls(_), Ok(address)) => Door::Tls(address).to_string(),
            _ => door.to_string(),
        };
        Ok(Bound { shown, listener })
    }

    fn open(
        &mut self,
        door: Door,
        bound: Bound,
        server: &Server,
        gate: &Arc<Gate>,
        shutdown: &CancellationToken,
    ) {
        let authenticator: Arc<dyn Authenticator> = match door {
            Door::Tls(_) => gate.clone(),
            Door::Plaintext(_) | Door::Unix(..) => Arc::new(Anonymous),
        };
        let Bound { shown, listener } = bound;
        let stop = shutdown.child_token();
        let (server, stopped, name) = (server.clone(), stop.clone(), door.clone());
        self.tasks.spawn(async move {
            server.serve_authenticated(listener, authenticator, stopped).await;
            name
        });
        self.open.insert(door, Open { shown, stop });
    }

    /// A listener ended: as it was told to, or the process cannot go on.
    fn ended(&mut self, ended: Result<Door, JoinError>) -> anyhow::Result<()> {
        let door = ended.map_err(|error| anyhow!("xDS listener {}", panic_text(error)))?;
        match self.open.get(&door) {
            Some(open) if !open.stop.is_cancelled() => {
                Err(anyhow!("serving xDS on {door} ended without being asked to"))
            }
            _ => Ok(()),
        }
    }

    /// Opens what is new, then closes what is gone. What cannot be opened leaves
    /// all as it was.
    async fn follow(
        &mut self,
        config: &Config,
        server: &Server,
        gate: &Arc<Gate>,
        shutdown: &CancellationToken,
    ) {
        if !self.reload(config, gate) {
            return;
        }
        let config = &config.xds;
        let wanted = Door::of(config);
        let new: Vec<Door> =
            wanted.iter().filter(|door| !self.open.contains_key(*door)).cloned().collect();
        for door in new {
            // Where old and new cannot be open at once, the old one goes first.
            let before: Vec<Door> =
                self.open.keys().filter(|open| open.excludes(&door)).cloned().collect();
            for door in before {
                self.close(&door).await;
            }
            match self.bind_door(&door).await {
                Ok(bound) => {
                    info!(address = bound.shown, "serving xDS");
                    self.open(door, bound, server, gate, shutdown);
                }
                Err(error) => {
                    error!(error = format!("{error:#}"), "the addresses for xDS stay as they are");
                    return self.announce();
                }
            }
        }
        let gone: Vec<Door> =
            self.open.keys().filter(|door| !wanted.contains(door)).cloned().collect();
        for door in gone {
            if let Some(open) = self.open.remove(&door) {
                open.stop.cancel();
                info!(address = open.shown, "no longer serving xDS");
            }
        }
        if config.tls.is_none() {
            self.tls = None;
        }
        self.announce();
    }

    /// Closes a door and waits until its socket is free: its streams are drained.
    async fn close(&mut self, door: &Door) {
        let Some(open) = self.open.remove(door) else { return };
        open.stop.cancel();
        info!(address = open.shown, "no longer serving xDS");
        while let Some(ended) = self.tasks.join_next().await {
            if ended.is_ok_and(|ended| ended == *door) {
                return;
            }
        }
    }

    /// Reads the certificates anew; whether they can be used.
    fn reload(&mut self, config: &Config, gate: &Gate) -> bool {
        let Some(wanted) = &config.xds.tls else { return true };
        let used = material(wanted).and_then(|(material, authorities)| {
            match &self.tls {
                Some(tls) => tls.replace(&material),
                None => Tls::new(&material).map(|tls| self.tls = Some(Arc::new(tls))),
            }
            .with_context(|| unusable(wanted))?;
            self.authorities = authorities;
            Ok(())
        });
        self.metrics.certificates_read(used.is_ok());
        match used {
            Ok(()) => {
                gate.trust(self.authorities.clone(), config);
                info!(certificate = %wanted.certificate.display(), "certificates read");
                true
            }
            Err(error) => {
                error!(
                    error = format!("{error:#}"),
                    "those certificates that were read stay in use"
                );
                false
            }
        }
    }

    fn announce(&self) {
        let open = self.open.values().map(|open| &*open.shown);
        let bound = self.bound.iter().map(|(_, bound)| &*bound.shown);
        let all: Vec<&str> = open.chain(bound).collect();
        self.addresses.send_replace(all.join(", "));
    }
}

fn unusable(config: &TlsConfig) -> String {
    let TlsConfig { certificate, key, client_ca, client_cas, .. } = config;
    let one = client_ca.iter().map(|path| format!(", xds.tls.clientCa {}", path.display()));
    let further = client_cas.iter().map(|of| format!(", xds.tls.clientCas {}", of.file.display()));
    format!(
        "using xds.tls.certificate {}, xds.tls.key {}{}",
        certificate.display(),
        key.display(),
        one.chain(further).collect::<String>()
    )
}

fn files(config: &XdsConfig) -> Vec<PathBuf> {
    let Some(tls) = &config.tls else { return Vec::new() };
    let TlsConfig { certificate, key, client_ca, client_cas, .. } = tls;
    let further = client_cas.iter().map(|of| &of.file);
    [certificate, key].into_iter().chain(client_ca).chain(further).cloned().collect()
}

/// What the handshake needs, and which authorities may vouch for which trust domain.
fn material(config: &TlsConfig) -> anyhow::Result<(TlsMaterial, Authorities)> {
    let read = |name: &str, path: &Path| {
        std::fs::read(path).with_context(|| format!("reading xds.tls.{name} {}", path.display()))
    };
    let one = config.client_ca.iter().map(|path| read("clientCa", path));
    let mut all = one.collect::<anyhow::Result<Vec<_>>>()?;
    let by_domain = config
        .client_cas
        .iter()
        .map(|DomainCa { trust_domain, file }| Ok((&**trust_domain, read("clientCas", file)?)));
    let by_domain = by_domain.collect::<anyhow::Result<Vec<_>>>()?;
    let authorities = by_domain.iter().map(|(domain, pem)| (*domain, &**pem));
    let authorities = Authorities::read(authorities).context("reading xds.tls.clientCas")?;
    all.extend(by_domain.into_iter().map(|(_, pem)| pem));
    let material = TlsMaterial {
        certificates: read("certificate", &config.certificate)?,
        key: read("key", &config.key)?,
        // A file need not end with its line.
        client_authorities: all.join(&b'\n'),
        client_required: config.require_client_certificate,
    };
    Ok((material, authorities))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SocketMode, UnixSocketConfig};
    use pretty_assertions::assert_eq;

    #[test]
    fn doors_are_those_of_the_configuration() {
        let unix = UnixSocketConfig { path: "/run/xds.sock".into(), mode: SocketMode(0o660) };
        let config = XdsConfig { unix_socket: Some(unix), ..XdsConfig::default() };
        let texts: Vec<String> = Door::of(&config).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["127.0.0.1:15010", "unix:/run/xds.sock"]);
        let off = XdsConfig { plaintext: false, unix_socket: None, ..config };
        assert_eq!(Door::of(&off), []);
    }

    #[test]
    fn doors_of_one_port_or_path_exclude_each_other() {
        let tcp = |text: &str| text.parse::<SocketAddr>().unwrap();
        let plain = Door::Plaintext(tcp("0.0.0.0:15010"));
        assert!(plain.excludes(&Door::Tls(tcp("127.0.0.1:15010"))));
        assert!(!plain.excludes(&Door::Tls(tcp("127.0.0.1:15012"))));
        let unix = |mode| Door::Unix("/run/xds.sock".into(), mode);
        assert!(unix(0o600).excludes(&unix(0o660)) && !unix(0o600).excludes(&plain));
    }
}

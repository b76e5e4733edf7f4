//! A source of the Mesh Configuration Protocol: another control plane, which follows
//! files and exports them.

use std::net::Ipv4Addr;
use std::time::Duration;

use mainstem_test_support::{Fault as Network, FaultProxy};
use serde_json::{Value, json};

use super::sites::{FileSite, SERVICES};
use crate::Fault;
use crate::common::Mainstem;

/// Within the first answers.
const MIDDLE: u64 = 600;

pub struct McpSite {
    source: Mainstem,
    files: FileSite,
    proxy: FaultProxy,
}

impl McpSite {
    pub async fn start() -> Self {
        let files = FileSite::new();
        let mut registry = files.config();
        registry["rescan"] = json!("100ms");
        registry["guard"] = json!({ "mode": "off" });
        let settings = json!({ "cluster": "far" });
        let source = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &[registry], settings).await;
        let proxy = FaultProxy::start(source.xds());
        Self { source, files, proxy }
    }

    pub fn config(&self) -> Value {
        json!({
            "type": "mcp", "cluster": "far", "address": self.proxy.http_url(),
            "probeInterval": "300ms", "probeTimeout": "2s",
        })
    }

    pub fn is_named_in(&self, settings: &str) -> bool {
        settings.contains(&self.proxy.http_url())
    }

    pub fn put(&self, service: &str, hosts: &[u8]) {
        self.files.put(service, hosts);
    }

    /// At another address.
    pub fn move_on(&mut self) -> FaultProxy {
        std::mem::replace(&mut self.proxy, FaultProxy::start(self.source.xds()))
    }

    pub async fn inject(&self, fault: Fault) {
        match fault {
            Fault::Killed => self.source.process().kill9(),
            Fault::Stopped => self.source.process().pause(),
            Fault::Cut => self.proxy.set(Network::CutAfter(MIDDLE)).await,
            Fault::Slow => self.proxy.set(Network::Delay(Duration::from_secs(10))).await,
            Fault::Emptied => {
                self.source.process().kill9();
                SERVICES.iter().for_each(|service| self.files.remove(service));
                self.source.kill_and_start().await;
            }
            other => unreachable!("no source has {other:?}"),
        }
    }

    pub async fn heal(&self, fault: Fault) {
        match fault {
            Fault::Killed => self.source.process().restart(),
            Fault::Stopped => self.source.process().resume(),
            Fault::Cut | Fault::Slow => self.proxy.set(Network::None).await,
            _ => {}
        }
    }
}

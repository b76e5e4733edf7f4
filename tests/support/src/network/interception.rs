//! Traffic of a host sent through its sidecar, by iptables.

use std::net::Ipv4Addr;

use super::NetNs;

/// Marks what the sidecar sends on transparently, as Istio does.
const MARK: &str = "1337";
const ROUTE_TABLE: &str = "133";

/// Which traffic goes through the sidecar, and to which of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interception {
    /// The port for what the host sends (15001).
    pub outbound_port: u16,
    /// The port for what the host receives (15006).
    pub inbound_port: u16,
    /// The user and group id of the sidecar (1337), whose own traffic passes.
    pub sidecar: u32,
    /// Destination ports that pass, both ways: admin, xDS.
    pub excluded_ports: Vec<u16>,
    /// Destination addresses that pass: the control plane's.
    pub excluded_addresses: Vec<Ipv4Addr>,
}

impl Default for Interception {
    fn default() -> Self {
        Self {
            outbound_port: 15001,
            inbound_port: 15006,
            sidecar: 1337,
            excluded_ports: Vec::new(),
            excluded_addresses: Vec::new(),
        }
    }
}

impl NetNs {
    /// Both directions by REDIRECT: the sidecar sees its own address as the
    /// connection's destination and asks the kernel for the original one.
    pub fn redirect(&self, rules: &Interception) {
        self.redirect_outbound(rules);
        let port = rules.inbound_port.to_string();
        self.chain("nat", "MS_IN");
        self.exclude("nat", "MS_IN", rules);
        self.rule("nat", "MS_IN", &["-p", "tcp", "-j", "REDIRECT", "--to-ports", &port]);
        self.rule("nat", "PREROUTING", &["-p", "tcp", "-j", "MS_IN"]);
    }

    /// Outbound by REDIRECT, inbound by TPROXY: addresses stay as they were, for
    /// a sidecar with a transparent listener (it needs root or `CAP_NET_ADMIN`).
    pub fn tproxy(&self, rules: &Interception) {
        self.redirect_outbound(rules);
        self.route_marked_to_loopback();
        let port = rules.inbound_port.to_string();
        let mark = format!("{MARK}/0xffffffff");
        self.chain("mangle", "MS_IN");
        // What the sidecar sends on to the application is marked; keep it so.
        self.rule(
            "mangle",
            "PREROUTING",
            &["-p", "tcp", "-m", "mark", "--mark", MARK, "-j", "CONNMARK", "--save-mark"],
        );
        self.rule(
            "mangle",
            "OUTPUT",
            &["-p", "tcp", "-m", "connmark", "--mark", MARK, "-j", "CONNMARK", "--restore-mark"],
        );
        self.rule("mangle", "MS_IN", &["-p", "tcp", "-m", "mark", "--mark", MARK, "-j", "RETURN"]);
        self.rule("mangle", "MS_IN", &["-i", "lo", "-j", "RETURN"]);
        self.exclude("mangle", "MS_IN", rules);
        self.chain("mangle", "MS_DIVERT");
        self.rule("mangle", "MS_DIVERT", &["-j", "MARK", "--set-mark", MARK]);
        self.rule("mangle", "MS_DIVERT", &["-j", "ACCEPT"]);
        // Packets of connections that the sidecar has already accepted.
        self.rule(
            "mangle",
            "MS_IN",
            &["-p", "tcp", "-m", "socket", "--transparent", "-j", "MS_DIVERT"],
        );
        // Answers to what this host sent are no new connections.
        self.rule(
            "mangle",
            "MS_IN",
            &["-p", "tcp", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"],
        );
        self.rule(
            "mangle",
            "MS_IN",
            &["-p", "tcp", "-j", "TPROXY", "--tproxy-mark", &mark, "--on-port", &port],
        );
        self.rule("mangle", "PREROUTING", &["-p", "tcp", "-j", "MS_IN"]);
    }

    fn redirect_outbound(&self, rules: &Interception) {
        let port = rules.outbound_port.to_string();
        let sidecar = rules.sidecar.to_string();
        self.chain("nat", "MS_OUT");
        for owner in ["--uid-owner", "--gid-owner"] {
            self.rule("nat", "MS_OUT", &["-m", "owner", owner, &sidecar, "-j", "RETURN"]);
        }
        self.rule("nat", "MS_OUT", &["-d", "127.0.0.0/8", "-j", "RETURN"]);
        self.exclude("nat", "MS_OUT", rules);
        self.rule("nat", "MS_OUT", &["-p", "tcp", "-j", "REDIRECT", "--to-ports", &port]);
        self.rule("nat", "OUTPUT", &["-p", "tcp", "-j", "MS_OUT"]);
    }

    /// Marked packets are delivered here, whatever their destination.
    fn route_marked_to_loopback(&self) {
        let name = self.name();
        super::ip(&["-n", name, "rule", "add", "fwmark", MARK, "lookup", ROUTE_TABLE]);
        super::ip(&[
            "-n",
            name,
            "route",
            "add",
            "local",
            "0.0.0.0/0",
            "dev",
            "lo",
            "table",
            ROUTE_TABLE,
        ]);
        self.exec("sysctl", &["-qw", "net.ipv4.conf.all.rp_filter=0"]);
        self.exec("sysctl", &["-qw", "net.ipv4.conf.eth0.rp_filter=0"]);
        self.exec("sysctl", &["-qw", "net.ipv4.conf.all.route_localnet=1"]);
    }

    fn exclude(&self, table: &str, chain: &str, rules: &Interception) {
        for port in &rules.excluded_ports {
            let port = port.to_string();
            self.rule(table, chain, &["-p", "tcp", "--dport", &port, "-j", "RETURN"]);
        }
        for address in &rules.excluded_addresses {
            let address = address.to_string();
            self.rule(table, chain, &["-d", &address, "-j", "RETURN"]);
        }
    }

    fn chain(&self, table: &str, chain: &str) {
        self.exec("iptables", &["-w", "-t", table, "-N", chain]);
    }

    fn rule(&self, table: &str, chain: &str, rule: &[&str]) {
        let mut args = vec!["-w", "-t", table, "-A", chain];
        args.extend(rule);
        self.exec("iptables", &args);
    }
}

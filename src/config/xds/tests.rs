use pretty_assertions::assert_eq;
use rstest::rstest;

use crate::config::tests::load;

#[rstest]
#[case(
    "cluster: a\nxds: { address: '0.0.0.0:15010' }",
    "m.yaml:2:17: `xds.address` 0.0.0.0:15010 can be reached from other hosts",
    "xds.insecurePlaintextBeyondLoopback: true"
)]
#[case(
    "cluster: a\nxds: { plaintext: false }",
    "m.yaml:2:19: `xds.plaintext` is off, and nothing else serves proxies",
    "xds.unixSocket"
)]
#[case(
    "cluster: a\nxds: { authentication: { kubernetes: { audiences: [] } } }",
    "m.yaml:2:51: a token for no audience",
    "istio-ca"
)]
#[case(
    "cluster: a\nxds: { authentication: { operators: [alice] } }",
    "m.yaml:2:37: \"alice\" is not of the form spiffe://",
    "name the service account"
)]
#[case(
    "cluster: a\nxds: { authentication: { oidc: [{ issuer: 'http://a', audiences: [m] }] } }",
    "m.yaml:2:43: \"http://a\" is not https",
    "jwksFile"
)]
#[case(
    "cluster: a\nxds: { tls: { certificate: c, key: k, clientCa: a, clientCas: [{ trustDomain: a, file: b }] } }",
    "m.yaml:2:63: `xds.tls.clientCa` and `xds.tls.clientCas` are both given",
    "name the trust domain of each file"
)]
#[case(
    "cluster: a\nxds: { tls: { certificate: c, key: k, clientCas: [{ trustDomain: A/b, file: b }] } }",
    "m.yaml:2:66: \"A/b\" is no trust domain",
    "write what stands between"
)]
#[case(
    "cluster: a\nxds: { authorities: [a/b] }",
    "m.yaml:2:22: \"a/b\" cannot be an authority in a name",
    "write what stands between"
)]
#[case(
    "cluster: a\nxds: { maxConnectionAge: 10ms }",
    "m.yaml:2:26: `xds.maxConnectionAge` is 0.01s: clients would do nothing but connect",
    "make it 1s at least, or 0s for no end"
)]
#[case(
    "cluster: a\nxds: { keepalive: { interval: 0s } }",
    "m.yaml:2:31: `xds.keepalive.interval` is 0s",
    "make it 1s at least"
)]
#[case(
    "cluster: a\nxds: { maxStreams: 0 }",
    "m.yaml:2:20: `xds.maxStreams` is 0: no client could be served",
    "make it 1 at least"
)]
#[case(
    "cluster: a\nxds: { limits: { requestBytes: 4096, nodeBytes: 8192 } }",
    "m.yaml:2:49: `xds.limits.nodeBytes` is 8192, more than the 4096 of a request",
    "raise `xds.limits.requestBytes`"
)]
fn what_is_wrong_is_said_with_place_and_advice(
    #[case] yaml: &str,
    #[case] message: &str,
    #[case] advice: &str,
) {
    let error = load(yaml, &[]).unwrap_err();
    assert!(error.trim_start_matches("/etc/mainstem/").starts_with(message), "{error}");
    assert!(error.contains(advice), "{error}");
}

#[test]
fn authorities_that_do_not_fit_the_trust_domains_are_warned_about() {
    let warnings = |authorities: &str| {
        let yaml = format!(
            "cluster: a
mesh: {{ trustDomain: eu.test }}
xds:
  tls: {{ certificate: c, key: k, {authorities} }}
  authentication: {{ clientCertificate: {{ trustDomains: [us.test] }} }}
registries: [{{ type: file, cluster: s, path: x }}]
"
        );
        let loaded = load(&yaml, &[]).unwrap_or_else(|error| panic!("{error}"));
        let tls = loaded.config.xds.tls.unwrap();
        (loaded.warnings, tls.client_cas.into_iter().map(|of| of.file).collect::<Vec<_>>())
    };
    let (all, _) = warnings("clientCa: ca.pem");
    assert!(all[0].contains("each of the trust domains eu.test, us.test"), "{all:?}");
    let (none, files) = warnings("clientCas: [{ trustDomain: us.test, file: us.pem }]");
    let file = std::path::PathBuf::from("/etc/mainstem/us.pem");
    assert_eq!((none, files), (Vec::new(), vec![file]));
    let (unknown, _) = warnings("clientCas: [{ trustDomain: asia.test, file: a.pem }]");
    assert!(unknown[0].contains("asia.test, which is believed nowhere"), "{unknown:?}");
}

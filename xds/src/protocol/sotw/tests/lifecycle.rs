//! Times to live, errors of single resources, and what is not known yet.

use pretty_assertions::assert_eq;

use super::*;

#[test]
fn rule_13_a_matching_version_is_compared_once_everything_is_known() {
    let source = source(&CDS, &["a=1"]);
    let mut client = Sotw::new(&source);
    ask(&mut client, &CDS, &[]);
    let version = client.latest[&CDS].version_info.clone();
    let resumed = |version: &str| {
        let mut client = Sotw::new(&source);
        client.veil.draw();
        let request = want(&client, &CDS, &[]);
        let request = DiscoveryRequest { version_info: version.into(), ..request };
        assert_eq!(client.send(request), NOTHING);
        client.veil.lift();
        (client.poll(), client)
    };
    assert_eq!(resumed("other").0, ["CDS 1"]);
    let (answer, mut client) = resumed(&version);
    assert_eq!(answer, NOTHING);
    assert!(client.state.settled());
    assert_eq!(client.change(&CDS, &["b=1"]), ["CDS 1 1"]);
}

use pretty_assertions::assert_eq;

use super::*;

#[test]
fn that_nothing_is_refused_is_seen_of_every_type_that_proxies_ask_for() {
    let gauge = refused(&Clients::default());
    let zero = |label| (vec![("type", label)], 0.0);
    assert_eq!(gauge.values, ["cds", "eds", "lds", "rds"].map(zero));
}

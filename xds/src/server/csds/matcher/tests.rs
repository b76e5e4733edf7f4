#![allow(clippy::unwrap_used)]

use mainstem_proto::envoy::r#type::matcher::v3::struct_matcher::PathSegment;
use mainstem_proto::envoy::r#type::matcher::v3::value_matcher::NullMatch;
use mainstem_proto::envoy::r#type::matcher::v3::{ListMatcher, OrMatcher};
use mainstem_proto::envoy::r#type::v3::DoubleRange;
use mainstem_proto::google::protobuf::ListValue;
use pretty_assertions::assert_eq;

use super::*;

fn text(pattern: OfText) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ignore_case: false }
}

fn any_case(pattern: OfText) -> StringMatcher {
    StringMatcher { ignore_case: true, ..text(pattern) }
}

fn regex(regex: &str) -> StringMatcher {
    text(OfText::SafeRegex(RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() }))
}

fn id(matcher: StringMatcher) -> NodeMatcher {
    NodeMatcher { node_id: Some(matcher), node_metadatas: vec![] }
}

fn value(pattern: OfValue) -> ValueMatcher {
    ValueMatcher { match_pattern: Some(pattern) }
}

fn field(path: &[&str], pattern: OfValue) -> NodeMatcher {
    let key = |key: &&str| PathSegment { segment: Some(Segment::Key((*key).to_owned())) };
    let path = path.iter().map(key).collect();
    let matcher = StructMatcher { path, value: Some(value(pattern)) };
    NodeMatcher { node_id: None, node_metadatas: vec![matcher] }
}

fn is(exact: &str) -> OfValue {
    OfValue::StringMatch(text(OfText::Exact(exact.to_owned())))
}

fn of(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn object<const N: usize>(fields: [(&str, Kind); N]) -> Struct {
    let fields = fields.into_iter().map(|(key, kind)| (key.to_owned(), of(kind)));
    Struct { fields: fields.collect() }
}

/// A sidecar with metadata of every kind.
fn node() -> Node {
    let labels = object([("app", Kind::StringValue("web".into()))]);
    let zones = ["a", "b"].map(|zone| of(Kind::StringValue(zone.into())));
    let metadata = object([
        ("NAMESPACE", Kind::StringValue("shop".into())),
        ("LABELS", Kind::StructValue(labels)),
        ("ZONES", Kind::ListValue(ListValue { values: zones.into() })),
        ("WEIGHT", Kind::NumberValue(7.0)),
        ("CANARY", Kind::BoolValue(true)),
        ("NOTHING", Kind::NullValue(0)),
    ]);
    Node { id: "sidecar~Web-1.shop".to_owned(), metadata: Some(metadata), ..Node::default() }
}

fn matches(matchers: &[NodeMatcher]) -> bool {
    Nodes::read(matchers).unwrap().matches(&node())
}

/// Which of them match, for comparing many at once.
fn each<const N: usize>(matchers: [NodeMatcher; N]) -> [bool; N] {
    matchers.map(|matcher| matches(&[matcher]))
}

#[test]
fn an_id_is_matched_exactly_or_by_a_part_and_in_any_case_if_so_asked() {
    let matched = each([
        id(text(OfText::Exact("sidecar~Web-1.shop".into()))),
        id(text(OfText::Prefix("sidecar~".into()))),
        id(text(OfText::Suffix(".shop".into()))),
        id(text(OfText::Contains("Web".into()))),
        id(any_case(OfText::Contains("wEB-1".into()))),
        id(any_case(OfText::Exact("SIDECAR~web-1.SHOP".into()))),
    ]);
    assert_eq!(matched, [true; 6]);
    let matched = each([
        id(text(OfText::Exact("sidecar".into()))),
        id(text(OfText::Prefix("Web".into()))),
        id(text(OfText::Suffix("Web-1".into()))),
        id(text(OfText::Contains("web".into()))),
    ]);
    assert_eq!(matched, [false; 4]);
}

#[test]
fn a_regular_expression_matches_the_whole_id_and_case_counts() {
    let insensitive = StringMatcher { ignore_case: true, ..regex("SIDECAR.*") };
    let all = ["sidecar~.*", "a|sidecar~Web-\\d\\.shop", "Web-1", "sidecar"].map(regex);
    assert_eq!(each(all.map(id)), [true, true, false, false]);
    assert!(!matches(&[id(insensitive)]));
}

#[test]
fn metadata_is_matched_by_its_path_and_kind() {
    let range = |start, end| {
        let range = OfNumber::Range(DoubleRange { start, end });
        OfValue::DoubleMatch(DoubleMatcher { match_pattern: Some(range) })
    };
    let seven = DoubleMatcher { match_pattern: Some(OfNumber::Exact(7.0)) };
    let matched = each([
        field(&["NAMESPACE"], is("shop")),
        field(&["LABELS", "app"], is("web")),
        field(&["WEIGHT"], OfValue::DoubleMatch(seven)),
        field(&["WEIGHT"], range(7.0, 8.0)),
        field(&["CANARY"], OfValue::BoolMatch(true)),
        field(&["NOTHING"], OfValue::NullMatch(NullMatch {})),
    ]);
    assert_eq!(matched, [true; 6]);
    let matched = each([
        field(&["NAMESPACE"], is("bank")),
        field(&["LABELS"], is("web")),
        field(&["NAMESPACE", "app"], is("shop")),
        field(&["WEIGHT"], range(6.0, 7.0)),
        field(&["CANARY"], OfValue::BoolMatch(false)),
        field(&["ABSENT"], OfValue::NullMatch(NullMatch {})),
    ]);
    assert_eq!(matched, [false; 6]);
}

#[test]
fn what_is_present_is_a_value_and_no_structure() {
    let present = |key: &str, expected| field(&[key], OfValue::PresentMatch(expected));
    let matched = each([
        present("WEIGHT", true),
        present("ABSENT", false),
        present("WEIGHT", false),
        present("ABSENT", true),
        present("LABELS", true),
        present("LABELS", false),
    ]);
    assert_eq!(matched, [true, true, false, false, false, false]);
}

#[test]
fn a_list_is_matched_by_one_of_it_and_alternatives_by_any() {
    let one_of = |zone: &str| {
        let one = OfList::OneOf(Box::new(value(is(zone))));
        OfValue::ListMatch(Box::new(ListMatcher { match_pattern: Some(one) }))
    };
    let either = |values: [&str; 2]| {
        let value_matchers = values.map(|text| value(is(text))).into();
        OfValue::OrMatch(OrMatcher { value_matchers })
    };
    let matched = each([
        field(&["ZONES"], one_of("b")),
        field(&["NAMESPACE"], either(["bank", "shop"])),
        field(&["ZONES"], one_of("c")),
        field(&["NAMESPACE"], either(["bank", "inn"])),
    ]);
    assert_eq!(matched, [true, true, false, false]);
}

#[test]
fn one_matcher_means_all_that_it_says_and_several_mean_any() {
    let (shop, bank) = (field(&["NAMESPACE"], is("shop")), field(&["NAMESPACE"], is("bank")));
    let sidecar = Some(text(OfText::Prefix("sidecar~".into())));
    let both = |of: &NodeMatcher| NodeMatcher { node_id: sidecar.clone(), ..of.clone() };
    assert_eq!(each([both(&shop), both(&bank)]), [true, false]);
    assert!(matches(&[bank, shop]));
    assert!(matches(&[]));
}

#[test]
fn a_matcher_that_says_too_little_or_what_is_unknown_is_refused() {
    let refusal = |matcher: NodeMatcher| {
        let status = tonic::Status::from(Nodes::read(&[matcher]).unwrap_err());
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        status.message().lines().next().unwrap().to_owned()
    };
    let lacking = [
        id(StringMatcher::default()),
        id(text(OfText::Prefix(String::new()))),
        id(regex("")),
        field(&[], is("shop")),
        NodeMatcher { node_id: None, node_metadatas: vec![StructMatcher::default()] },
    ];
    assert_eq!(
        lacking.map(refusal),
        [
            "a matcher of nodes lacks its pattern",
            "a matcher of nodes lacks its prefix",
            "a matcher of nodes lacks its regular expression",
            "a matcher of nodes lacks its path",
            "a matcher of nodes lacks its path",
        ]
    );
    let extension = id(text(OfText::Custom(Default::default())));
    assert_eq!(refusal(extension), "a matcher of nodes has an extension, and none is known");
    assert!(refusal(id(regex("("))).starts_with("the regular expression \"(\" cannot be used: "));
    assert!(refusal(id(regex("(a{1000}){1000}"))).contains("cannot be used"));
}

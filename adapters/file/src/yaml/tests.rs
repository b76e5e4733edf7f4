#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use mainstem_model::Labels;
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;
use serde::Deserialize;

use super::*;

fn parse(text: &str) -> Result<Node, Flaw> {
    Node::parse(Document { line: 1, text })
}

fn shown(text: &str, flaw: &Flaw) -> String {
    Source { name: "a.yaml", text }.show(flaw)
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Example {
    number: u16,
    flag: bool,
    text: String,
    labels: Labels,
    list: Vec<Item>,
    maybe: Option<String>,
    word: Option<Word>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Item {
    name: String,
    #[serde(default)]
    ports: BTreeMap<String, u32>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    Healthy,
}

#[test]
fn words_keep_their_meaning() {
    let text = "text: yes\nlabels: {version: 1.10, on: off, id: 0644, big: 1e3, n: 1_000}\n\
                list: [{name: 7, ports: {http: 0x1F}}]\nmaybe: ~\nword: healthy\n";
    let read: Example = typed(&parse(text).unwrap()).unwrap();
    let expected = Example {
        text: "yes".to_owned(),
        labels: Labels::from_iter([
            ("version", "1.10"),
            ("on", "off"),
            ("id", "0644"),
            ("big", "1e3"),
            ("n", "1_000"),
        ]),
        list: vec![Item { name: "7".to_owned(), ports: [("http".to_owned(), 31)].into() }],
        word: Some(Word::Healthy),
        ..Example::default()
    };
    assert_eq!(read, expected);
}

#[rstest]
#[case(
    "number: 0644",
    "1:9: number: expected a whole number, found the text \"0644\"; \
    write 644, or 0o644 for an octal number"
)]
#[case(
    "number: '80'",
    "1:9: number: expected a whole number, found the text \"80\"; write it without quotes"
)]
#[case("number: 70000", "1:9: number: invalid value: integer `70000`, expected u16")]
#[case("number: -1", "1:9: number: invalid value: integer `-1`, expected u16")]
#[case("number: 1.5", "1:9: number: expected a whole number, found `1.5`")]
#[case(
    "number: 99999999999999999999999",
    "1:9: number: expected a whole number, found `99999999999999999999999`"
)]
#[case("flag: yes", "1:7: flag: expected true or false, found the text \"yes\"")]
#[case("text: [a]", "1:7: text: expected a text, found a list")]
#[case("labels: {a: {}}", "1:13: labels.a: expected a text, found a mapping")]
#[case("labels: {a: }", "1:11: labels.a: expected a text, found nothing")]
#[case("list:\n- name: x\n- ports: {}\n", "3:3: list[1]: missing field `name`")]
#[case(
    "list:\n- name: x\n  prots: {}\n",
    "3:3: list[0]: unknown field \"prots\"; did you mean \"ports\"?"
)]
#[case(
    "colour: red",
    "1:1: unknown field \"colour\"; there are: number, flag, text, labels, list, maybe, word"
)]
#[case("word: hale", "1:7: word: unknown variant `hale`, expected `healthy`")]
#[case("- a", "1:1: expected a mapping, found a list")]
fn what_does_not_fit_is_named_with_its_place(#[case] text: &str, #[case] expected: &str) {
    let flaw = typed::<Example>(&parse(text).unwrap()).unwrap_err();
    let first = shown(text, &flaw).lines().next().unwrap().to_owned();
    assert_eq!(first, format!("a.yaml:{expected}"));
}

#[rstest]
#[case("a: 1\nb:\n  c: 2\n  c: 3\n", "4:3: the key \"c\" stands here twice; keep one")]
#[case("a: [1, 2\n", "1:4: unclosed bracket '['")]
#[case("a: b\n c: d\n", "2:3: mapping values are not allowed in this context")]
#[case("a: !secret x\n", "1:12: unsupported tag `!secret`")]
fn what_is_no_yaml_is_named_with_its_place(#[case] text: &str, #[case] expected: &str) {
    let first = shown(text, &parse(text).unwrap_err()).lines().next().unwrap().to_owned();
    assert_eq!(first, format!("a.yaml:{expected}"));
}

#[test]
fn a_flaw_shows_its_line_and_points() {
    let text = "text: a\nnumber: eighty\n";
    let flaw = typed::<Example>(&parse(text).unwrap()).unwrap_err();
    assert_eq!(
        shown(text, &flaw),
        "a.yaml:2:9: number: expected a whole number, found the text \"eighty\"\n\
         \x20 |\n\
         2 | number: eighty\n\
         \x20 |         ^"
    );
}

#[test]
fn places_within_an_alias_are_where_it_is_used() {
    let text = "defaults: &d {http: bad}\nlist:\n- name: x\n  ports: *d\n";
    let node = parse(text).unwrap();
    let flaw = typed::<Vec<Item>>(node.get("list").unwrap()).unwrap_err();
    assert_eq!((flaw.place.line, flaw.field.to_string()), (4, "[0].ports.http".to_owned()));
}

#[test]
fn merge_keys_add_what_is_not_there() {
    let text = "base: &b {version: 1.10, app: x}\nlabels:\n  <<: *b\n  app: y\n";
    let node = parse(text).unwrap();
    let labels: Labels = typed(node.get("labels").unwrap()).unwrap();
    assert_eq!(labels, Labels::from_iter([("app", "y"), ("version", "1.10")]));
}

#[test]
fn alias_bombs_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(parse(&text).is_err());
}

#[test]
fn deep_nesting_is_refused() {
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&"- ".repeat(100_000)).is_err());
}

#[test]
fn a_file_is_split_at_its_markers() {
    let text =
        "# head\n---\na: 1\n--- # two\nb: |\n  text\n---\n...\n%YAML 1.2\n---\nc: 1\n... \nd: 1";
    let split: Vec<(u32, &str)> =
        documents(text).map(|document| (document.line, document.text)).collect();
    assert_eq!(
        split,
        [(2, "---\na: 1\n"), (4, "--- # two\nb: |\n  text\n"), (10, "---\nc: 1\n"), (13, "d: 1")]
    );
    assert_eq!(documents("\u{feff}# nothing\r\n---\r\n").count(), 0);
}

#[test]
fn a_later_document_counts_lines_of_the_file() {
    let text = "a: 1\n---\n\nb: 1\nb: 2\n";
    let document = documents(text).nth(1).unwrap();
    assert_eq!(Node::parse(document).unwrap_err().place, Place { line: 5, column: 1 });
}

#[test]
fn json_is_read_with_places_too() {
    let text = "{\n\t\"number\": 80,\n\t\"text\": \"a\\u00e9\", \"flag\": \"x\"\n}";
    let flaw = typed::<Example>(&parse(text).unwrap()).unwrap_err();
    assert_eq!(
        (flaw.place, flaw.field.to_string()),
        (Place { line: 3, column: 29 }, "flag".into())
    );
}

#[test]
fn the_digest_follows_content_and_not_places() {
    let digest = |text: &str| parse(text).unwrap().digest("");
    assert_eq!(digest("a: {b: 1}\nc: x"), digest("# comment\na:\n  b: 1\n\nc: x"));
    assert_ne!(digest("a: 1"), digest("a: '1'"));
    assert_ne!(digest("a: [b, c]"), digest("a: [bc]"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        for document in documents(&text) {
            match Node::parse(document) {
                Ok(node) => drop(typed::<Example>(&node)),
                Err(flaw) => prop_assert!(shown(&text, &flaw).starts_with("a.yaml:")),
            }
        }
    }

    #[test]
    fn no_yaml_like_text_panics(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "a", ": ", "- ", "\n", "\n  ", "---\n", "...\n", "[", "]", "{", "}", "&x ", "*x",
                "!t ", "\"", "'", "|\n", "#", "%", "~", "1", "<<: ", "\t", "é",
            ]),
            0..60,
        )
    ) {
        let text = words.concat();
        for document in documents(&text) {
            match Node::parse(document) {
                Ok(node) => drop(typed::<Example>(&node)),
                Err(flaw) => prop_assert!(!shown(&text, &flaw).is_empty()),
            }
        }
    }
}

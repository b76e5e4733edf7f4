//! A configuration document as a tree whose every node knows where it stands.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Where a setting was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In a file; line and column count from 1.
    File {
        /// Which of the files read: 0 is the configuration file itself.
        document: usize,
        /// The line.
        line: u64,
        /// The column, in characters.
        column: u64,
    },
    /// In this environment variable.
    Environment(Arc<str>),
    /// Nowhere in particular.
    #[default]
    Unknown,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        match (location.line(), location.column()) {
            (0, _) => Self::Unknown,
            (line, column) => Self::File { document: 0, line, column },
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// The value.
    pub tree: Tree,
}

/// A key of a mapping and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub place: Place,
    /// Its text.
    pub name: Arc<str>,
}

/// A value of any shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer of either sign.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order written.
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// A node at a place.
    pub fn new(place: Place, tree: Tree) -> Self {
        Self { place, tree }
    }

    /// An empty mapping at a place.
    pub fn empty_map(place: Place) -> Self {
        Self::new(place, Tree::Map(Vec::new()))
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.tree {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let Tree::Map(entries) = &self.tree else { return None };
        entries.iter().find(|(key, _)| &*key.name == name).map(|(_, node)| node)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        let Tree::Map(entries) = &mut self.tree else { return None };
        entries.iter_mut().find(|(key, _)| &*key.name == name).map(|(_, node)| node)
    }

    /// The value of a key, put there as nothing if need be. A node that is no
    /// mapping becomes one.
    pub fn entry(&mut self, name: &str, place: &Place) -> &mut Node {
        if !matches!(self.tree, Tree::Map(_)) {
            self.tree = Tree::Map(Vec::new());
        }
        let Tree::Map(entries) = &mut self.tree else { unreachable!("made a mapping above") };
        let at = entries.iter().position(|(key, _)| &*key.name == name).unwrap_or_else(|| {
            let key = Key { place: place.clone(), name: name.into() };
            entries.push((key, Node::new(place.clone(), Tree::Null)));
            entries.len() - 1
        });
        &mut entries[at].1
    }

    /// Takes a key and its value out of a mapping.
    pub fn take(&mut self, name: &str) -> Option<Node> {
        let Tree::Map(entries) = &mut self.tree else { return None };
        let at = entries.iter().position(|(key, _)| &*key.name == name)?;
        Some(entries.remove(at).1)
    }

    /// Moves every place in it to where `to` says.
    pub fn relocate(&mut self, to: &impl Fn(&Place) -> Place) {
        self.place = to(&self.place);
        match &mut self.tree {
            Tree::List(items) => items.iter_mut().for_each(|item| item.relocate(to)),
            Tree::Map(entries) => entries.iter_mut().for_each(|(key, node)| {
                key.place = to(&key.place);
                node.relocate(to);
            }),
            _ => {}
        }
    }

    /// Lays `over` on top: mappings are laid key by key, anything else replaces.
    pub fn overlay(&mut self, over: Node) {
        match over.tree {
            Tree::Map(entries) if matches!(self.tree, Tree::Map(_)) => {
                for (key, node) in entries {
                    self.entry(&key.name, &key.place).overlay(node);
                }
            }
            _ => *self = over,
        }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self.tree {
            Tree::Null => "nothing",
            Tree::Bool(_) => "true or false",
            Tree::Integer(_) | Tree::Float(_) => "a number",
            Tree::Text(_) => "text",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self::new(spanned.referenced.into(), spanned.value))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Integer(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key { place: key.referenced.into(), name: key.value.into() };
            entries.push((key, map.next_value()?));
        }
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u64, column: u64) -> Place {
        Place::File { document: 0, line, column }
    }

    #[test]
    fn what_is_laid_over_wins_key_by_key() {
        let mut node: Node = serde_saphyr::from_str("a: { b: 1, c: [1, 2] }\nd: x\n").unwrap();
        node.overlay(serde_saphyr::from_str("a: { c: [3], e: 4 }\n").unwrap());
        let mut expected: Node =
            serde_saphyr::from_str("a: { b: 1, c: [3], e: 4 }\nd: x\n").unwrap();
        for node in [&mut node, &mut expected] {
            node.relocate(&|_| Place::Unknown);
        }
        assert_eq!(node, expected);
    }

    #[test]
    fn every_key_and_value_knows_where_it_stands() {
        let root: Node = serde_saphyr::from_str("a: 1\nb:\n  - { c: ~/x, d: 10s }\n").unwrap();
        let list = root.get("b").unwrap();
        let Tree::List(items) = &list.tree else { panic!("{list:?}") };
        let Tree::Map(entries) = &items[0].tree else { panic!("{items:?}") };
        let found: Vec<_> = entries
            .iter()
            .map(|(key, node)| (&*key.name, key.place.clone(), node.text(), node.place.clone()))
            .collect();
        assert_eq!(
            found,
            [
                ("c", place(3, 7), Some("~/x"), place(3, 10)),
                ("d", place(3, 15), Some("10s"), place(3, 18)),
            ]
        );
        assert_eq!(root.get("a"), Some(&Node::new(place(1, 4), Tree::Integer(1))));
    }
}

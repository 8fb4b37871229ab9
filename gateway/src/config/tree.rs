//! A configuration document as a tree that remembers where everything was written.
//!
//! Every format is read into this tree, so that one checker serves JSON, YAML and TOML, and every finding can name a line.
//! The tree holds secrets in clear: it has no `Debug`, lives only while a file is being read, and never leaves `config`.

use serde_json::{Map, Value};

/// A position in a file: line and column count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// A value and where it starts.
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Leaf(Value),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// One key of a map. `key` is the documented name; `written` is what the file says, which may be a former name.
pub(super) struct Member {
    pub(super) key: String,
    pub(super) written: String,
    pub(super) at: Place,
    pub(super) node: Node,
}

/// Where a JSON pointer leads in the file, and how the file spells it.
pub(super) struct Spot {
    pub(super) written: String,
    pub(super) place: Place,
}

/// Translates byte offsets to places.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

/// Appends one segment to a JSON pointer (RFC 6901).
pub(super) fn push(pointer: &str, segment: impl std::fmt::Display) -> String {
    format!("{pointer}/{}", segment.to_string().replace('~', "~0").replace('/', "~1"))
}

/// Reads one segment of a JSON pointer.
pub(super) fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

// === impl Node ===

impl Node {
    /// The plain value; of a key written twice the first counts.
    pub(super) fn value(&self) -> Value {
        match &self.kind {
            Kind::Leaf(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Kind::Map(members) => {
                let mut map = Map::new();
                for member in members {
                    map.entry(member.key.clone()).or_insert_with(|| member.node.value());
                }
                Value::Object(map)
            }
        }
    }

    /// Finds what a pointer (in documented names) points at. A pointer that leads further than the file does ends at the
    /// deepest thing that exists.
    pub(super) fn spot(&self, pointer: &str) -> Spot {
        let mut spot = Spot { written: String::new(), place: self.at };
        let mut here = Some(self);
        for segment in pointer.split('/').skip(1) {
            let segment = unescape(segment);
            let (written, place, next) = match here.map(|node| &node.kind) {
                Some(Kind::Map(members)) => match members.iter().find(|member| member.key == segment) {
                    Some(member) => (member.written.clone(), member.place(), Some(&member.node)),
                    None => (segment, spot.place, None),
                },
                Some(Kind::List(items)) => {
                    let item = segment.parse().ok().and_then(|index: usize| items.get(index));
                    (segment, item.map_or(spot.place, |item| item.at), item)
                }
                _ => (segment, spot.place, None),
            };
            spot = Spot { written: push(&spot.written, written), place };
            here = next;
        }
        spot
    }

    /// The node that a pointer (in documented names) leads to.
    pub(super) fn find(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |here, segment| {
            let segment = unescape(segment);
            match &here.kind {
                Kind::Map(members) => members.iter().find(|member| member.key == segment).map(|member| &member.node),
                Kind::List(items) => segment.parse().ok().and_then(|index: usize| items.get(index)),
                Kind::Leaf(_) => None,
            }
        })
    }

    /// The members of a map; nothing else has any.
    pub(super) fn members(&self) -> &[Member] {
        if let Kind::Map(members) = &self.kind { members } else { &[] }
    }
}

// === impl Member ===

impl Member {
    pub(super) fn new(key: String, at: Place, node: Node) -> Self {
        Self { written: key.clone(), key, at, node }
    }

    /// A scalar is best shown at its value, a section at its name.
    fn place(&self) -> Place {
        if matches!(self.node.kind, Kind::Leaf(_)) { self.node.at } else { self.at }
    }
}

// === impl Lines ===

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        Place { line, column: column + 1 }
    }
}

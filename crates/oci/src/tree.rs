//! The tree that layers make: which entry of which layer each name leads to.

use std::collections::BTreeMap;
use std::ops::Bound;

/// An entry of a layer: the layer's number, its place in it, and how many bytes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) layer: u32,
    pub(crate) entry: u32,
    pub(crate) size: u64,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory, with its permissions and its time.
    Directory { mode: u32, time: u64 },
    /// Anything else: the entry that has its content. Hard links have that of their file.
    Other(Origin),
}

/// Names are bytes, without a slash at either end; the root is the empty name.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<Vec<u8>, (u32, Node)>,
}

/// What marks a name as removed, and a directory as new (image-spec, layer.md).
const REMOVED: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Permissions of a directory that a layer has things in and does not name.
const UNNAMED: u32 = 0o755;

impl Tree {
    /// Takes in a name of a layer; `node` is what is there. Whiteouts act on lower layers only.
    pub(crate) fn insert(&mut self, layer: u32, name: Vec<u8>, node: Node) {
        let (parent, last) = split(&name);
        if last == OPAQUE {
            self.remove_below(parent, layer);
            return;
        }
        if let Some(removed) = last.strip_prefix(REMOVED) {
            let removed = join(parent, removed);
            self.remove(&removed, layer);
            return;
        }
        self.make_parents(layer, parent);
        if !matches!(node, Node::Directory { .. }) {
            self.remove_below(&name, u32::MAX);
        }
        self.nodes.insert(name, (layer, node));
    }

    /// What a name leads to.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Node> {
        self.nodes.get(name).map(|(_, node)| node)
    }

    /// All names and what they lead to, parents before what is in them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        let nodes = self.nodes.iter();
        nodes.map(|(name, (_, node))| (name.as_slice(), node))
    }

    /// What is a name's parent is a directory, whatever a lower layer had there: a link, for one.
    fn make_parents(&mut self, layer: u32, parent: &[u8]) {
        if matches!(self.get(parent), Some(Node::Directory { .. })) {
            return;
        }
        if !parent.is_empty() {
            self.make_parents(layer, split(parent).0);
        }
        let directory = Node::Directory {
            mode: UNNAMED,
            time: 0,
        };
        self.nodes.insert(parent.to_owned(), (layer, directory));
    }

    fn remove(&mut self, name: &[u8], layer: u32) {
        self.remove_below(name, layer);
        if self.nodes.get(name).is_some_and(|(of, _)| *of < layer) {
            self.nodes.remove(name);
        }
    }

    /// Removes what lower layers have in a directory.
    fn remove_below(&mut self, name: &[u8], layer: u32) {
        // Names in a directory lie between it with a slash, and it with what comes after a slash.
        let range = if name.is_empty() {
            (Bound::Excluded(Vec::new()), Bound::Unbounded)
        } else {
            let (mut from, mut to) = (name.to_owned(), name.to_owned());
            from.push(b'/');
            to.push(b'/' + 1);
            (Bound::Included(from), Bound::Excluded(to))
        };
        let gone: Vec<Vec<u8>> = self
            .nodes
            .range(range)
            .filter(|(_, (of, _))| *of < layer)
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.nodes.remove(&name);
        }
    }
}

fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (
            name.get(..slash).unwrap_or_default(),
            name.get(slash + 1..).unwrap_or_default(),
        ),
        None => (&[], name),
    }
}

fn join(parent: &[u8], last: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return last.to_owned();
    }
    [parent, b"/", last].concat()
}

/// The longest path that Linux takes (PATH_MAX, limits.h).
const LONGEST: usize = 4096;

/// The name of an entry, or `None` for one that would lead out of the tree, or anywhere at all.
pub(crate) fn name(path: &[u8]) -> Option<Vec<u8>> {
    if path.len() > LONGEST {
        return None;
    }
    let mut name = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part if part.contains(&0) => return None,
            part => name = join(&name, part),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: Node = Node::Directory {
        mode: 0o700,
        time: 1,
    };

    fn file(layer: u32, entry: u32) -> Node {
        Node::Other(Origin {
            layer,
            entry,
            size: 0,
        })
    }

    fn names(tree: &Tree) -> Vec<String> {
        tree.iter()
            .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    fn tree(entries: &[(u32, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (number, (layer, name)) in entries.iter().enumerate() {
            let node = match name.strip_suffix('/') {
                Some(_) => DIRECTORY,
                None => file(*layer, u32::try_from(number).unwrap()),
            };
            tree.insert(*layer, super::name(name.as_bytes()).unwrap(), node);
        }
        tree
    }

    #[test]
    fn whiteouts_act_on_lower_layers() {
        let tree = tree(&[
            (0, "a/"),
            (0, "a/x"),
            (0, "a/y/z"),
            (0, "a-b"),
            (1, "a/new"),
            (1, "a/.wh.x"),
            (1, "a/.wh.y"),
            (1, "a/.wh.new"),
        ]);
        assert_eq!(names(&tree), ["", "a", "a-b", "a/new"]);
    }

    #[test]
    fn an_opaque_directory_begins_anew() {
        let tree = tree(&[
            (0, "a/x"),
            (0, "ab"),
            (1, "a/y"),
            (1, "a/.wh..wh..opq"),
            (1, "a/z"),
        ]);
        assert_eq!(names(&tree), ["", "a", "a/y", "a/z", "ab"]);
    }

    #[test]
    fn what_is_no_directory_gives_way_to_one_and_takes_the_place_of_one() {
        // A link to /etc in the first layer is no way to /etc for the second.
        let link = tree(&[(0, "a"), (1, "a/passwd")]);
        assert!(matches!(link.get(b"a"), Some(Node::Directory { .. })));
        let file = tree(&[(0, "a/x"), (0, "a/y/z"), (1, "a")]);
        assert_eq!(names(&file), ["", "a"]);
    }

    #[test]
    fn names_lead_nowhere_else() {
        assert_eq!(name(b"./a//b/").unwrap(), b"a/b");
        assert_eq!(name(b"/etc/passwd").unwrap(), b"etc/passwd");
        assert_eq!(name(b"./").unwrap(), b"");
        assert_eq!(name(b"a\n\xff").unwrap(), b"a\n\xff");
        for out in [&b"../a"[..], b"a/../../b", b"..", b"a/.."] {
            assert_eq!(name(out), None);
        }
    }
}

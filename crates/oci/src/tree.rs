//! The merged tree of the layers: for each name, the entry and the layer that it comes from.

use std::collections::BTreeMap;
use std::ops::Bound;

/// An entry of a layer: the layer's number, the entry's number in the layer, and its size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) layer: u32,
    pub(crate) entry: u32,
    pub(crate) size: u64,
}

/// The object that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory, with its permissions, its modification time and its owner.
    Directory {
        mode: u32,
        time: u64,
        owner: (u64, u64),
    },
    /// A symbolic link.
    Link(Box<Link>),
    /// Anything else: the entry that has its content. A hard link has the entry of its file.
    Other(Origin),
}

/// A symbolic link: its entry and its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) origin: Origin,
    pub(crate) target: Box<[u8]>,
}

impl Node {
    /// Returns the entry that has the content. A directory has none.
    pub(crate) fn origin(&self) -> Option<Origin> {
        match self {
            Self::Directory { .. } => None,
            Self::Link(link) => Some(link.origin),
            Self::Other(origin) => Some(*origin),
        }
    }
}

/// The merged tree. Names are bytes without a slash at either end; the root is the empty name.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<Vec<u8>, (u32, Node)>,
    spent: Spent,
}

/// The cost of the tree so far. Names that were removed later still count.
#[derive(Debug, Default)]
struct Spent {
    /// Bytes of names and of link targets.
    names: u64,
    /// Bytes of the names of implied directories: no layer has an entry for them, so they cost a
    /// layer nothing.
    unnamed: u64,
    /// Number of nodes that were visited for removals.
    looks: u64,
}

/// Largest total size of names and link targets, in bytes: enough for ten million files with names
/// of usual length.
const NAMES: u64 = 512 << 20;
/// Largest total size of the names of implied directories, in bytes. Most images have none.
const UNNAMED_NAMES: u64 = 32 << 20;
/// Largest number of nodes that may be visited for removals. Only a hostile image makes a large
/// directory anew a thousand times.
const LOOKS: u64 = 100_000_000;

/// Adds a cost to a sum, and fails when the sum exceeds its limit.
fn spend(spent: &mut u64, cost: usize, most: u64, what: &str) -> Result<(), String> {
    *spent = spent.saturating_add(cost as u64);
    match *spent <= most {
        true => Ok(()),
        false => Err(what.to_owned()),
    }
}

/// The prefix that removes a name, and the name that makes a directory opaque (image-spec,
/// layer.md).
const REMOVED: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Permissions of an implied directory: one that has no entry in a layer, but has files in it.
const UNNAMED: u32 = 0o755;

impl Tree {
    /// Adds a name of a layer. A whiteout affects lower layers only.
    ///
    /// # Errors
    ///
    /// Returns a message that names the exceeded limit.
    pub(crate) fn insert(&mut self, layer: u32, name: Vec<u8>, node: Node) -> Result<(), String> {
        let what = "the names and links take more than 512 MiB";
        let target = match &node {
            Node::Link(link) => link.target.len(),
            _ => 0,
        };
        spend(&mut self.spent.names, name.len() + target, NAMES, what)?;
        let (parent, last) = split(&name);
        if last == OPAQUE {
            return self.remove_below(parent, layer);
        }
        if let Some(removed) = last.strip_prefix(REMOVED) {
            let removed = join(parent, removed);
            return self.remove(&removed, layer);
        }
        self.make_parents(layer, parent)?;
        if !matches!(node, Node::Directory { .. }) {
            self.remove_below(&name, u32::MAX)?;
        }
        self.nodes.insert(name, (layer, node));
        Ok(())
    }

    /// Returns the node of a name.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Node> {
        self.nodes.get(name).map(|(_, node)| node)
    }

    /// Returns the node of a name, and the last layer that had the name.
    pub(crate) fn get_with_layer(&self, name: &[u8]) -> Option<(u32, &Node)> {
        self.nodes.get(name).map(|(layer, node)| (*layer, node))
    }

    /// Returns all names and nodes, a directory before its contents.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        let nodes = self.nodes.iter();
        nodes.map(|(name, (_, node))| (name.as_slice(), node))
    }

    /// Makes every parent of a name a directory. It replaces a link or a file of a lower layer.
    fn make_parents(&mut self, layer: u32, parent: &[u8]) -> Result<(), String> {
        let mut parent = parent;
        while !matches!(self.get(parent), Some(Node::Directory { .. })) {
            let what = "directories that it has files in and does not name take more than 32 MiB";
            let cost = parent.len().max(1);
            spend(&mut self.spent.unnamed, cost, UNNAMED_NAMES, what)?;
            let directory = Node::Directory {
                mode: UNNAMED,
                time: 0,
                owner: (0, 0),
            };
            self.nodes.insert(parent.to_owned(), (layer, directory));
            parent = split(parent).0;
        }
        Ok(())
    }

    fn remove(&mut self, name: &[u8], layer: u32) -> Result<(), String> {
        self.remove_below(name, layer)?;
        if self.nodes.get(name).is_some_and(|(of, _)| *of < layer) {
            self.nodes.remove(name);
        }
        Ok(())
    }

    /// Removes the contents that a directory has from lower layers.
    fn remove_below(&mut self, name: &[u8], layer: u32) -> Result<(), String> {
        // The names in a directory sort between its own name with a slash and its own name with the
        // byte after a slash.
        let range = if name.is_empty() {
            (Bound::Excluded(Vec::new()), Bound::Unbounded)
        } else {
            let (mut from, mut to) = (name.to_owned(), name.to_owned());
            from.push(b'/');
            to.push(b'/' + 1);
            (Bound::Included(from), Bound::Excluded(to))
        };
        let mut gone: Vec<Vec<u8>> = Vec::new();
        for (name, (of, _)) in self.nodes.range(range) {
            let what = "it removes directories with too many files too often";
            spend(&mut self.spent.looks, 1, LOOKS, what)?;
            if *of < layer {
                gone.push(name.clone());
            }
        }
        for name in gone {
            self.nodes.remove(&name);
        }
        Ok(())
    }
}

/// Returns the parent directory of a name. The root is its own parent.
pub(crate) fn parent(name: &[u8]) -> &[u8] {
    split(name).0
}

/// Changes a name to its parent. The root stays as it is.
pub(crate) fn pop(name: &mut Vec<u8>) {
    name.truncate(parent(name).len());
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

/// Longest path that Linux accepts, in bytes (PATH_MAX, limits.h).
const LONGEST: usize = 4096;

/// Deepest nesting of directories. Each parent of a name is created, even if the layer has no entry
/// for it.
const DEEPEST: usize = 256;

/// Returns the normalised name of an entry.
///
/// # Errors
///
/// Returns a message for a name that leaves the tree, or is invalid.
pub(crate) fn name(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    if path.len() > LONGEST {
        return Err("has a name of more than 4096 bytes");
    }
    let mut name = Vec::with_capacity(path.len());
    let mut depth = 0;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." if depth == 0 => return Err("leads out of the image"),
            // `..` is resolved without regard to symbolic links, as in podman and docker.
            b".." => {
                pop(&mut name);
                depth -= 1;
                continue;
            }
            part if part.contains(&0) => return Err("has a name with a zero byte"),
            _ => {}
        }
        if depth > 0 {
            name.push(b'/');
        }
        name.extend(part);
        depth += 1;
    }
    match depth > DEEPEST {
        true => Err("lies in more than 256 directories"),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: Node = Node::Directory {
        mode: 0o700,
        time: 1,
        owner: (0, 0),
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
            let name = super::name(name.as_bytes()).unwrap();
            tree.insert(*layer, name, node).unwrap();
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
        // A link to /etc in the first layer must not lead the second layer to /etc.
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
        for out in [&b"../a"[..], b"a/../../b", b".."] {
            assert_eq!(name(out), Err("leads out of the image"));
        }
    }

    #[test]
    fn what_no_layer_names_has_an_end() {
        let deep = |number: usize| format!("{number:04}/{}x", "d/".repeat(200)).into_bytes();
        assert!(name(&deep(0)).is_ok());
        assert!(name("d/".repeat(257).as_bytes()).is_err());
        let mut tree = Tree::default();
        let refused = (0..10_000).find_map(|number| {
            let name = name(&deep(number)).unwrap();
            tree.insert(0, name, file(0, 0)).err()
        });
        assert!(refused.unwrap().contains("does not name"));
        assert!(tree.spent.unnamed <= UNNAMED_NAMES + 4096);
    }

    #[test]
    fn removing_has_an_end() {
        let mut tree = tree(&[]);
        for number in 0..1000 {
            let name = format!("a/{number}").into_bytes();
            tree.insert(0, name, file(0, 0)).unwrap();
        }
        tree.spent.looks = LOOKS - 5000;
        let opaque = || b"a/.wh..wh..opq".to_vec();
        let refused = (0..9).find_map(|_| tree.insert(0, opaque(), file(0, 0)).err());
        assert!(refused.unwrap().contains("too often"));
    }
}

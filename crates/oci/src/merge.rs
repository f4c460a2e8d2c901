//! From layers to one tree: which entries stay, and what they are called.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read};

use tar::EntryType;

use crate::blob::Blobs;
use crate::metered::Metered;
use crate::sparse::Sparse;
use crate::tree::{Link, Node, Origin, Tree, name, parent};
use crate::{Error, Image};

/// The largest file: a sparse one takes no room in a layer, and has to be read to its end.
const LARGEST: u64 = 1 << 40;

/// An image's layers as one tree.
#[derive(Debug)]
pub struct Merged {
    pub(crate) tree: Tree,
    /// How many entries there were so far.
    entries: u64,
    /// The first device that was left out, and how many were.
    device: Option<String>,
    devices: u64,
}

/// Where a path of an image leads: the links to its directory are followed, itself is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path without links, without a slash at its start.
    pub name: String,
    /// Whether something is there.
    pub is_there: bool,
}

/// The most entries: each takes some hundred bytes of memory.
const MOST: u64 = 10_000_000;
/// The beginning of a name, for people.
fn shown(name: &[u8]) -> String {
    const SHOWN: usize = 100;
    match name.get(..SHOWN) {
        Some(beginning) if name.len() > SHOWN => {
            format!("{}…", String::from_utf8_lossy(beginning))
        }
        _ => String::from_utf8_lossy(name).into_owned(),
    }
}

impl Merged {
    /// Reads the layers of an image.
    ///
    /// # Errors
    ///
    /// Fails when a layer cannot be read, is another than its digest says, or leads out of the tree.
    pub fn new(image: &Image, blobs: &dyn Blobs) -> Result<Self, Error> {
        let mut merged = Self {
            tree: Tree::default(),
            entries: 0,
            device: None,
            devices: 0,
        };
        for (number, layer) in (0..).zip(&image.layers) {
            let told = layer.digest.to_string();
            merged.take(number, &told, layer.open(blobs)?)?;
        }
        Ok(merged)
    }

    /// Returns where a path leads, `None` for one through a file or a loop of links. Paths begin without a slash.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<Place> {
        let place = self.tree.follow(path.as_bytes().to_vec()).ok()?;
        let mut above = parent(&place);
        while !above.is_empty() {
            if self
                .tree
                .get(above)
                .is_some_and(|node| node.origin().is_some())
            {
                return None;
            }
            above = parent(above);
        }
        let is_there = self.tree.get(&place).is_some();
        let name = String::from_utf8(place).ok()?;
        Some(Place { name, is_there })
    }

    /// Puts a layer of our own on top, a tar.
    ///
    /// # Errors
    ///
    /// Fails when it is none.
    pub fn put_on_top(&mut self, image: &Image, ours: &[u8]) -> Result<(), Error> {
        let last = u32::try_from(image.layers.len()).unwrap_or(u32::MAX);
        self.take(last, "our own", ours)
    }

    fn take(&mut self, layer: u32, told: &str, content: impl Read) -> Result<(), Error> {
        let failed = |reason: String| Error::Layer {
            layer: told.to_owned(),
            reason,
        };
        let (metered, meter) = Metered::new(content);
        let mut archive = tar::Archive::new(metered);
        let mut entries = archive
            .entries()
            .map_err(|error| failed(sys::words(&error)))?;
        let (mut behind, mut end) = (0, u64::MAX);
        for number in 0.. {
            // A name of gigabytes would be read into memory before anybody sees how long it is. What is left
            // of the entry before is passed over.
            meter.allow_headers(behind);
            let mut entry = match entries.next() {
                None => break,
                // The last file is there, and nothing fills its block up: what umoci inserts is like that.
                Some(Err(_)) if meter.count() == end => break,
                Some(entry) => entry.map_err(|error| failed(sys::words(&error)))?,
            };
            behind = match entry.header().entry_type() {
                EntryType::GNUSparse => entry.header().entry_size().unwrap_or(0),
                _ => entry.size(),
            };
            end = entry.raw_file_position().saturating_add(behind);
            self.entries += 1;
            if self.entries > MOST {
                return Err(failed("more than ten million files".to_owned()));
            }
            let sparse = Sparse::of(&mut entry);
            let path = entry.path_bytes();
            let sparse = sparse.map_err(|error| failed(format!("{:?}: {error}", shown(&path))))?;
            let named = sparse.as_ref().and_then(|sparse| sparse.name.as_deref());
            let path = named.map_or(path, Cow::Borrowed);
            let size = sparse.as_ref().map_or(entry.size(), |sparse| sparse.size);
            let shown = shown(&path);
            let called = name(&path).and_then(|called| self.tree.follow_in(layer, called));
            let called = called.map_err(|why| failed(format!("{shown:?} {why}")))?;
            let origin = Origin {
                layer,
                entry: number,
                size,
            };
            if size > LARGEST {
                return Err(failed(format!(
                    "{shown:?} is said to have more than a tebibyte"
                )));
            }
            let header = entry.header();
            let node = match header.entry_type() {
                EntryType::Directory => Node::Directory {
                    mode: header.mode().unwrap_or(0o755) & 0o7777,
                    time: header.mtime().unwrap_or(0),
                },
                EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let target = name(&target)
                        .and_then(|target| self.tree.follow_in(layer, target))
                        .map_err(|why| failed(format!("{shown:?} is a link to what {why}")))?;
                    match self.tree.get(&target) {
                        Some(file @ (Node::Link(_) | Node::Other(_))) => file.clone(),
                        _ => return Err(failed(format!("{shown:?} is a link to nothing"))),
                    }
                }
                EntryType::Char | EntryType::Block => {
                    self.devices += 1;
                    self.device.get_or_insert(shown);
                    continue;
                }
                EntryType::Symlink => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    if target.is_empty() {
                        return Err(failed(format!("{shown:?} is a link to nothing")));
                    }
                    let target = target.into();
                    Node::Link(Box::new(Link { origin, target }))
                }
                EntryType::Regular
                | EntryType::Continuous
                | EntryType::GNUSparse
                | EntryType::Fifo => Node::Other(origin),
                // Metadata of the archive's own.
                _ => continue,
            };
            let is_file =
                [EntryType::Regular, EntryType::Continuous].contains(&header.entry_type());
            if called.is_empty() && !matches!(node, Node::Directory { .. }) {
                return Err(failed(format!("{shown:?} is the root, and no directory")));
            }
            if let Some(sparse) = sparse.filter(|_| is_file) {
                // An entry that is taken can be written.
                let stored = entry.size();
                meter.allow_headers(stored);
                let checked = sparse.check(&mut entry, stored);
                checked.map_err(|error| failed(format!("{shown:?}: {error}")))?;
            }
            self.tree.insert(layer, called, node).map_err(failed)?;
        }
        meter.allow_all();
        // What comes after the archive's end belongs to the digest.
        io::copy(&mut archive.into_inner(), &mut io::sink())
            .map_err(|error| failed(sys::words(&error)))?;
        Ok(())
    }

    /// Returns how many bytes the files have together.
    #[must_use]
    pub fn size(&self) -> u64 {
        let mut names = self.names();
        // Of several names of a file one counts.
        names.dedup_by_key(|(origin, _)| *origin);
        names.iter().map(|(origin, _)| origin.size).sum()
    }

    /// Returns how many names a directory has at most.
    #[must_use]
    pub fn fullest(&self) -> usize {
        let mut counts: HashMap<&[u8], usize> = HashMap::new();
        for (name, _) in self.tree.iter() {
            *counts.entry(parent(name)).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(0)
    }

    /// What is left out, for the user to know.
    #[must_use]
    pub fn notes(&self) -> Option<String> {
        let first = self.device.as_ref()?;
        Some(match self.devices {
            1 => format!("{first} is a device, and was left out"),
            all => format!(
                "{first} and {} more are devices, and were left out",
                all - 1
            ),
        })
    }

    /// The names of each entry that stays, in the order of layers and entries.
    pub(crate) fn names(&self) -> Vec<(Origin, &[u8])> {
        let mut names: Vec<(Origin, &[u8])> = self
            .tree
            .iter()
            .filter_map(|(name, node)| Some((node.origin()?, name)))
            .collect();
        names.sort_unstable();
        names
    }
}

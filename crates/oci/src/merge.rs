//! Merging layers into one tree: which entries stay, and under which names.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read};

use tar::EntryType;

use crate::blob::Blobs;
use crate::metered::Metered;
use crate::sparse::Sparse;
use crate::tree::{Link, Node, Origin, Tree, name, parent};
use crate::{Error, Image};

/// Largest file, in bytes. A sparse file takes no space in a layer, but its holes are read too.
const LARGEST: u64 = 1 << 40;

/// An image's layers, merged into one tree.
#[derive(Debug)]
pub struct Merged {
    pub(crate) tree: Tree,
    /// Number of entries read so far.
    entries: u64,
    /// The first device that was left out, and the number of such devices.
    device: Option<String>,
    devices: u64,
}

/// A path of an image with its directory resolved. A link in the last component is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedName {
    /// The path without links and without a slash at its start.
    pub name: String,
    /// Whether the image has this path.
    pub is_there: bool,
}

/// Largest number of entries. Each takes some hundred bytes of memory.
const MOST: u64 = 10_000_000;
/// Returns the user and the group of an entry: root if it does not tell.
pub(crate) fn owner(header: &tar::Header) -> (u64, u64) {
    (header.uid().unwrap_or(0), header.gid().unwrap_or(0))
}

/// Returns the beginning of a name, for messages.
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
    /// Reads and merges the layers of an image.
    ///
    /// # Errors
    ///
    /// Fails when a layer cannot be read, does not have its digest, or has a name that leaves the
    /// tree.
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

    /// Resolves a path, which begins without a slash. Returns `None` for a path through a file or a
    /// loop of links.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<ResolvedName> {
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
        Some(ResolvedName { name, is_there })
    }

    /// Adds a layer of our own on top, as a tar.
    ///
    /// # Errors
    ///
    /// Fails when `ours` is not a valid tar.
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
            .map_err(|error| failed(text::message(&error)))?;
        let (mut behind, mut end) = (0, u64::MAX);
        for number in 0.. {
            // Without this limit, a name of gigabytes would be read into memory before anyone can
            // check its length. The rest of the previous entry is skipped, so it is allowed as
            // well.
            meter.allow_headers(behind);
            let mut entry = match entries.next() {
                None => break,
                // The last file is complete, but its block is not padded. umoci writes such layers.
                Some(Err(_)) if meter.count() == end => break,
                Some(entry) => entry.map_err(|error| failed(text::message(&error)))?,
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
            let Some(node) = self.node(&entry, origin, shown.as_str()).map_err(failed)? else {
                continue;
            };
            let kind = entry.header().entry_type();
            let is_file = [EntryType::Regular, EntryType::Continuous].contains(&kind);
            if called.is_empty() && !matches!(node, Node::Directory { .. }) {
                return Err(failed(format!("{shown:?} is the root, and no directory")));
            }
            if let Some(sparse) = sparse.filter(|_| is_file) {
                // An entry is accepted only if it can be written later.
                let stored = entry.size();
                meter.allow_headers(stored);
                let checked = sparse.check(&mut entry, stored);
                checked.map_err(|error| failed(format!("{shown:?}: {error}")))?;
            }
            self.tree.insert(layer, called, node).map_err(failed)?;
        }
        meter.allow_all();
        // The bytes behind the archive's end belong to the digest.
        io::copy(&mut archive.into_inner(), &mut io::sink())
            .map_err(|error| failed(text::message(&error)))?;
        Ok(())
    }

    /// Returns the node that an entry makes; `None` for a device, which is left out, and for
    /// metadata of the archive itself.
    fn node<R: Read>(
        &mut self,
        entry: &tar::Entry<'_, R>,
        origin: Origin,
        shown: &str,
    ) -> Result<Option<Node>, String> {
        let header = entry.header();
        Ok(Some(match header.entry_type() {
            EntryType::Directory => Node::Directory {
                mode: header.mode().unwrap_or(0o755) & 0o7777,
                time: header.mtime().unwrap_or(0),
                owner: owner(header),
            },
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = name(&target)
                    .and_then(|target| self.tree.follow_in(origin.layer, target))
                    .map_err(|why| format!("{shown:?} is a link to what {why}"))?;
                match self.tree.get(&target) {
                    Some(file @ (Node::Link(_) | Node::Other(_))) => file.clone(),
                    _ => return Err(format!("{shown:?} is a link to nothing")),
                }
            }
            EntryType::Char | EntryType::Block => {
                self.devices += 1;
                self.device.get_or_insert_with(|| shown.to_owned());
                return Ok(None);
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                if target.is_empty() {
                    return Err(format!("{shown:?} is a link to nothing"));
                }
                let target = target.into();
                Node::Link(Box::new(Link { origin, target }))
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse | EntryType::Fifo => {
                Node::Other(origin)
            }
            _ => return Ok(None),
        }))
    }

    /// Returns the total size of the files, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let mut names = self.names();
        // A file with several names counts once.
        names.dedup_by_key(|(origin, _)| *origin);
        names.iter().map(|(origin, _)| origin.size).sum()
    }

    /// Returns the number of names in the fullest directory.
    #[must_use]
    pub fn fullest(&self) -> usize {
        let mut counts: HashMap<&[u8], usize> = HashMap::new();
        for (name, _) in self.tree.iter() {
            *counts.entry(parent(name)).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(0)
    }

    /// Returns a message about entries that were left out, for the user.
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

    /// Returns the names of each entry that stays, in the order of layers and entries.
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

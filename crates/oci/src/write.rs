//! Writing the merged tree as one tar: each entry once, under its final names.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::blob::Blobs;
use crate::merge::owner;
use crate::sparse::Sparse;
use crate::tree::Node;
use crate::{Error, Image, Layer, Merged};

/// Prefix of the extended attributes that are kept: those of the `user` namespace.
const KEPT: &str = "SCHILY.xattr.user.";

/// How owners and permissions are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flat {
    /// Whether the owner gets permission to read, write and enter everything.
    pub fix_permissions: bool,
    /// Whether files keep their owners. Else everything belongs to root.
    pub keeps_owners: bool,
    /// The time that newer files get, in seconds since 1970.
    pub newest: Option<u64>,
}

impl Flat {
    /// Returns the header of an entry without content; `time` is in seconds since 1970.
    #[must_use]
    pub fn header(self, kind: EntryType, mode: u32, time: u64) -> Header {
        let more = match (self.fix_permissions, kind) {
            (false, _) => 0,
            (true, EntryType::Directory) => 0o700,
            (true, _) => 0o600,
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode & 0o7777 | more);
        header.set_mtime(self.newest.map_or(time, |newest| time.min(newest)));
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header
    }

    /// Gives a header an owner, if owners are kept.
    pub fn own(self, header: &mut Header, (user, group): (u64, u64)) {
        if self.keeps_owners {
            header.set_uid(user);
            header.set_gid(group);
        }
    }
}

impl Merged {
    /// Writes the tree as a tar. `ours` is the layer that was
    /// added on top.
    ///
    /// # Errors
    ///
    /// Fails when a layer cannot be read again, or the output cannot be written.
    pub fn write(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        ours: &[u8],
        flat: Flat,
        output: impl Write,
    ) -> Result<(), Error> {
        let mut output = Builder::new(output);
        for (name, node) in self.tree.iter() {
            // The reader of the tar makes the root. Not every reader accepts a name for it.
            if let Node::Directory { mode, time, owner } = node
                && !name.is_empty()
            {
                let mut header = flat.header(EntryType::Directory, *mode, *time);
                flat.own(&mut header, *owner);
                output
                    .append_data(&mut header, path(name), io::empty())
                    .map_err(Error::Write)?;
            }
        }
        let names = self.names();
        let mut rest = names.as_slice();
        for number in 0..=image.layers.len() {
            let of_layer = rest.partition_point(|(origin, _)| origin.layer as usize <= number);
            let (these, later) = rest.split_at(of_layer);
            rest = later;
            if !these.is_empty() {
                let content = layer(&image.layers, number, blobs, ours)?;
                write_layer(&mut output, content, these, flat)?;
            }
        }
        output.finish().map_err(Error::Write)
    }
}

/// Opens a layer by its number: one of the image's, or our own on top.
fn layer<'a>(
    layers: &[Layer],
    number: usize,
    blobs: &'a dyn Blobs,
    ours: &'a [u8],
) -> Result<Box<dyn Read + 'a>, Error> {
    match layers.get(number) {
        Some(layer) => layer.open(blobs),
        None => Ok(Box::new(ours)),
    }
}

fn write_layer(
    output: &mut Builder<impl Write>,
    content: impl Read,
    names: &[(crate::tree::Origin, &[u8])],
    flat: Flat,
) -> Result<(), Error> {
    let mut rest = names;
    let mut archive = tar::Archive::new(content);
    for (number, entry) in (0..).zip(archive.entries().map_err(Error::Write)?) {
        let mut entry = entry.map_err(Error::Write)?;
        let of_entry = rest.partition_point(|(origin, _)| origin.entry <= number);
        let (these, later) = rest.split_at(of_entry);
        rest = later;
        let Some(((_, first), links)) = these.split_first() else {
            continue;
        };
        write_entry(output, &mut entry, first, flat).map_err(Error::Write)?;
        for (_, name) in links {
            let mut header = flat.header(EntryType::Link, 0o644, 0);
            output
                .append_link(&mut header, path(name), path(first))
                .map_err(Error::Write)?;
        }
        // Stop before the next entry is read, because the last block may not be padded.
        if rest.is_empty() {
            break;
        }
    }
    Ok(())
}

fn write_entry<R: Read>(
    output: &mut Builder<impl Write>,
    entry: &mut tar::Entry<'_, R>,
    name: &[u8],
    flat: Flat,
) -> io::Result<()> {
    let attributes: Vec<(String, Vec<u8>)> = match entry.pax_extensions()? {
        Some(extensions) => extensions
            .filter_map(Result::ok)
            .filter_map(|one| {
                let key = one.key().ok().filter(|key| key.starts_with(KEPT))?;
                Some((key.to_owned(), one.value_bytes().to_owned()))
            })
            .collect(),
        None => Vec::new(),
    };
    if !attributes.is_empty() {
        let attributes = attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        output.append_pax_extensions(attributes)?;
    }
    let old = entry.header();
    let (mode, time) = (old.mode().unwrap_or(0o644), old.mtime().unwrap_or(0));
    let owner = owner(old);
    match old.entry_type() {
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let mut header = flat.header(EntryType::Symlink, 0o777, time);
            flat.own(&mut header, owner);
            output.append_link(&mut header, path(name), path(&target))
        }
        EntryType::Fifo => {
            let mut header = flat.header(EntryType::Fifo, mode, time);
            flat.own(&mut header, owner);
            output.append_data(&mut header, path(name), io::empty())
        }
        _ => {
            let mut header = flat.header(EntryType::Regular, mode, time);
            flat.own(&mut header, owner);
            match Sparse::of(entry)? {
                Some(sparse) => {
                    header.set_size(sparse.size);
                    output.append_data(&mut header, path(name), sparse.reader(entry)?)
                }
                None => {
                    header.set_size(entry.size());
                    output.append_data(&mut header, path(name), entry)
                }
            }
        }
    }
}

fn path(name: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(name))
}

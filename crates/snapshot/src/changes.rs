//! The differences between two states of a tree, and the layer that has them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rootfs::{Directory, Files, Step};
use rustix::fs::{FileType, fgetxattr, flistxattr, major, minor};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::index::State;
use crate::{ATTRIBUTE, KEPT, TIME, WHITEOUT};

/// Part of a file that is read at once, in bytes.
const BLOCK: usize = 256 << 10;

/// The differences between two states of a tree.
#[derive(Debug)]
pub struct Changes<'a> {
    /// The paths of files that are gone, or are of another kind now. Nothing below one of these is among them.
    pub(crate) removed: Vec<&'a Path>,
    pub(crate) changed: Vec<(&'a PathBuf, &'a State)>,
    /// Whether modes may be changed for a moment.
    pub(crate) is_own: bool,
}

impl Changes<'_> {
    /// Adds the changes to a digest: all but times.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read.
    pub fn hash(&self, root: &Directory, hash: &mut Sha256) -> io::Result<()> {
        for path in &self.removed {
            field(hash, b"removed");
            field(hash, path.as_os_str().as_bytes());
        }
        for (path, state) in &self.changed {
            field(hash, path.as_os_str().as_bytes());
            let numbers = (state.mode, state.owner, state.device);
            field(hash, format!("{numbers:?}").as_bytes());
            match state.kind() {
                FileType::RegularFile => {
                    let file = match self.is_own {
                        true => open(root, path)?,
                        false => root.open_file(path)?.ok_or(io::ErrorKind::NotFound)?,
                    };
                    let mut content = Sha256::new();
                    hash_file(file, &mut content)?;
                    field(hash, &content.finalize());
                }
                FileType::Symlink => {
                    field(hash, target(root, path)?.as_os_str().as_bytes());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the changes as a layer.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read, or cannot be told by a layer: the name of a whiteout, and a
    /// large file with holes.
    pub fn write(&self, root: &Directory, output: impl Write) -> io::Result<()> {
        let mut output = Builder::new(output);
        for path in &self.removed {
            let name = path.file_name().unwrap_or_default();
            let mut hidden = std::ffi::OsString::from(WHITEOUT);
            hidden.push(name);
            let mut header = header(EntryType::Regular, 0);
            output.append_data(
                &mut header,
                inside(&path.with_file_name(hidden)),
                io::empty(),
            )?;
        }
        let mut files: HashMap<u64, &Path> = HashMap::new();
        for (path, state) in &self.changed {
            let name = path.file_name().unwrap_or_default();
            if name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
                let why = format!("{}: it has the name of a whiteout", path.display());
                return Err(unfit(&why));
            }
            let is_file = state.kind() == FileType::RegularFile;
            if is_file && state.links > 1 {
                if let Some(first) = files.get(&state.inode) {
                    let mut header = header(EntryType::Link, 0);
                    output.append_link(&mut header, inside(path), inside(first))?;
                    continue;
                }
                files.insert(state.inode, path);
            }
            let written = write_one(root, path, state, &mut output);
            written.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        }
        output.finish()
    }
}

fn write_one(
    root: &Directory,
    path: &Path,
    state: &State,
    output: &mut Builder<impl Write>,
) -> io::Result<()> {
    let kind = match state.kind() {
        FileType::RegularFile => EntryType::Regular,
        FileType::Directory => EntryType::Directory,
        FileType::Symlink => EntryType::Symlink,
        FileType::Fifo => EntryType::Fifo,
        FileType::CharacterDevice => EntryType::Char,
        FileType::BlockDevice => EntryType::Block,
        // No process listens to a socket any more.
        _ => return Ok(()),
    };
    let file = match kind {
        EntryType::Regular => Some(open(root, path)?),
        _ => None,
    };
    let mut more = vec![(
        TIME.to_owned(),
        format!("{}.{:09}", state.modified.0, state.modified.1).into_bytes(),
    )];
    if let Some(file) = &file {
        more.extend(attributes(file)?);
    }
    output.append_pax_extensions(
        more.iter()
            .map(|(key, value)| (key.as_str(), value.as_slice())),
    )?;
    let mut header = header(kind, state.mode & 0o7777);
    header.set_uid(state.owner.0.into());
    header.set_gid(state.owner.1.into());
    match (kind, file) {
        (EntryType::Regular, Some(file)) => {
            if state.is_sparse {
                return Err(unfit("it has large holes"));
            }
            header.set_size(state.size);
            let content = BufReader::new(file).take(state.size);
            output.append_data(&mut header, inside(path), content)
        }
        (EntryType::Symlink, _) => {
            output.append_link(&mut header, inside(path), target(root, path)?)
        }
        (EntryType::Char | EntryType::Block, _) => {
            header.set_device_major(major(state.device))?;
            header.set_device_minor(minor(state.device))?;
            output.append_data(&mut header, inside(path), io::empty())
        }
        // The root has a name too.
        _ if path == Path::new("/") => output.append_data(&mut header, "./", io::empty()),
        _ => output.append_data(&mut header, inside(path), io::empty()),
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

/// Opens a regular file of the tree, even if it is closed to its owner.
fn open(root: &Directory, path: &Path) -> io::Result<File> {
    let opened = with_access(root, path, || root.open_file(path))?;
    opened.ok_or(io::ErrorKind::NotFound.into())
}

/// Calls a function that looks at a path, a second time with access if its owner has none.
fn with_access<T>(
    root: &Directory,
    path: &Path,
    look: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    match look() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let _access = root.give_owner_access_from_top(path)?;
            look()
        }
        found => found,
    }
}

fn target(root: &Directory, path: &Path) -> io::Result<PathBuf> {
    match with_access(root, path, || root.step(path))? {
        Some(Step::Link(target)) => Ok(target),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Returns the extended attributes of a file, as PAX records.
fn attributes(file: &File) -> io::Result<Vec<(String, Vec<u8>)>> {
    /// Largest list of names, and largest value, in bytes (xattr(7)).
    const MOST: usize = 65536;
    let mut names = vec![0; MOST];
    let length = match flistxattr(file, names.as_mut_slice()) {
        Ok(0) | Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut found = Vec::new();
    for name in names
        .get(..length)
        .unwrap_or_default()
        .split(|byte| *byte == 0)
    {
        let Some(name) = std::str::from_utf8(name)
            .ok()
            .filter(|name| name.starts_with(KEPT))
        else {
            continue;
        };
        let mut value = vec![0; MOST];
        let length = fgetxattr(file, name, value.as_mut_slice())?;
        value.truncate(length);
        found.push((format!("{ATTRIBUTE}{name}"), value));
    }
    Ok(found)
}

/// Adds the content of a file to a digest.
///
/// # Errors
///
/// Fails when the file cannot be read.
pub fn hash_file(mut file: File, hash: &mut Sha256) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            count => hash.update(block.get(..count).unwrap_or_default()),
        }
    }
}

/// Adds a field to a digest, so that no two lists of fields have the same.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn unfit(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why.to_owned())
}

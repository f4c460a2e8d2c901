//! Paths within an image, with symbolic links resolved.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::format::Kind;
use crate::inode::Inode;

/// Largest number of symbolic links in a path, as in the kernel (`MAXSYMLINKS`).
const MOST_LINKS: u32 = 40;

impl Filesystem {
    /// Finds the inode of `path`, with the image's root as `/`: neither `..` nor an absolute link
    /// leads out of the image. Returns `None` if the path or the target of a link does not exist.
    ///
    /// # Errors
    ///
    /// More than 40 links, or directories that cannot be read.
    pub fn resolve(&self, path: &Path) -> Result<Option<Inode>, Error> {
        let root = self.root()?;
        let mut parents: Vec<Inode> = Vec::new();
        let mut here = root.clone();
        let mut left = names(path);
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if here.kind != Kind::Directory {
                return Ok(None);
            }
            let Some(name) = name else {
                here = parents.pop().unwrap_or_else(|| root.clone());
                continue;
            };
            let Some(found) = self.lookup(&here, name.as_bytes())? else {
                return Ok(None);
            };
            if found.kind != Kind::Symlink {
                parents.push(std::mem::replace(&mut here, found));
                continue;
            }
            links = u32::saturating_add(links, 1);
            if links > MOST_LINKS {
                return Err(Error::SymlinkLoop(path.display().to_string()));
            }
            let target = PathBuf::from(OsString::from_vec(self.read_link(&found)?));
            if target.is_absolute() {
                parents.clear();
                here = root.clone();
            }
            let mut ahead = names(&target);
            ahead.append(&mut left);
            left = ahead;
        }
        Ok(Some(here))
    }
}

/// Splits a path; `None` stands for "..".
fn names(path: &Path) -> VecDeque<Option<OsString>> {
    let mut names = VecDeque::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push_back(Some(name.to_owned())),
            Component::ParentDir => names.push_back(None),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    names
}

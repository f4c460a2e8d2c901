//! Copying files to an image that is being built: from the host, or from another stage.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use rootfs::{
    Directory, Entry, Files, OwnerAccess, Step, changed_at, create_at, directory_at, remove_at,
};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Uid, fchmod, fchown, futimens, mknodat, statat, symlinkat,
};

/// The files that are copied.
pub struct Source<'a> {
    /// The host's root, or that of a stage. No path leads out of it.
    pub root: &'a Directory,
    /// The directory to which relative paths refer.
    pub base: &'a Path,
    /// Whether the files are the host's: links are followed, as by `cp -L`, and modes lose the bits
    /// of the umask. Those of a stage are copied as they are.
    pub is_host: bool,
    /// Whether a file of this absolute path is left out.
    pub ignored: Option<&'a dyn Fn(&Path) -> bool>,
    /// The mode of all copies, instead of the sources'.
    pub mode: Option<u32>,
    /// The owners of copies.
    pub owner: Owner,
}

/// The owners of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The caller.
    Caller,
    /// Those of the sources, if the caller can give files to others.
    Same,
    /// One user and one group, if the caller can give files to others.
    Other(u32, u32),
}

impl Owner {
    /// Returns the owner that a copy gets, if it is not the caller.
    fn of(self, status: &Stat) -> Option<(u32, u32)> {
        let owner = match self {
            Self::Caller => return None,
            Self::Same => (status.st_uid, status.st_gid),
            Self::Other(user, group) => (user, group),
        };
        (owner != (0, 0) && session::has_other_users()).then_some(owner)
    }
}

/// Bits of modes that files of the host lose: Apptainer's umask for builds, and set-id bits.
const UMASK: u32 = 0o7002;

impl<'a> Source<'a> {
    /// Returns the host's files. `cwd` is the directory to which relative paths refer.
    pub fn host(root: &'a Directory, cwd: &'a Path) -> Self {
        Self {
            base: cwd,
            is_host: true,
            owner: Owner::Caller,
            ..Self::stage(root)
        }
    }

    /// Returns the files of a stage.
    pub fn stage(root: &'a Directory) -> Self {
        Self {
            root,
            base: Path::new("/"),
            is_host: false,
            ignored: None,
            mode: None,
            owner: Owner::Same,
        }
    }

    /// Returns the paths that match a pattern and are not left out.
    ///
    /// # Errors
    ///
    /// Fails when there are none.
    pub fn matched(&self, pattern: &str) -> Result<Vec<PathBuf>> {
        let mut found = self.matches(pattern)?;
        found.retain(|path| !self.is_ignored(path));
        if found.is_empty() {
            bail!("{pattern}: no file matches");
        }
        Ok(found)
    }

    /// Copies a path that matches `pattern`, as `COPY` of a Dockerfile does: of a directory, its
    /// content. `is_directory` says that the target is one.
    ///
    /// # Errors
    ///
    /// As for [`copy`](Self::copy).
    pub fn copy_content(
        &self,
        (pattern, path): (&str, &Path),
        target: &Path,
        is_directory: bool,
        tree: &Directory,
    ) -> Result<()> {
        let named = || match path.strip_prefix("/").unwrap_or(path).to_string_lossy() {
            name if name.is_empty() => pattern.to_owned(),
            name => name.into_owned(),
        };
        let place = match self.root.entry(path)? {
            Some(Entry::Directory) => target.to_owned(),
            None => bail!("{}: no such file or directory", named()),
            Some(_) => match path.file_name().filter(|_| is_directory) {
                Some(name) => target.join(name),
                None => target.to_owned(),
            },
        };
        self.copy_to(path, &place, tree).with_context(named)
    }

    fn is_ignored(&self, path: &Path) -> bool {
        self.ignored.is_some_and(|ignored| ignored(path))
    }

    /// Copies what a pattern matches. `target` is a path in the image, or empty for the source's
    /// own. A directory at the target gets a file with the source's name, as in cp(1).
    ///
    /// # Errors
    ///
    /// Fails when nothing matches, or a file cannot be read or written.
    pub fn copy(&self, pattern: &str, target: &str, tree: &Directory) -> Result<()> {
        let mut found = Vec::new();
        for pattern in braces(pattern)? {
            found.extend(self.matches(&pattern)?);
        }
        for path in found {
            // The path of a relative pattern is that below the image's root.
            let own = match Path::new(pattern).is_relative() {
                true => path.strip_prefix(self.base).unwrap_or(&path),
                false => &path,
            };
            let own = own.to_string_lossy();
            let target = match target.is_empty() {
                true => own.as_ref(),
                false => target,
            };
            self.copy_one(&path, target, tree)
                .with_context(|| own.into_owned())?;
        }
        Ok(())
    }

    fn copy_one(&self, path: &Path, target: &str, tree: &Directory) -> Result<()> {
        if self.root.entry(path)?.is_none() {
            bail!("no such file or directory");
        }
        let place = Path::new("/").join(target);
        let is_directory = target.ends_with('/') || tree.entry(&place)? == Some(Entry::Directory);
        let name = path.file_name().unwrap_or_default();
        let place = match is_directory && !name.is_empty() {
            true => place.join(name),
            false => place,
        };
        self.copy_to(path, &place, tree)
    }

    /// Copies a file, or the files in a directory. A link at the end of the target is followed, within
    /// the image.
    fn copy_to(&self, path: &Path, place: &Path, tree: &Directory) -> Result<()> {
        let entry = self
            .root
            .entry(path)?
            .context("no such file or directory")?;
        let place = tree.locate(place)?.path;
        let (above, name) = (place.parent(), place.file_name());
        let mut copy = Copy::new(self, tree)?;
        if entry == Entry::Directory {
            let into = tree.make_directories(&place)?;
            return Ok(copy.content(path, into)?);
        }
        let above = tree.make_directories(above.unwrap_or(Path::new("/")))?;
        let name = name.context("the target is the root directory")?;
        // A link that a pattern names is followed.
        Ok(copy.file(&self.root.locate(path)?.path, entry, &above, name)?)
    }

    /// Returns the paths that match a pattern. A pattern without wildcards matches itself.
    fn matches(&self, pattern: &str) -> Result<Vec<PathBuf>> {
        let is_wild = |name: &OsStr| {
            name.as_encoded_bytes()
                .iter()
                .any(|byte| b"*?[".contains(byte))
        };
        let whole = self.base.join(pattern);
        let mut found = vec![PathBuf::from("/")];
        let mut wild = false;
        for component in whole.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => OsStr::new(".."),
                _ => continue,
            };
            if !is_wild(name) {
                found.iter_mut().for_each(|path| path.push(name));
                continue;
            }
            wild = true;
            let text = name.to_str().context("the pattern is not UTF-8")?;
            let matcher = glob::Pattern::new(text).with_context(|| pattern.to_owned())?;
            let mut next = Vec::new();
            for path in found {
                for name in self.root.list(&path)? {
                    // A name that begins with a dot needs a pattern that does.
                    let is_match = |name: &str| {
                        (text.starts_with('.') || !name.starts_with('.')) && matcher.matches(name)
                    };
                    if name.to_str().is_some_and(is_match) {
                        next.push(path.join(name));
                    }
                }
            }
            found = next;
        }
        if wild {
            found.retain(|path| matches!(self.root.step(path), Ok(Some(_))));
        }
        if found.is_empty() {
            bail!("{pattern}: no file matches");
        }
        Ok(found)
    }
}

/// Copies all files of a directory to another, as they are. Devices and sockets are left out; returns a
/// message about them.
///
/// # Errors
///
/// Fails when a file cannot be read or written.
pub fn whole(from: &Directory, into: &Directory) -> Result<Option<String>> {
    let source = Source::stage(from);
    let mut copy = Copy::new(&source, into)?;
    copy.left_out = Some(0);
    copy.content(Path::new("/"), into.make_directories(Path::new("/"))?)?;
    let count = copy.left_out.unwrap_or(0);
    Ok((count > 0).then(|| format!("{count} devices or sockets were left out")))
}

/// Copies the files in a directory of a source to another directory.
///
/// # Errors
///
/// Fails when a file cannot be read or written.
pub fn part(source: &Source<'_>, path: &Path, into: &Directory) -> Result<()> {
    let mut copy = Copy::new(source, into)?;
    Ok(copy.content(path, into.make_directories(Path::new("/"))?)?)
}

/// Largest number of words that braces may make.
const WORDS: usize = 1000;

/// Returns the words that a shell makes of `{a,b}` in a word.
fn braces(word: &str) -> Result<Vec<String>> {
    let (mut done, mut ahead) = (Vec::new(), vec![word.to_owned()]);
    while let Some(word) = ahead.pop() {
        if done.len() + ahead.len() > WORDS {
            bail!("{word}: its braces make more than {WORDS} names");
        }
        let parts = || {
            let (before, rest) = word.split_once('{')?;
            let (inner, after) = rest.split_once('}')?;
            inner.contains(',').then_some((before, inner, after))
        };
        match parts() {
            Some((before, inner, after)) => {
                let words = inner.rsplit(',');
                ahead.extend(words.map(|part| format!("{before}{part}{after}")));
            }
            None => done.push(word),
        }
    }
    Ok(done)
}

/// The copying of a tree.
struct Copy<'a> {
    source: &'a Source<'a>,
    /// The identity of the image's root, which is not copied into itself.
    tree: (u64, u64),
    /// The identities of the directories that are being copied: a link may lead back to one.
    above: Vec<(u64, u64)>,
    /// The number of devices and sockets, if they may be left out.
    left_out: Option<u64>,
}

impl<'a> Copy<'a> {
    fn new(source: &'a Source<'a>, tree: &Directory) -> io::Result<Self> {
        Ok(Self {
            source,
            tree: tree.identity()?,
            above: Vec::new(),
            left_out: None,
        })
    }

    /// Copies the files in a directory.
    fn content(&mut self, path: &Path, into: OwnedFd) -> io::Result<()> {
        let root = self.source.root;
        let access = self.access(path)?;
        let opened = root.below(path)?.ok_or(io::ErrorKind::NotFound)?;
        let identity = opened.identity()?;
        if identity == self.tree || self.above.contains(&identity) {
            let text = format!(
                "{}: a directory cannot be copied into itself",
                path.display()
            );
            return Err(io::Error::other(text));
        }
        self.above.push(identity);
        for name in root.list(path)? {
            let path = path.join(&name);
            if self.source.is_ignored(&path) {
                continue;
            }
            let copied = self.entry(&path, &into, &name);
            copied.map_err(|error| named(&path, error))?;
        }
        self.above.pop();
        drop(access);
        self.finish(path, into.as_fd())
    }

    /// Lets this process read a file of a stage that is closed to its owner. The host's files keep
    /// their modes.
    fn access(&self, path: &Path) -> io::Result<Option<OwnerAccess>> {
        match self.source.is_host {
            true => Ok(None),
            false => self.source.root.give_owner_access(path),
        }
    }

    fn entry(&mut self, path: &Path, into: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let root = self.source.root;
        let entry = match root.step(path)?.ok_or(io::ErrorKind::NotFound)? {
            Step::Link(_) if self.source.is_host => {
                root.entry(path)?.ok_or(io::ErrorKind::NotFound)?
            }
            Step::Link(target) => {
                remove_at(into, name)?;
                return Ok(symlinkat(&target, into, name)?);
            }
            Step::Entry(entry) => entry,
        };
        // An image that is built in its own context is no part of it.
        let is_tree = |found: &Directory| found.identity().is_ok_and(|found| found == self.tree);
        if entry == Entry::Directory
            && self.source.ignored.is_some()
            && root.below(path)?.as_ref().is_some_and(is_tree)
        {
            return Ok(());
        }
        match entry {
            Entry::Directory => self.content(path, directory_at(into, name)?),
            entry => self.file(path, entry, into, name),
        }
    }

    fn file(&mut self, path: &Path, entry: Entry, into: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let root = self.source.root;
        if entry == Entry::Other {
            let status = root.status(path)?.ok_or(io::ErrorKind::NotFound)?;
            if FileType::from_raw_mode(status.st_mode) != FileType::Fifo {
                let Some(count) = &mut self.left_out else {
                    return Err(io::Error::other("is a device or a socket"));
                };
                *count += 1;
                return Ok(());
            }
            remove_at(into, name)?;
            let mode = Mode::from_raw_mode(status.st_mode & 0o777);
            return Ok(mknodat(into, name, FileType::Fifo, mode, 0)?);
        }
        let access = self.access(path)?;
        let mut content = root.open(path)?.ok_or(io::ErrorKind::NotFound)?;
        drop(access);
        let before = statat(into, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let mut file = create_at(into, name, 0o600)?;
        io::copy(&mut content, &mut file)?;
        let is_file = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
        match before.filter(|there| self.source.is_host && is_file(there.st_mode)) {
            // cp(1) writes to the file that is there.
            Some(there) => Ok(fchmod(&file, Mode::from_raw_mode(there.st_mode & 0o7777))?),
            None => self.finish(path, file.as_fd()),
        }
    }

    /// Sets the mode of a copy, and the time if it is of a stage.
    fn finish(&self, path: &Path, copy: impl AsFd) -> io::Result<()> {
        // The directory of a context is not a part of it.
        if self.source.ignored.is_some() && path == Path::new("/") {
            return Ok(());
        }
        let status = self
            .source
            .root
            .status(path)?
            .ok_or(io::ErrorKind::NotFound)?;
        let bits = match self.source.is_host {
            true => 0o7777 & !UMASK,
            false => 0o7777,
        };
        if let Some(owner) = self.source.owner.of(&status) {
            let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            fchown(&copy, Some(user), Some(group))?;
        }
        let mode = self.source.mode.unwrap_or(status.st_mode & bits);
        fchmod(&copy, Mode::from_raw_mode(mode))?;
        if !self.source.is_host {
            let nanoseconds = status.st_mtime_nsec.try_into().unwrap_or(0);
            let times = changed_at(status.st_mtime, nanoseconds);
            futimens(&copy, &times)?;
        }
        Ok(())
    }
}

/// Adds the path to an error that has none yet.
fn named(path: &Path, error: io::Error) -> io::Error {
    match error.raw_os_error().is_some() || error.get_ref().is_none() {
        true => io::Error::other(format!("{}: {}", path.display(), text::message(&error))),
        false => error,
    }
}

#[cfg(test)]
mod tests;

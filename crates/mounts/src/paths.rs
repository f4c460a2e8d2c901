//! Paths that a container cannot write, and paths that it cannot see ([config-linux.md], "Masked
//! Paths" and "Readonly Paths").
//!
//! [config-linux.md]: https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rootfs::{attach, is_directory, plain};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat2};
use rustix::io::Errno;
use sys::mount_bits::READ_ONLY;

use crate::make::mount_id;
use crate::{Error, Root};

impl Root {
    /// Makes paths read-only that are there. The other flags of their mounts stay.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub fn make_read_only(&self, paths: &[&str]) -> Result<(), Error> {
        let make = |path: &Path| -> io::Result<()> {
            let Some(place) = self.open_protected(path)? else {
                return Ok(());
            };
            self.refuse_root(&place)?;
            let tree = sys::bind_open(&place, true)?;
            sys::change_mount(tree.as_fd(), false, READ_ONLY, 0)?;
            attach(tree, place)
        };
        paths.iter().try_for_each(|path| {
            make(&plain(Path::new(path))).map_err(Error::at(format!("make {path} read-only")))
        })
    }

    /// Hides paths that are there: a directory under an empty one, everything else under the
    /// container's `/dev/null`.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub fn mask(&self, paths: &[&str]) -> Result<(), Error> {
        let mut masks = Masks::default();
        paths.iter().try_for_each(|path| {
            self.mask_one(&plain(Path::new(path)), &mut masks)
                .map_err(Error::at(format!("mask {path}")))
        })
    }

    fn mask_one(&self, path: &Path, masks: &mut Masks) -> io::Result<()> {
        let Some(place) = self.open_protected(path)? else {
            return Ok(());
        };
        self.refuse_root(&place)?;
        if masks.cover(&place)? {
            return Ok(());
        }
        if !is_directory(&place)? {
            let null = match &masks.null {
                Some(null) => null,
                None => masks.null.insert(self.null()?),
            };
            return attach(sys::bind_open(null, false)?, place);
        }
        let mask = match &masks.directory {
            // One file system serves all.
            Some(first) => sys::bind_open(first, false)?,
            None => {
                let label = self.label.iter().map(|label| format!("context={label}"));
                let options: Vec<String> = label
                    .chain(["ro", "nr_blocks=1", "nr_inodes=1"].map(str::to_owned))
                    .collect();
                let options = options.iter().map(String::as_str);
                let new = sys::new_file_system_of("tmpfs", Some(Path::new("tmpfs")), options)?;
                sys::change_mount(new.as_fd(), false, READ_ONLY, 0)?;
                new
            }
        };
        attach(&mask, place)?;
        masks.directory.get_or_insert(mask);
        Ok(())
    }

    /// Opens a path that is to be protected. Those in `/proc` are in the proc that was mounted there:
    /// somebody who may write to the root can have put another directory in its place since.
    fn open_protected(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        let (Ok(inside), Some(proc)) = (path.strip_prefix("/proc"), self.proc) else {
            return self.directory.open_path(path);
        };
        let there = self.directory.open_path(Path::new("/proc"))?;
        let there = there.ok_or(Errno::NOENT)?;
        if mount_id(&there)? != proc {
            return Err(io::Error::other("/proc is not what was mounted there"));
        }
        if inside.as_os_str().is_empty() {
            return Ok(Some(there));
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match openat2(&there, inside, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            opened => Ok(Some(opened?)),
        }
    }

    /// Opens the container's `/dev/null`, if it is one.
    fn null(&self) -> io::Result<OwnedFd> {
        let null = self.directory.open_path(Path::new("/dev/null"))?;
        let null = null.ok_or_else(|| io::Error::other("the container has no /dev/null"))?;
        let found = fstat(&null)?;
        let is_character = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
        match is_character && found.st_rdev == makedev(1, 3) {
            true => Ok(null),
            false => Err(io::Error::other(
                "the container's /dev/null is another file",
            )),
        }
    }
}

/// The files that cover others.
#[derive(Default)]
struct Masks {
    null: Option<OwnedFd>,
    directory: Option<OwnedFd>,
}

impl Masks {
    /// Whether a path shows one of the masks already.
    fn cover(&self, place: &OwnedFd) -> io::Result<bool> {
        let of = |file: &OwnedFd| fstat(file).map(|found| (found.st_dev, found.st_ino));
        let found = of(place)?;
        for mask in [&self.null, &self.directory].into_iter().flatten() {
            if of(mask)? == found {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

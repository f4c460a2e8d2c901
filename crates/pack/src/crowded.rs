//! Packing a tree with a crowded directory. For each name that a tar adds to a directory,
//! `mksquashfs` searches the whole directory. It does not when it reads the directory from the
//! disk.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tar::{Archive, EntryType};

use crate::Error;
use crate::sandbox::set_time;
use crate::squash::Packing;
use crate::squash::{self, Input};

/// Smallest number of names in a crowded directory. Searching a smaller one takes less time (4 s)
/// than creating its files on a slow disk.
pub(crate) const CROWD: usize = 40_000;
/// Space that a file takes on a disk in addition to its content, in bytes.
const BLOCK: u64 = 4096;
/// Largest number of files of one size among which equal files are searched for.
const EQUAL: u32 = 20_000;

/// Packs the tar that `write` writes, by way of a directory in `scratch`. No name in the tar may
/// lead outside. Returns `false` without packing when there is no room, or when a directory cannot
/// represent the tar: attributes, times and names of kinds that are rare in valid images.
pub(crate) fn pack(
    output: &Path,
    offset: u64,
    packing: &Packing<'_>,
    scratch: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Error>,
) -> Result<bool, Error> {
    let Ok(home) = tempfile::Builder::new()
        .prefix("front-")
        .tempdir_in(scratch)
    else {
        return Ok(false);
    };
    let root = home.path().join("root");
    let laid_out = match lay_out(&root, packing.time, write) {
        Ok(laid_out) => laid_out,
        Err(error) => {
            tracing::debug!(%error, "packed as a tar");
            let _ = rootfs::remove(&root);
            return Ok(false);
        }
    };
    let input = Input::Directory {
        path: &root,
        modes: &laid_out.modes,
        shares_equal: laid_out.most_of_a_size < EQUAL,
    };
    let packed = squash::pack(input, output, offset, packing);
    let _ = rootfs::remove(&root);
    packed.map(|()| true)
}

/// The files of a tar, laid out in a directory.
struct LaidOut {
    modes: String,
    most_of_a_size: u32,
}

fn lay_out(
    root: &Path,
    time: i64,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Error>,
) -> Result<LaidOut, Error> {
    let failed = || Error::file(root);
    fs::create_dir(root).map_err(failed())?;
    let (reader, mut writer) = io::pipe().map_err(failed())?;
    let (written, unpacked) = std::thread::scope(|scope| {
        let unpacked = scope.spawn(|| Unpacking::new(root, time).run(reader));
        let written = {
            let mut buffered = io::BufWriter::with_capacity(1 << 20, &mut writer);
            write(&mut buffered).and_then(|()| buffered.flush().map_err(failed()))
        };
        drop(writer);
        (written, unpacked.join())
    });
    let unpacked = unpacked.map_err(|_| Error::Squash("a thread failed".to_owned()))?;
    // This error comes first: if the reader fails, the writer only reports a broken pipe.
    let unpacked = unpacked.map_err(failed())?;
    written?;
    Ok(unpacked)
}

/// The tar has something that a directory cannot hold; it is packed as a tar.
fn unfit<T>(why: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, why.to_owned()))
}

struct Unpacking<'a> {
    root: &'a Path,
    /// The time of the whole image, in seconds since 1970.
    time: u64,
    /// Number of bytes that may still be written: half of the free space, since other programs need
    /// some.
    room: u64,
    /// The directories and their times, which are set when all entries have been made.
    directories: Vec<(PathBuf, u64)>,
    made: HashSet<PathBuf>,
    sizes: HashMap<u64, u32>,
    modes: String,
}

impl<'a> Unpacking<'a> {
    fn new(root: &'a Path, time: i64) -> Self {
        let room = match rustix::fs::statvfs(root) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize) / 2,
            Err(_) => 0,
        };
        Self {
            root,
            room,
            time: u64::try_from(time).unwrap_or(0),
            directories: Vec::new(),
            made: HashSet::new(),
            sizes: HashMap::new(),
            modes: String::new(),
        }
    }

    fn run(mut self, tar: impl Read) -> io::Result<LaidOut> {
        let mut archive = Archive::new(io::BufReader::with_capacity(1 << 20, tar));
        for entry in archive.entries()? {
            self.entry(&mut entry?)?;
        }
        // The writer would fail if the bytes behind the archive's end were not read.
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        for (path, time) in self.directories.iter().rev() {
            set_time(path, *time)?;
        }
        set_time(self.root, self.time)?;
        Ok(LaidOut {
            modes: self.modes,
            most_of_a_size: self.sizes.values().copied().max().unwrap_or(0),
        })
    }

    /// Makes the parent directories that no entry has named yet, as `mksquashfs` would.
    fn make_parents(&mut self, name: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = name.ancestors().skip(1).collect();
        missing.retain(|name| !name.as_os_str().is_empty() && !self.made.contains(*name));
        for name in missing.into_iter().rev() {
            let path = self.root.join(name);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            self.directories.push((path, self.time));
            self.made.insert(name.to_owned());
        }
        Ok(())
    }

    /// Sets the mode of a file, or notes it for `mksquashfs`. A file that its owner cannot read
    /// could not be packed, and the owner cannot set the other bits everywhere.
    fn set_mode(&mut self, name: &Path, is_directory: bool, mode: u32) -> io::Result<()> {
        let needed = if is_directory { 0o700 } else { 0o600 };
        let own = mode & 0o777 | needed;
        fs::set_permissions(self.root.join(name), Permissions::from_mode(own))?;
        if own == mode {
            return Ok(());
        }
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-+/".contains(byte);
        let text = name
            .to_str()
            .filter(|text| text.as_bytes().iter().all(is_plain));
        let Some(text) = text else {
            return unfit("there is a name that cannot be written beside a mode");
        };
        let text = text.trim_end_matches('/');
        self.modes.push_str(&format!("{text} m {mode:o} 0 0\n"));
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        if let Some(mut extensions) = entry.pax_extensions()?
            && extensions
                .any(|one| one.is_ok_and(|one| one.key_bytes().starts_with(b"SCHILY.xattr")))
        {
            return unfit("there are attributes");
        }
        let name = entry.path()?.into_owned();
        let path = self.root.join(&name);
        let header = entry.header();
        let (mode, time) = (header.mode()? & 0o7777, header.mtime()?);
        let cost = entry.size().saturating_add(BLOCK);
        let Some(room) = self.room.checked_sub(cost) else {
            return unfit("there is no room");
        };
        self.room = room;
        if u32::try_from(time).is_err() {
            return unfit("there are times that have no room");
        }
        let kind = header.entry_type();
        // In a tar, a second entry of the same name replaces the first. This is rare.
        if !self.made.insert(name.clone()) {
            return unfit("there is a name twice");
        }
        self.make_parents(&name)?;
        match kind {
            EntryType::Directory => {
                fs::create_dir(&path)?;
                self.directories.push((path.clone(), time));
            }
            EntryType::Regular => {
                let mut options = File::options();
                let mut file = options
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)?;
                let size = io::copy(entry, &mut file)?;
                if size > 0 {
                    *self.sizes.entry(size).or_default() += 1;
                }
            }
            EntryType::Fifo => {
                mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default();
                symlink(target, &path)?;
                return set_time(&path, time);
            }
            EntryType::Link => {
                let target = entry.link_name()?.unwrap_or_default();
                return fs::hard_link(self.root.join(target), &path);
            }
            _ => return unfit("there are entries of another kind"),
        }
        self.set_mode(&name, kind == EntryType::Directory, mode)?;
        match kind {
            EntryType::Directory => Ok(()),
            _ => set_time(&path, time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Compression;

    fn packing(time: i64) -> Packing<'static> {
        Packing {
            compression: Compression::Zstd,
            time,
            more: &[],
        }
    }

    /// Writes a tar with many kinds of files, and with `count` files in one directory.
    fn tree(count: usize, output: &mut dyn Write) -> Result<(), Error> {
        let mut tar = tar::Builder::new(output);
        let mut add = |kind, name: &str, mode, content: &[u8], link: &str| {
            let mut header = oci::Flat::default().header(kind, mode, 1_000_000_000);
            header.set_size(content.len() as u64);
            match link {
                "" => tar.append_data(&mut header, name, content),
                link => tar.append_link(&mut header, name, link),
            }
        };
        let mut all = || {
            add(EntryType::Directory, "d", 0o755, b"", "")?;
            add(EntryType::Directory, "d/closed", 0o1500, b"", "")?;
            add(EntryType::Regular, "d/closed/none", 0, b"n", "")?;
            add(EntryType::Regular, "d/su", 0o4755, b"s", "")?;
            add(EntryType::Regular, "d/odd \"name\"", 0o640, b"odd", "")?;
            add(EntryType::Regular, "d/empty", 0o644, b"", "")?;
            add(EntryType::Regular, "un/named/file", 0o644, b"x", "")?;
            add(EntryType::Fifo, "d/fifo", 0o620, b"", "")?;
            add(EntryType::Symlink, "d/link", 0o777, b"", "../nowhere")?;
            add(EntryType::Link, "d/again", 0o644, b"", "d/su")?;
            for number in 0..count {
                let content = format!("{number}").repeat(number % 7);
                add(
                    EntryType::Regular,
                    &format!("d/{number}"),
                    0o644,
                    content.as_bytes(),
                    "",
                )?;
            }
            io::Result::Ok(())
        };
        all().map_err(Error::written)?;
        tar.finish().map_err(Error::written)
    }

    /// Returns everything that a squashfs states about its files.
    fn told(path: &Path) -> Vec<String> {
        let open = || File::open(path).unwrap();
        let fs = squashfs::Filesystem::open(open(), 0, None).unwrap();
        let mut told = Vec::new();
        let mut ahead = vec![(
            PathBuf::from("/"),
            fs.resolve(Path::new("/")).unwrap().unwrap(),
        )];
        while let Some((path, inode)) = ahead.pop() {
            let mut content = vec![0; 100];
            let content = match inode.kind {
                squashfs::Kind::File => {
                    let length = fs.read(&inode, 0, &mut content).unwrap();
                    content.truncate(length);
                    content
                }
                squashfs::Kind::Symlink => fs.read_link(&inode).unwrap(),
                _ => Vec::new(),
            };
            told.push(format!(
                "{} {:?} {:o} {} {} {} {} {:?}",
                path.display(),
                inode.kind,
                inode.permissions,
                inode.uid,
                inode.gid,
                inode.modified,
                inode.links,
                String::from_utf8(content).unwrap()
            ));
            if inode.kind == squashfs::Kind::Directory {
                for entry in fs.read_dir(&inode, 0).unwrap() {
                    let entry = entry.unwrap();
                    let name = String::from_utf8(entry.name).unwrap();
                    let inode = fs.lookup(&inode, name.as_bytes()).unwrap().unwrap();
                    ahead.push((path.join(name), inode));
                }
            }
        }
        told.sort();
        told
    }

    #[test]
    fn a_crowd_is_packed_as_a_tar_would_be() {
        if !squash::is_installed() {
            panic!("mksquashfs (squashfs-tools 4.5 or later) is needed");
        }
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let mut write = |output: &mut dyn Write| tree(300, output);
        let packing = packing(1_700_000_000);
        squash::pack(Input::Tar(&mut write), &at("tar"), 0, &packing).unwrap();
        assert!(pack(&at("crowd"), 0, &packing, home.path(), &mut write).unwrap());
        assert_eq!(told(&at("crowd")), told(&at("tar")));
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            2,
            "nothing is left"
        );
    }

    #[test]
    fn what_a_directory_cannot_hold_is_left_to_the_tar() {
        let home = tempfile::tempdir().unwrap();
        let packs = |write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Error>| {
            let output = home.path().join("out");
            pack(&output, 0, &packing(0), home.path(), write).unwrap()
        };
        let with = |attribute: Option<&str>, names: &[&str], mode: u32| {
            let mut tar = tar::Builder::new(Vec::new());
            for name in names {
                if let Some(key) = attribute {
                    tar.append_pax_extensions([(key, &b"v"[..])]).unwrap();
                }
                let mut header = oci::Flat::default().header(EntryType::Regular, mode, 0);
                tar.append_data(&mut header, name, io::empty()).unwrap();
            }
            tar.into_inner().unwrap()
        };
        let cases = [
            (with(None, &["a"], 0o644), true),
            (with(Some("SCHILY.xattr.user.a"), &["a"], 0o644), false),
            (with(None, &["a", "a"], 0o644), false),
            (with(None, &["a b"], 0o4755), false),
        ];
        for (number, (tar, expected)) in cases.iter().enumerate() {
            let write = &mut |output: &mut dyn Write| output.write_all(tar).map_err(Error::written);
            assert_eq!(packs(write), *expected, "{number}");
        }
        let failed = pack_fails(home.path());
        assert!(!failed, "the tar will say why");
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            1,
            "nothing is left"
        );
    }

    fn pack_fails(home: &Path) -> bool {
        let mut write = |_: &mut dyn Write| Err(Error::Squash("no".to_owned()));
        pack(&home.join("out"), 0, &packing(0), home, &mut write).unwrap()
    }
}

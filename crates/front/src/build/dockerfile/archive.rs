//! Archives that `ADD` unpacks: tars, also those that gzip, bzip2, xz or zstd has compressed, by the
//! host's programs of these names.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rootfs::{Directory, Files, changed_at, create_at, remove_at};
use rustix::fs::{AtFlags, FileType, Mode, fchmod, mknodat, symlinkat, utimensat};
use tar::{Entry, EntryType};

/// The programs, and the starts of the files that they have compressed.
const PROGRAMS: [(&str, &[u8]); 4] = [
    ("gzip", &[0x1f, 0x8b]),
    ("bzip2", b"BZh"),
    ("xz", &[0xfd, b'7', b'z', b'X', b'Z', 0]),
    ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
];
/// Size of a header, in bytes (POSIX, ustar).
const HEADER: usize = 512;

/// The content of a file, which may be decompressed by a child process.
struct Content {
    reader: Box<dyn Read>,
    child: Option<Child>,
}

impl Content {
    fn open(context: &Directory, path: &Path) -> Result<Option<Self>> {
        let Some(start) = context.read(path, HEADER)? else {
            return Ok(None);
        };
        let file = context.path().join(path.strip_prefix("/").unwrap_or(path));
        let file = File::open(&file).with_context(|| file.display().to_string())?;
        let program = PROGRAMS.iter().find(|(_, known)| start.starts_with(known));
        let Some((program, _)) = program else {
            return Ok(Some(Self {
                reader: Box::new(file),
                child: None,
            }));
        };
        let mut command = Command::new(program);
        command
            .arg("-dc")
            .stdin(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| {
            format!("{program}, which would unpack it; COPY copies it as it is")
        })?;
        let reader = child.stdout.take().context("its output")?;
        Ok(Some(Self {
            reader: Box::new(reader),
            child: Some(child),
        }))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a file of the context is an archive: its first header has a valid checksum.
///
/// # Errors
///
/// Fails when it cannot be read, or its program is missing.
pub fn is_archive(context: &Directory, path: &Path) -> Result<bool> {
    let path = context.locate(path)?.path;
    let Some(mut content) = Content::open(context, &path)? else {
        return Ok(false);
    };
    let mut header = tar::Header::new_old();
    if content.reader.read_exact(header.as_mut_bytes()).is_err() {
        return Ok(false);
    }
    let bytes = header.as_bytes();
    // The checksum counts its own field as blanks.
    let sum: u32 = { bytes.iter().enumerate() }
        .map(|(at, byte)| {
            u32::from(if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            })
        })
        .sum();
    Ok(header.cksum().is_ok_and(|stated| stated == sum))
}

/// Unpacks an archive into a directory of the image, which is made if it is missing. No name and no
/// link leads out of the image. Devices are left out.
///
/// # Errors
///
/// Fails on a damaged archive, on names with `..`, and when the file system refuses.
pub fn unpack(context: &Directory, path: &Path, target: &Path, root: &Directory) -> Result<()> {
    let path = context.locate(path)?.path;
    let mut content = Content::open(context, &path)?.context("is no file")?;
    root.make_directories(target)?;
    let mut directories = Vec::new();
    for entry in tar::Archive::new(&mut content.reader).entries()? {
        let entry = entry?;
        let name = entry.path()?.into_owned();
        let unpacked = unpack_one(entry, &name, target, root, &mut directories);
        unpacked.with_context(|| name.display().to_string())?;
    }
    // A directory may be closed to its owner.
    for (directory, mode, time) in directories.into_iter().rev() {
        let opened = root.make_directories(&directory)?;
        set_time(&opened, Path::new(""), time)?;
        fchmod(opened, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// The bits of modes that are kept.
const MODE: u32 = 0o7777;

fn unpack_one(
    mut entry: Entry<'_, impl Read>,
    name: &Path,
    target: &Path,
    root: &Directory,
    directories: &mut Vec<(PathBuf, u32, u64)>,
) -> Result<()> {
    let Some(path) = within(name, target)? else {
        return Ok(());
    };
    let (mode, time) = (entry.header().mode()? & MODE, entry.header().mtime()?);
    let kind = entry.header().entry_type();
    if kind == EntryType::Directory {
        root.make_directories(&path)?;
        directories.push((path, mode, time));
        return Ok(());
    }
    let (Some(above), Some(file)) = (path.parent(), path.file_name()) else {
        bail!("is the root directory");
    };
    let above: OwnedFd = root.make_directories(above)?;
    let link = entry.link_name()?.map(std::borrow::Cow::into_owned);
    match kind {
        EntryType::Symlink => {
            remove_at(&above, file)?;
            symlinkat(link.context("the link has no target")?, &above, file)?;
        }
        EntryType::Link => {
            let link = link.context("the link has no target")?;
            let linked = within(&link, target)?.context("the link has no target")?;
            return Ok(root.hard_link(&linked, &above, file)?);
        }
        EntryType::Fifo => {
            remove_at(&above, file)?;
            mknodat(&above, file, FileType::Fifo, Mode::from_raw_mode(mode), 0)?;
        }
        EntryType::Char | EntryType::Block => return Ok(()),
        _ => {
            let mut made = create_at(&above, file, 0o600)?;
            io::copy(&mut entry, &mut made)?;
            made.set_permissions(Permissions::from_mode(mode))?;
        }
    }
    set_time(&above, Path::new(file), time)
}

/// Returns the path of a name below the target; `None` for the target itself.
fn within(name: &Path, target: &Path) -> Result<Option<PathBuf>> {
    let mut path = target.to_owned();
    let mut is_target = true;
    for part in name.components() {
        match part {
            Component::Normal(part) => {
                path.push(part);
                is_target = false;
            }
            Component::ParentDir => bail!("a name with .. leads out of the archive"),
            _ => {}
        }
    }
    Ok((!is_target).then_some(path))
}

fn set_time(above: &OwnedFd, name: &Path, time: u64) -> Result<()> {
    let times = changed_at(i64::try_from(time).unwrap_or(0), 0);
    if name.as_os_str().is_empty() {
        rustix::fs::futimens(above, &times)?;
    } else {
        utimensat(above, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

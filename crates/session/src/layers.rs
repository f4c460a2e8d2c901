//! The root as an overlay of several layers.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use rootfs::Directory;
use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock, mkdirat, openat};

use crate::directories::{bind, make_directory};
use crate::error::mount_error;
use crate::{Changes, Error, SessionSpec};

/// The right to write to a directory that keeps changes. It is given up when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    lock: OwnedFd,
}

/// Names in a directory that keeps changes, as Apptainer has them.
const UPPER: &str = "upper";
const WORK: &str = "work";

/// Mounts the root as an overlay of the image, the layers above it, and a layer below it that holds
/// only the mount points that the image lacks. Files keep their owner and mode.
pub(crate) fn mount_overlay(session: &SessionSpec<'_>) -> Result<Option<Claim>, Error> {
    let layout = session.layout;
    let mut lower = Vec::new();
    for number in 0..session.layers.len() {
        let layer = layout.layer(number);
        lower.push(Lower::new(&layer, kept(&layer)));
    }
    lower.push(Lower::new(&layout.image(), None));
    if !session.mount_points.is_empty() {
        let points = layout.mount_points();
        make_mount_points(&points, session.mount_points)?;
        lower.push(Lower::new(&points, None));
    }
    let lower_paths: Vec<String> = lower.iter().map(Lower::path).collect();
    let mut data = format!("lowerdir={}", lower_paths.join(":"));
    let upper = session.changes.map(|changes| Upper::new(session, changes));
    let upper = upper.transpose()?;
    if let Some(upper) = &upper {
        let of = |directory: &OwnedFd| format!("/proc/self/fd/{}", directory.as_raw_fd());
        let (upper, work) = (of(&upper.upper), of(&upper.work));
        data += &format!(",upperdir={upper},workdir={work}");
    }
    let root = layout.root();
    // `userxattr` (Linux 5.11) allows an overlay to be mounted in a user namespace.
    let unprivileged = format!("{data},userxattr");
    let attempt = |data: &str| {
        let (kind, flags) = (Some("overlay"), MsFlags::MS_NODEV);
        mount(Some("overlay"), &root, kind, flags, Some(data))
    };
    let mounted = attempt(&unprivileged).or_else(|_| attempt(&data));
    match (mounted, upper) {
        (
            Err(errno),
            Some(Upper {
                named: Some(path), ..
            }),
        ) => Err(Error::Overlay {
            path,
            source: errno.into(),
        }),
        (Err(errno), _) => Err(mount_error("overlay", &root)(errno)),
        (Ok(()), None) => Ok(None),
        (Ok(()), Some(upper)) => {
            upper.let_its_owner_remove_it();
            Ok(upper.claim)
        }
    }
}

/// A layer that is only read.
struct Lower {
    path: PathBuf,
    /// The directory in it that is the layer.
    part: Option<OwnedFd>,
}

impl Lower {
    fn new(path: &Path, part: Option<OwnedFd>) -> Self {
        Self {
            path: path.to_owned(),
            part,
        }
    }

    fn path(&self) -> String {
        match &self.part {
            Some(part) => format!("/proc/self/fd/{}", part.as_raw_fd()),
            None => self.path.display().to_string(),
        }
    }
}

/// The layer of changes.
struct Upper {
    upper: OwnedFd,
    work: OwnedFd,
    /// The directory as the user named it.
    named: Option<PathBuf>,
    claim: Option<Claim>,
}

impl Upper {
    fn new(session: &SessionSpec<'_>, changes: Changes<'_>) -> Result<Self, Error> {
        let at = session.layout.changes();
        make_directory(&at)?;
        match changes {
            Changes::Memory(size) => {
                let size = size.map_or_else(String::new, |size| format!(",size={size}"));
                let data = format!("mode=755{size}");
                let (kind, flags) = (Some("tmpfs"), MsFlags::MS_NODEV);
                mount(kind, &at, kind, flags, Some(data.as_str()))
                    .map_err(mount_error("tmpfs", &at))?;
                Self::in_directory(&at, None).map_err(|source| Error::Write { path: at, source })
            }
            Changes::Directory(directory) => {
                let named = directory.path();
                bind(named, &at)?;
                Self::in_directory(&at, Some(named)).map_err(|source| Error::Overlay {
                    path: named.to_owned(),
                    source,
                })
            }
        }
    }

    /// Opens the directories for changes in the mount at `at`. The kernel wants both in one mount.
    fn in_directory(at: &Path, named: Option<&Path>) -> io::Result<Self> {
        let directory = Directory::open_root(at)?;
        let claim = named.map(|_| Claim::new(&directory)).transpose()?;
        for name in [UPPER, WORK] {
            match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                Err(rustix::io::Errno::EXIST) => {}
                made => made?,
            }
        }
        let open = |name| own(&directory, name)?.ok_or_else(|| not_a_directory(name));
        Ok(Self {
            upper: open(UPPER)?,
            work: open(WORK)?,
            named: named.map(Path::to_owned),
            claim,
        })
    }

    /// The kernel makes a directory without permissions, which the owner could not remove.
    fn let_its_owner_remove_it(&self) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(work) = openat(&self.work, WORK, flags, Mode::empty()) {
            let _ = fchmod(&work, Mode::from_raw_mode(0o700));
        }
    }
}

/// Time to wait for a session that is about to end.
const A_MOMENT: Duration = Duration::from_secs(1);

impl Claim {
    fn new(directory: &Directory) -> io::Result<Self> {
        let lock = directory.as_fd().try_clone_to_owned()?;
        let claim = Self { lock };
        let end = Instant::now() + A_MOMENT;
        while !claim.take()? {
            // A program's caller goes on before the program's monitor has noticed the end.
            if Instant::now() >= end {
                return Err(io::Error::other(
                    "another container is writing to it; wait for its end, or add :ro",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(claim)
    }

    /// Takes the right. Returns whether nobody else has it.
    pub(crate) fn take(&self) -> io::Result<bool> {
        match flock(&self.lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives up the right while no program runs.
    pub(crate) fn give_up(&self) {
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Returns the directory of changes in a layer that has kept some.
fn kept(layer: &Path) -> Option<OwnedFd> {
    let layer = Directory::open_root(layer).ok()?;
    own(&layer, WORK).ok()??;
    own(&layer, UPPER).ok()?
}

fn not_a_directory(name: &str) -> io::Error {
    io::Error::other(format!("{name} in it is not a directory"))
}

/// Opens a directory in a layer. The layer may be another user's, so a link is not followed.
fn own(layer: &Directory, name: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(layer, name, flags, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            Ok(None)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn make_mount_points(layer: &Path, mount_points: &[(&Path, bool)]) -> Result<(), Error> {
    for (path, directory) in mount_points {
        // This is the session's own empty file system, so no link is in the way.
        let path = layer.join(path.strip_prefix("/").unwrap_or(path));
        let made = if *directory {
            fs::create_dir_all(&path)
        } else {
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::write(&path, ""))
        };
        made.map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}

//! Mounting the image in the way that the host offers.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cache::{Cache, Kind};
use image::{Embedded, RootFs, Squashed};
use nix::mount::{MsFlags, mount};
use rustix::fs::CWD;
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fsconfig_set_flag, fspick};

use crate::directories::{bind, make_directory};
use crate::error::mount_error;
use crate::fuse::Server;
use crate::layers::{self, Claim};
use crate::spec::Note;
use crate::{Error, Layout, SessionSpec};

/// Mounts the session's own file system over its directory, and makes the directories in it.
pub(crate) fn lay_out(layout: &Layout) -> Result<(), Error> {
    let directory = layout.directory();
    // 64 MB is Apptainer's `sessiondir max size`. It limits the memory that a container can occupy
    // here.
    let data = Some("mode=755,size=64m");
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        data,
    )
    .map_err(mount_error("tmpfs", directory))?;
    for path in [
        layout.image(),
        layout.root(),
        layout.files(),
        layout.bundle(),
        layout.state(),
    ] {
        make_directory(&path)?;
    }
    Ok(())
}

/// Mounts the session's images: the root with all its layers, and the images whose files are bound.
/// `servers` has the server of each of [`SessionSpec::images`]. The result must be kept as long as
/// the session lasts.
pub(crate) fn mount_images(
    session: &SessionSpec<'_>,
    servers: Vec<Option<Server>>,
    note: &mut dyn FnMut(Note),
) -> Result<Option<Claim>, Error> {
    let layout = session.layout;
    let has_overlay = session.has_overlay();
    let root = match has_overlay {
        true => layout.image(),
        false => layout.root(),
    };
    let layers = (0..session.layers.len()).map(|number| layout.layer(number));
    let data = (0..session.data.len()).map(|number| layout.data(number));
    let targets = [root].into_iter().chain(layers).chain(data);
    for ((image, target), server) in session.images().zip(targets).zip(servers) {
        if !target.exists() {
            make_directory(&target)?;
        }
        match image {
            RootFs::Directory(directory) => bind(directory.path(), &target)?,
            RootFs::Embedded(files) => lay_out_files(files, &target)?,
            RootFs::Squashfs(squashed) => {
                mount_squashfs(squashed, server, &target, session.cache, note)?;
            }
        }
    }
    match has_overlay {
        true => layers::mount_overlay(session),
        false => Ok(None),
    }
}

fn lay_out_files(files: &[Embedded], target: &Path) -> Result<(), Error> {
    for file in files {
        let path = target.join(file.path.trim_start_matches('/'));
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, file.content))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)));
        written.map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}

/// Mounts a squashfs with the kernel's driver where that is allowed, else with our server, else as
/// a copy in the cache.
fn mount_squashfs(
    squashed: &Squashed,
    server: Option<Server>,
    target: &Path,
    cache: &Path,
    note: &mut dyn FnMut(Note),
) -> Result<(), Error> {
    match server {
        Some(server) => server.mount(target),
        None => match mount_loop(squashed, target) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!("the kernel cannot mount the image itself: {error}");
                extract(squashed, cache, note).and_then(|directory| bind(&directory, target))
            }
        },
    }
}

fn mount_loop(squashed: &Squashed, target: &Path) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Mount {
        what: "squashfs on a loop device".to_owned(),
        target: target.to_owned(),
        source,
    };
    let (_device, path) =
        sys::attach_loop(&squashed.file, squashed.offset, squashed.size).map_err(failed)?;
    // As in Apptainer: for root, setuid programs in the image stay effective.
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    mount(Some(&path), target, Some("squashfs"), flags, None::<&str>)
        .map_err(|errno| failed(errno.into()))
}

/// Extracts the image into the cache, unless it is already there, and returns the directory.
fn extract(
    squashed: &Squashed,
    cache: &Path,
    note: &mut dyn FnMut(Note),
) -> Result<PathBuf, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| Error::Write { path, source }
    };
    let stat = squashed.file.metadata().map_err(failed(cache))?;
    let key = format!(
        "{:x}-{:x}-{:x}.{:x}-{:x}-{:x}",
        stat.dev(),
        stat.ino(),
        stat.mtime(),
        stat.mtime_nsec(),
        stat.len(),
        squashed.offset
    );
    let cache = Cache::new(cache.to_owned());
    let made = cache.get(Kind::Extracted, &key, |part| {
        note(Note::Extracting {
            directory: cache.path(Kind::Extracted, &key),
        });
        fs::create_dir(part)?;
        let extracted = squashfs::extract(&squashed.filesystem, part, false);
        extracted.map_err(|source| Failure::Extract(part.to_owned(), source))?;
        Ok(())
    });
    made.map_err(|failure| match failure {
        Failure::Cache(source) => failed(&cache.path(Kind::Extracted, &key))(source),
        Failure::Extract(path, source) => Error::Extract { path, source },
    })
}

/// Why an image cannot be extracted into the cache.
enum Failure {
    Cache(io::Error),
    Extract(PathBuf, squashfs::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Cache(error)
    }
}

/// Makes the kernel look up the names of an image that is a directory again. An overlay caches
/// names, and the owner of the directory may have changed it. When a file system is reconfigured,
/// it forgets the names that nobody uses (`reconfigure_super` of `fs/super.c`).
pub(crate) fn look_anew(root: &Path) -> io::Result<()> {
    let overlay = fspick(CWD, root, FsPickFlags::FSPICK_CLOEXEC)?;
    // This changes nothing: without a writable layer, the overlay is always read-only.
    fsconfig_set_flag(&overlay, "ro")?;
    Ok(fsconfig_reconfigure(&overlay)?)
}

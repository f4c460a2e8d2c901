//! The directories of the host that a container shows at the usual places.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundle::{Content, DefaultMount, Directories, Scratch};

use crate::flags::FuseMount;
use crate::request::Request;

/// Returns the content of the container's home, of its directories for temporary files, and of those
/// that the user asked for. `home` is the caller's own home.
pub(super) fn directories(request: &Request, home: &Path) -> Directories {
    let mounts = &request.container.mounts;
    let contained = request.is_contained();
    let temporary = |path: &str, name: &str| match contained {
        true => mounts.kept(name),
        false if Path::new(path).exists() => Content::Host(path.into()),
        false => Content::Image,
    };
    Directories {
        home: request.container.home.content(home, contained, mounts),
        tmp: temporary("/tmp", "tmp"),
        var_tmp: temporary("/var/tmp", "var_tmp"),
        scratch: { mounts.scratch.iter().cloned() }
            .chain(mounts.fuse.iter().map(mount_point))
            .collect(),
        omitted: mounts.omitted.iter().copied().collect(),
    }
}

/// Returns an empty directory as a mount point.
fn mount_point(mount: &FuseMount) -> Scratch {
    Scratch {
        destination: mount.mount_point.clone(),
        content: Content::Empty,
        size: None,
    }
}

/// Makes the directories in the user's directory for temporary data (`--workdir`).
///
/// # Errors
///
/// Fails with the first one that cannot be made.
pub(super) fn make_kept(directories: &Directories, workdir: Option<&Path>) -> Result<()> {
    let Some(workdir) = workdir else {
        return Ok(());
    };
    for (path, mode) in kept(directories) {
        if path.starts_with(workdir) {
            let made = DirBuilder::new().recursive(true).mode(mode).create(path);
            made.map_err(|error| std::io::Error::other(text::message(&error)))
                .with_context(|| format!("make {}", path.display()))?;
        }
    }
    Ok(())
}

/// Returns the directories of the host, with the mode of those that are made.
fn kept(directories: &Directories) -> impl Iterator<Item = (&Path, u32)> {
    let Directories {
        home,
        tmp,
        var_tmp,
        scratch,
        ..
    } = directories;
    let scratch = scratch.iter().map(|scratch| (&scratch.content, 0o700));
    let all = [(home, 0o700), (tmp, 0o700), (var_tmp, 0o700)];
    all.into_iter()
        .chain(scratch)
        .filter_map(|(content, mode)| match content {
            Content::Host(path) => Some((path.as_path(), mode)),
            _ => None,
        })
}

/// Returns the directories of the host that a container shows.
pub(super) fn sources(directories: &Directories) -> impl Iterator<Item = &Path> {
    kept(directories).map(|(path, _)| path)
}

/// Returns the paths inside that show a directory of the host, and that directory. `home` is the
/// path of the home inside.
pub(super) fn shown(directories: &Directories, home: &Path) -> Vec<(PathBuf, PathBuf)> {
    let Directories {
        tmp,
        var_tmp,
        scratch,
        omitted,
        ..
    } = directories;
    let usual = [
        (Path::new("/tmp"), tmp, DefaultMount::Tmp),
        (Path::new("/var/tmp"), var_tmp, DefaultMount::Tmp),
        (home, &directories.home, DefaultMount::Home),
    ];
    let usual = usual
        .into_iter()
        .filter(|(_, _, kind)| !omitted.contains(kind));
    let usual = usual.map(|(path, content, _)| (path, content));
    let scratch = scratch.iter();
    let scratch = scratch.map(|scratch| (scratch.destination.as_path(), &scratch.content));
    // A user without a home has the root, which shows the image.
    let all = usual
        .chain(scratch)
        .filter(|(path, _)| *path != Path::new("/"))
        .filter_map(|(path, content)| match content {
            Content::Host(source) => Some((path.to_owned(), source.clone())),
            _ => None,
        });
    all.collect()
}

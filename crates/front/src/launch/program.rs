//! The location of a program, as the container will find it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundle::{Bind, HostFacts};
use image::Image;
use inject::Host;
use rootfs::{Entry, Files};

use super::payload::Start;
use crate::request::Request;

/// The places where a container shows the host's files: paths inside, with the paths on the host.
/// The longest path that matches is used.
pub struct VisiblePaths(Vec<(PathBuf, PathBuf)>);

impl VisiblePaths {
    /// Collects the user's binds, and the files of the host that every container shows. `shown` has
    /// the directories at the usual places.
    pub fn new(
        request: &Request,
        binds: &[Bind],
        shown: Vec<(PathBuf, PathBuf)>,
        facts: &HostFacts,
    ) -> Self {
        let binds = binds.iter().filter(|bind| bind.image.is_none());
        let bound = binds.map(|bind| {
            let inside = bind.destination.as_ref().unwrap_or(&bind.source);
            (inside.clone(), bind.source.clone())
        });
        let shared = ["/dev", "/proc", "/sys"].map(Path::new);
        let shared = shared.into_iter().chain(facts.shown_cwd());
        let shared = shared.filter(|path| !request.is_contained() && *path != Path::new("/"));
        let shared = shared.map(|path| (path.to_owned(), path.to_owned()));
        Self(bound.chain(shown).chain(shared).collect())
    }

    /// Returns the host's path that a path inside shows. Returns `None` for a path of the image.
    fn host_path(&self, path: &Path) -> Option<PathBuf> {
        let above = self.0.iter().filter(|(inside, _)| path.starts_with(inside));
        let (inside, source) = above.max_by_key(|(inside, _)| inside.as_os_str().len())?;
        Some(match path.strip_prefix(inside) {
            Ok(rest) if !rest.as_os_str().is_empty() => source.join(rest),
            _ => source.clone(),
        })
    }
}

/// The location of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramLocation {
    /// In the image.
    Image(PathBuf),
    /// On the host, in a directory that the container shows.
    Host(PathBuf),
}

impl ProgramLocation {
    /// Returns a text that changes with a program of the host. The image's state covers the image's
    /// programs.
    pub fn state(&self, host: &Host) -> String {
        match self {
            Self::Image(_) => String::new(),
            Self::Host(path) => host.files().stamp(path).unwrap_or_default(),
        }
    }
}

/// Finds a program as the container will find it.
pub fn find(
    name: &OsStr,
    image: &Image,
    start: &Start,
    shown: &VisiblePaths,
) -> Result<Option<ProgramLocation>> {
    let process = start.process((BTreeSet::new(), true));
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![process.cwd.join(name).components().collect()]
    } else {
        let path = process.env.iter().find(|(own, _)| own == "PATH");
        let path = path.map(|(_, value)| value.as_os_str()).unwrap_or_default();
        let candidates = rootfs::candidates(path, name);
        let absolute = candidates.map(|candidate| process.cwd.join(candidate));
        absolute.map(|path| path.components().collect()).collect()
    };
    for path in candidates {
        if let Some(source) = shown.host_path(&path) {
            if source.is_file() {
                return Ok(Some(ProgramLocation::Host(source)));
            }
            continue;
        }
        let entry = image.root.entry(&path).context("look for the program")?;
        if matches!(entry, Some(Entry::File { .. })) {
            return Ok(Some(ProgramLocation::Image(path)));
        }
    }
    Ok(None)
}

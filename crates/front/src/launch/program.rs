//! Where a program lies, as it will be found inside.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundle::{Account, Bind, HostFacts};
use image::Image;
use inject::Host;
use tree::{Entry, Files};

use super::payload::Start;
use crate::request::Request;

/// Where a container shows the host's files: places inside, and what is there. The nearest counts.
pub struct Shown(Vec<(PathBuf, PathBuf)>);

impl Shown {
    /// Collects the user's binds and what every container shows.
    pub fn new(request: &Request, binds: &[Bind], account: &Account, facts: &HostFacts) -> Self {
        let bound = binds.iter().map(|bind| {
            let inside = bind.destination.as_ref().unwrap_or(&bind.source);
            (inside.clone(), bind.source.clone())
        });
        let same = |path: &Path| (path.to_owned(), path.to_owned());
        let shared = ["/tmp", "/var/tmp", "/dev", "/proc", "/sys"].map(Path::new);
        let usual = shared
            .into_iter()
            .chain([account.home.as_path()])
            .chain(facts.shown_cwd());
        let usual = usual.filter(|path| !request.is_contained() && *path != Path::new("/"));
        let usual = usual.map(same);
        Self(bound.chain(usual).collect())
    }

    /// Returns what of the host's a path inside shows; `None` for one of the image's.
    fn host_path(&self, path: &Path) -> Option<PathBuf> {
        let above = self.0.iter().filter(|(inside, _)| path.starts_with(inside));
        let (inside, source) = above.max_by_key(|(inside, _)| inside.as_os_str().len())?;
        Some(match path.strip_prefix(inside) {
            Ok(rest) if !rest.as_os_str().is_empty() => source.join(rest),
            _ => source.clone(),
        })
    }
}

/// Where a program lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// In the image.
    Image(PathBuf),
    /// On the host, whose directory is shown inside.
    Host(PathBuf),
}

impl Where {
    /// Tells one of the host's from what it was before; the image's are told by the image.
    pub fn state(&self, host: &Host) -> String {
        match self {
            Self::Image(_) => String::new(),
            Self::Host(path) => host.files().stamp(path).unwrap_or_default(),
        }
    }
}

/// Finds a program as it will be found inside.
pub fn find(name: &OsStr, image: &Image, start: &Start, shown: &Shown) -> Result<Option<Where>> {
    let process = start.process(false);
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![process.cwd.join(name).components().collect()]
    } else {
        let path = process.env.iter().find(|(own, _)| own == "PATH");
        let path = path.map(|(_, value)| value.as_bytes()).unwrap_or_default();
        let directories = path.split(|byte| *byte == b':');
        let directories = directories.map(|part| Path::new(OsStr::from_bytes(part)));
        directories.map(|directory| directory.join(name)).collect()
    };
    for path in candidates {
        if let Some(source) = shown.host_path(&path) {
            if source.is_file() {
                return Ok(Some(Where::Host(source)));
            }
            continue;
        }
        let entry = image.root.entry(&path).context("look for the program")?;
        if matches!(entry, Some(Entry::File { .. })) {
            return Ok(Some(Where::Image(path)));
        }
    }
    Ok(None)
}

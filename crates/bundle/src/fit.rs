//! Fitting mounts to an image: which of their mount points it lacks, and which mounts do not fit.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rootfs::{Entry, Files, Step};

use crate::planned::{Planned, empty};
use crate::{Error, MountPoint, Request, Warning, Writable};

/// Checks every destination against the image. Returns the mounts that fit, and the mount points
/// that the image lacks. Leaves out, with a warning, mounts that do not fit and are not required.
pub(crate) fn fit(
    request: &Request<'_>,
    planned: Vec<Planned>,
    warnings: &mut Vec<Warning>,
) -> Result<(Vec<Planned>, Vec<MountPoint>), Error> {
    let (mut fitting, mut missing) = (Vec::<Planned>::new(), Vec::new());
    let destinations: BTreeSet<PathBuf> = planned
        .iter()
        .map(|mount| mount.destination.clone())
        .collect();
    for mount in planned {
        // Below another mount, the image does not show what is there.
        let mut above = fitting.iter();
        if above.any(|parent| mount.destination.starts_with(&parent.destination)) {
            fitting.push(mount);
            continue;
        }
        let failed = |source| Error::Image {
            path: mount.destination.clone(),
            source,
        };
        let place = Target::find(request.root, &mount).map_err(failed)?;
        // The target of the image's link is mounted on separately.
        if mount.optional && place.is_link && is_shown(&place.path, &destinations) {
            continue;
        }
        match place.state {
            State::Fits => {}
            State::Missing if request.writable == Writable::Image => {
                fitting.extend(without_point(request, mount, warnings)?);
                continue;
            }
            State::Missing => missing.push(MountPoint {
                path: place.path,
                directory: mount.directory.unwrap_or(true),
            }),
            State::Other(reason) if mount.optional => {
                warnings.push(Warning::DoesNotFit {
                    destination: mount.destination,
                    reason,
                });
                continue;
            }
            State::Other(reason) => {
                return Err(Error::TypeMismatch {
                    source_path: mount.source,
                    destination: mount.destination,
                    reason,
                });
            }
        }
        fitting.push(mount);
    }
    Ok((fitting, missing))
}

/// Returns the mounts in place of one whose mount point a writable image lacks: a home in an empty
/// directory of the image is shown in a new one.
fn without_point(
    request: &Request<'_>,
    mount: Planned,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Planned>, Error> {
    let destination = mount.destination.clone();
    if !mount.optional {
        return Err(Error::NoMountPoint { destination });
    }
    let above = destination
        .parent()
        .filter(|_| destination == request.account.home);
    if let Some(above) = above.filter(|above| *above != Path::new("/")) {
        let found = request.root.step(above);
        let found = found.and_then(|found| match found {
            Some(Step::Entry(Entry::Directory)) => Ok(request.root.list(above)?.is_empty()),
            _ => Ok(false),
        });
        let is_empty = found.map_err(|source| Error::Image {
            path: above.to_owned(),
            source,
        })?;
        if is_empty {
            return Ok(vec![empty(above, "755", None), mount]);
        }
    }
    warnings.push(Warning::NoMountPoint { destination });
    Ok(Vec::new())
}

/// Whether a path is the destination of a mount, or below one.
fn is_shown(path: &Path, destinations: &BTreeSet<PathBuf>) -> bool {
    path.ancestors().any(|above| destinations.contains(above))
}

/// The place of a mount in an image.
struct Target {
    /// The path of the mount point, without links.
    path: PathBuf,
    /// Whether a link leads there.
    is_link: bool,
    state: State,
}

/// The state of the place.
enum State {
    /// A file that can be mounted on.
    Fits,
    /// There is nothing.
    Missing,
    /// A file that cannot be mounted on, for this reason.
    Other(&'static str),
}

impl Target {
    fn find(root: &dyn Files, mount: &Planned) -> io::Result<Self> {
        let destination = &mount.destination;
        let itself = match (destination.parent(), destination.file_name()) {
            (Some(parent), Some(name)) => root.locate(parent)?.path.join(name),
            _ => destination.clone(),
        };
        let (path, entry, is_link) = match root.step(&itself)? {
            Some(Step::Link(_)) if mount.on_link => {
                return Ok(Self {
                    path: itself,
                    is_link: false,
                    state: State::Fits,
                });
            }
            Some(Step::Link(_)) => {
                let found = root.locate(destination)?;
                (found.path, found.entry, true)
            }
            Some(Step::Entry(entry)) => (itself, Some(entry), false),
            None => (itself, None, false),
        };
        let directory = mount.directory.unwrap_or(true);
        let state = match entry {
            Some(entry) if (entry == Entry::Directory) == directory => State::Fits,
            Some(_) if directory => State::Other("it is not a directory in the image"),
            Some(_) => State::Other("it is a directory in the image"),
            None => State::Missing,
        };
        Ok(Self {
            path,
            is_link,
            state,
        })
    }
}

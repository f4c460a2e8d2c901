//! The mounts of a container, and their order.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use rootfs::{Entry, Files, Step};

use crate::{Bind, Error, MountPoint, Request, Warning};

/// The mounts, the mount points that they need, and warnings.
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<Mount>,
    /// Destinations that the image lacks.
    pub(crate) mount_points: Vec<MountPoint>,
    pub(crate) warnings: Vec<Warning>,
}

/// The names of generated files in their directory, and the paths at which they are bound.
pub(crate) const GENERATED: [(&str, &str); 4] = [
    ("passwd", "/etc/passwd"),
    ("group", "/etc/group"),
    ("resolv.conf", "/etc/resolv.conf"),
    ("ld.so.cache", "/etc/ld.so.cache"),
];

/// A mount that is not yet converted to one of the specification's.
struct Planned {
    destination: PathBuf,
    source: PathBuf,
    kind: &'static str,
    options: Vec<String>,
    /// Whether the source is a directory; `None` if the mount is not a bind.
    directory: Option<bool>,
    /// Whether a link at the destination is mounted on instead of followed.
    on_link: bool,
    /// Whether a container can do without it.
    optional: bool,
}

impl Planned {
    fn bind(source: &Path, destination: &Path, directory: bool) -> Self {
        Self {
            destination: destination.to_owned(),
            source: source.to_owned(),
            kind: "bind",
            // Recursive, so that mounts of the host below it are included; never setuid or device
            // nodes through it.
            options: words(&["rbind", "nosuid", "nodev"]),
            directory: Some(directory),
            on_link: false,
            optional: false,
        }
    }

    /// Marks a mount that every container gets if possible. A file replaces the image's file at its
    /// destination, even a link.
    fn usual(self) -> Self {
        Self {
            on_link: self.directory == Some(false),
            optional: true,
            ..self
        }
    }

    /// Makes the mount read-only, with all mounts below it.
    fn read_only(mut self) -> Self {
        self.options.push("rro".to_owned());
        self
    }

    fn device(mut self) -> Self {
        self.options = words(&["rbind", "nosuid"]);
        self
    }

    fn with(kind: &'static str, destination: &str, options: &[&str]) -> Self {
        Self {
            destination: destination.into(),
            source: kind.into(),
            kind,
            options: words(options),
            directory: None,
            on_link: false,
            optional: false,
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Plans the mounts of `request`.
pub(crate) fn plan(request: &Request<'_>, generated: &[&str]) -> Result<Mounts, Error> {
    refuse_links(request.root)?;
    let mut warnings = Vec::new();
    let asked = asked(request, &mut warnings)?;
    let taken: BTreeSet<&Path> = asked
        .iter()
        .map(|mount| mount.destination.as_path())
        .collect();
    let mut planned = defaults(request, generated);
    planned.retain(|mount| !taken.contains(mount.destination.as_path()));
    drop(taken);
    planned.extend(asked);
    if let Some(cwd) = working_directory(request, &planned) {
        planned.push(cwd);
    }
    // Parents before children, whatever the order of the requests.
    planned.sort_by_key(|mount| mount.destination.components().count());
    let (planned, mount_points) = fit(request.root, planned, &mut warnings)?;
    let mounts = planned.into_iter().map(finish).collect::<Result<_, _>>()?;
    Ok(Mounts {
        mounts,
        mount_points,
        warnings,
    })
}

/// Refuses an image whose `/dev` is a link: the engine makes nodes and links in there by their
/// paths.
fn refuse_links(root: &dyn Files) -> Result<(), Error> {
    let path = Path::new("/dev");
    let failed = |source| Error::Image {
        path: path.to_owned(),
        source,
    };
    match root.step(path).map_err(failed)? {
        Some(Step::Link(_)) => Err(failed(io::Error::other(
            "it is a symbolic link, where devices cannot be made safely",
        ))),
        _ => Ok(()),
    }
}

/// Returns the mounts that every container gets, unless the user binds something else there.
fn defaults(request: &Request<'_>, generated: &[&str]) -> Vec<Planned> {
    let host = request.host;
    let processes = if request.own_processes {
        Planned::with("proc", "/proc", &["nosuid", "nodev", "noexec"])
    } else {
        Planned::bind(Path::new("/proc"), Path::new("/proc"), true).device()
    };
    let mut planned = vec![
        processes,
        // It contains cgroups that were delegated to the user, with which processes outside could
        // be frozen and killed.
        match request.contained || request.own_processes {
            true => Planned::bind(Path::new("/sys"), Path::new("/sys"), true).read_only(),
            false => Planned::bind(Path::new("/sys"), Path::new("/sys"), true),
        },
        // A new /dev that is filled node by node: the engine replaces /dev/ptmx, and must never do
        // that to the host's.
        Planned::with("tmpfs", "/dev", &["nosuid", "mode=755", "size=65536k"]),
        // A new instance, since the host's provides new terminals only through its own ptmx.
        Planned::with(
            "devpts",
            "/dev/pts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
            ],
        ),
    ];
    if request.contained {
        planned.push(empty(Path::new("/dev/shm"), "1777"));
        let nodes = request.edits.device_nodes.iter();
        planned.extend(nodes.map(|node| Planned::bind(node, node, false).device()));
    } else {
        for directory in &host.device_directories {
            planned.push(Planned::bind(directory, directory, true).device());
        }
    }
    // A container with process ids of its own outlives its caller, so it does not get the caller's
    // terminal.
    if let Some(terminal) = host.terminal.as_ref().filter(|_| !request.own_processes) {
        // The caller's terminal has no name in our devpts. This bind lets ttyname(3) find it.
        planned.push(Planned::bind(terminal, Path::new("/dev/console"), false).device());
    }
    for path in crate::HostFacts::SHARED.map(Path::new) {
        let temporary = !path.starts_with("/etc");
        if request.contained && temporary {
            planned.push(empty(path, "1777").usual());
        } else if host.has(path) {
            planned.push(Planned::bind(path, path, temporary).usual());
        }
    }
    let home = &request.account.home;
    if home.is_absolute() && home != Path::new("/") {
        if request.contained {
            planned.push(empty(home, "755").usual());
        } else if host.has(home) {
            planned.push(Planned::bind(home, home, true).usual());
        }
    }
    for (name, destination) in GENERATED {
        if generated.contains(&name) {
            let source = request.paths.files.join(name);
            planned.push(Planned::bind(&source, Path::new(destination), false).usual());
        }
    }
    planned
}

/// Returns a mount of an empty directory of the container's own.
fn empty(path: &Path, mode: &str) -> Planned {
    let options = ["nosuid", "nodev", &format!("mode={mode}")];
    Planned::with("tmpfs", &path.to_string_lossy(), &options)
}

/// Returns the mounts that the user requested, and those that the host injects.
fn asked(request: &Request<'_>, warnings: &mut Vec<Warning>) -> Result<Vec<Planned>, Error> {
    let mut asked: Vec<Planned> = Vec::new();
    for bind in request.binds {
        let Some(mount) = user_bind(bind)? else {
            continue;
        };
        if asked
            .iter()
            .any(|other| other.destination == mount.destination)
        {
            warnings.push(Warning::DuplicateDestination {
                source: mount.source,
                destination: mount.destination,
            });
        } else {
            asked.push(mount);
        }
    }
    for mount in &request.edits.mounts {
        // A user's own bind at the same destination wins over an injected mount.
        if !asked
            .iter()
            .any(|other| other.destination == mount.container_path)
        {
            let mut planned = Planned::bind(
                &mount.host_path,
                &mount.container_path,
                mount.host_path.is_dir(),
            );
            if mount.container_path.starts_with("/dev") {
                planned = planned.device();
            }
            // The other options have no effect on a bind without privileges.
            let known = mount
                .options
                .iter()
                .filter(|word| ["ro", "noexec"].contains(&word.as_str()));
            planned.options.extend(known.cloned());
            asked.push(planned);
        }
    }
    Ok(asked)
}

fn user_bind(bind: &Bind) -> Result<Option<Planned>, Error> {
    let destination = match &bind.destination {
        Some(destination) => destination.clone(),
        None => crate::bind::clean(&bind.source)?,
    };
    if destination == Path::new("/dev") && bind.source == Path::new("/dev") {
        // The container has it anyway.
        return Ok(None);
    }
    if [Path::new("/"), Path::new("/dev")].contains(&destination.as_path()) {
        return Err(Error::Forbidden {
            source_path: bind.source.clone(),
            destination,
        });
    }
    let mut mount = Planned::bind(&bind.source, &destination, bind.source.is_dir());
    if destination.starts_with("/dev") {
        mount = mount.device();
    }
    if bind.read_only {
        mount.options.push("ro".to_owned());
    }
    Ok(Some(mount))
}

/// Returns a bind of the caller's working directory, unless it is already visible.
fn working_directory(request: &Request<'_>, planned: &[Planned]) -> Option<Planned> {
    let cwd = request.host.shown_cwd().filter(|_| !request.contained)?;
    let covering = planned
        .iter()
        .filter(|mount| cwd.starts_with(&mount.destination))
        .max_by_key(|mount| mount.destination.components().count());
    let visible = covering.is_some_and(|mount| mount.destination == mount.source);
    // The user has put something else over this path, and wants to see that.
    if visible || covering.is_some() {
        return None;
    }
    Some(Planned::bind(cwd, cwd, true))
}

/// Checks every destination against the image. Returns the mounts that fit, and the mount points
/// that the image lacks. Leaves out, with a warning, mounts that do not fit and are not required.
fn fit(
    root: &dyn Files,
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
        let place = Target::find(root, &mount).map_err(failed)?;
        // The target of the image's link is mounted on separately.
        if mount.optional && place.is_link && is_shown(&place.path, &destinations) {
            continue;
        }
        match place.state {
            State::Fits => {}
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

/// The option, under crun's name, not to follow a link at the destination.
const ON_LINK: &str = "dest-nofollow";

fn finish(mut mount: Planned) -> Result<Mount, Error> {
    mount
        .options
        .extend(mount.on_link.then(|| ON_LINK.to_owned()));
    Ok(MountBuilder::default()
        .destination(mount.destination)
        .typ(mount.kind)
        .source(mount.source)
        .options(mount.options)
        .build()?)
}

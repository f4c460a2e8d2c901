//! Which mounts a container has, and in which order.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use image::RootFs;
use oci_spec::runtime::{Mount, MountBuilder};

use tree::{Entry, Files, Step};

use crate::{Bind, Error, MountPoint, Request, Warning};

/// The mounts, and what making them takes.
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<Mount>,
    /// Destinations that the image lacks.
    pub(crate) mount_points: Vec<MountPoint>,
    pub(crate) warnings: Vec<Warning>,
}

/// Names in the directory of generated files, and where they are bound.
pub(crate) const GENERATED: [(&str, &str); 4] = [
    ("passwd", "/etc/passwd"),
    ("group", "/etc/group"),
    ("resolv.conf", "/etc/resolv.conf"),
    ("ld.so.cache", "/etc/ld.so.cache"),
];

/// A mount on its way to becoming one of the specification's.
struct Planned {
    destination: PathBuf,
    source: PathBuf,
    kind: &'static str,
    options: Vec<String>,
    /// Whether the source is a directory; `None` when it is no bind.
    directory: Option<bool>,
    /// Whether it belongs on a link in its place, whatever that leads to.
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
            // Recursive, so that what is mounted below on the host is there; never setuid or
            // device nodes through it.
            options: words(&["rbind", "nosuid", "nodev"]),
            directory: Some(directory),
            on_link: false,
            optional: false,
        }
    }

    /// One that every container gets which can have it: a file replaces what the image has in its place, also a link.
    fn usual(self) -> Self {
        Self {
            on_link: self.directory == Some(false),
            optional: true,
            ..self
        }
    }

    /// Nothing is written through it, nor through what is mounted below.
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
    // Parents before children, whatever order they were asked in.
    planned.sort_by_key(|mount| mount.destination.components().count());
    let (planned, mount_points) = fit(request.root, planned, &mut warnings)?;
    let mounts = planned.into_iter().map(finish).collect::<Result<_, _>>()?;
    Ok(Mounts {
        mounts,
        mount_points,
        warnings,
    })
}

/// Refuses an image whose `/dev` leads elsewhere: the engine makes nodes and links in there by their
/// paths.
fn refuse_links(root: &RootFs) -> Result<(), Error> {
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

/// What every container gets, unless the user binds something else there.
fn defaults(request: &Request<'_>, generated: &[&str]) -> Vec<Planned> {
    let host = request.host;
    let processes = if request.own_processes {
        Planned::with("proc", "/proc", &["nosuid", "nodev", "noexec"])
    } else {
        Planned::bind(Path::new("/proc"), Path::new("/proc"), true).device()
    };
    let mut planned = vec![
        processes,
        // Cgroups that were delegated to the user lie in there, and could freeze and kill what is outside.
        match request.contained || request.own_processes {
            true => Planned::bind(Path::new("/sys"), Path::new("/sys"), true).read_only(),
            false => Planned::bind(Path::new("/sys"), Path::new("/sys"), true),
        },
        // A fresh /dev that is filled node by node: the engine replaces /dev/ptmx, and must never
        // do that to the host's.
        Planned::with("tmpfs", "/dev", &["nosuid", "mode=755", "size=65536k"]),
        // An instance of its own, since the host's gives new terminals only through its own ptmx.
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
    // One with process ids of its own outlives its caller, whose terminal is none of its business.
    if let Some(terminal) = host.terminal.as_ref().filter(|_| !request.own_processes) {
        // The caller's terminal has no name in our devpts; this one lets ttyname(3) find it.
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

/// An empty directory of the container's own.
fn empty(path: &Path, mode: &str) -> Planned {
    let options = ["nosuid", "nodev", &format!("mode={mode}")];
    Planned::with("tmpfs", &path.to_string_lossy(), &options)
}

/// What the user asked for, and what the host injects.
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
        // A user's own bind in the same place wins over what is injected.
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
            // Of the others none means anything for a bind of somebody without rights.
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
        // It is there already.
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

/// Binds the caller's working directory, unless it is there already.
fn working_directory(request: &Request<'_>, planned: &[Planned]) -> Option<Planned> {
    let cwd = request.host.shown_cwd().filter(|_| !request.contained)?;
    let covering = planned
        .iter()
        .filter(|mount| cwd.starts_with(&mount.destination))
        .max_by_key(|mount| mount.destination.components().count());
    let visible = covering.is_some_and(|mount| mount.destination == mount.source);
    // Below a place where the user put something else, that is what they want to see.
    if visible || covering.is_some() {
        return None;
    }
    Some(Planned::bind(cwd, cwd, true))
}

/// Checks every destination against the image. Returns the mounts that fit, and the mount points that it lacks; leaves
/// out, and says so, what does not fit and is not needed.
fn fit(
    root: &RootFs,
    planned: Vec<Planned>,
    warnings: &mut Vec<Warning>,
) -> Result<(Vec<Planned>, Vec<MountPoint>), Error> {
    let (mut fitting, mut missing) = (Vec::<Planned>::new(), Vec::new());
    let destinations: BTreeSet<PathBuf> = planned
        .iter()
        .map(|mount| mount.destination.clone())
        .collect();
    for mount in planned {
        // Below another mount the image says nothing about what is there.
        let mut above = fitting.iter();
        if above.any(|parent| mount.destination.starts_with(&parent.destination)) {
            fitting.push(mount);
            continue;
        }
        let failed = |source| Error::Image {
            path: mount.destination.clone(),
            source,
        };
        let place = Place::find(root, &mount).map_err(failed)?;
        // The place that the image's link means is mounted on by itself.
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

/// Whether a path is one of those that are mounted on, or lies below one.
fn is_shown(path: &Path, destinations: &BTreeSet<PathBuf>) -> bool {
    path.ancestors().any(|above| destinations.contains(above))
}

/// Where something is to be mounted in an image.
struct Place {
    /// Where it comes to lie, without links.
    path: PathBuf,
    /// Whether a link leads there.
    is_link: bool,
    state: State,
}

/// The state of the place.
enum State {
    /// Something that can be mounted on.
    Fits,
    /// Nothing.
    Missing,
    /// Something that cannot be mounted on, and why.
    Other(&'static str),
}

impl Place {
    fn find(root: &RootFs, mount: &Planned) -> io::Result<Self> {
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

/// The option's name, as crun has it: the destination is not followed where it is a link.
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

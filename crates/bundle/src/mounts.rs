//! The mounts of a container, and their order.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use rootfs::{Files, Step};

use crate::fit::fit;
use crate::planned::{Planned, empty};
use crate::{Bind, Content, DefaultMount, Error, MountPoint, Request, Scratch, ShownPart, Warning};

/// The mounts, the mount points that they need, and warnings.
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<Mount>,
    /// Destinations that the image lacks.
    pub(crate) mount_points: Vec<MountPoint>,
    pub(crate) warnings: Vec<Warning>,
}

/// The names of generated files in their directory, and the paths at which they are bound.
pub(crate) const GENERATED: [(&str, &str); 6] = [
    ("passwd", "/etc/passwd"),
    ("group", "/etc/group"),
    ("resolv.conf", "/etc/resolv.conf"),
    ("hostname", "/etc/hostname"),
    ("ld.so.cache", "/etc/ld.so.cache"),
    ("apt.conf", crate::APT_CONFIG),
];

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
    let (planned, mount_points) = fit(request, planned, &mut warnings)?;
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
    let directories = request.directories;
    let has = |mount| !directories.omitted.contains(&mount);
    let mut planned = Vec::new();
    if has(DefaultMount::Proc) {
        planned.push(match request.own_processes {
            true => Planned::with("proc", "/proc", &["nosuid", "nodev", "noexec"]),
            false => Planned::bind(Path::new("/proc"), Path::new("/proc"), true).device(),
        });
    }
    if has(DefaultMount::Sys) {
        let sys = Planned::bind(Path::new("/sys"), Path::new("/sys"), true);
        // It contains cgroups that were delegated to the user, with which processes outside could
        // be frozen and killed.
        let is_apart = request.contained || request.own_processes;
        planned.push(if is_apart { sys.read_only() } else { sys });
    }
    planned.extend(devices(request));
    let home = request.account.home.as_path();
    let home =
        (home.is_absolute() && home != Path::new("/")).then_some((home, &directories.home, "755"));
    let temporary = [
        (Path::new("/tmp"), &directories.tmp, "1777"),
        (Path::new("/var/tmp"), &directories.var_tmp, "1777"),
    ];
    let temporary = temporary.into_iter().filter(|_| has(DefaultMount::Tmp));
    let home = home.into_iter().filter(|_| has(DefaultMount::Home));
    for (path, content, mode) in temporary.chain(home) {
        planned.extend(show(content, path, mode, None).map(Planned::usual));
    }
    for (path, mount) in crate::HostFacts::FILES {
        let path = Path::new(path);
        if has(mount) && request.host.has(path) {
            planned.push(Planned::bind(path, path, false).usual());
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

/// Returns the mounts at `/dev` and below it.
fn devices(request: &Request<'_>) -> Vec<Planned> {
    let host = request.host;
    let mut planned = vec![
        // A new /dev that is filled node by node: the engine replaces /dev/ptmx, and must never do
        // that to the host's.
        Planned::with("tmpfs", "/dev", &["nosuid", "mode=755", "size=65536k"]),
    ];
    let omitted = &request.directories.omitted;
    let of_host = !request.contained && !omitted.contains(&DefaultMount::Dev);
    if !omitted.contains(&DefaultMount::Devpts) {
        // A new instance, since the host's provides new terminals only through its own ptmx.
        planned.push(Planned::with(
            "devpts",
            "/dev/pts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
            ],
        ));
    }
    if request.contained {
        planned.push(empty(Path::new("/dev/shm"), "1777", None));
        let nodes = request.edits.device_nodes.iter();
        planned.extend(nodes.map(|node| Planned::bind(node, node, false).device()));
    }
    if of_host {
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
    planned
}

/// Returns the mount of a directory with this content. Returns `None` if the image's is shown.
fn show(content: &Content, path: &Path, mode: &str, size: Option<u64>) -> Option<Planned> {
    match content {
        Content::Image => None,
        Content::Empty => Some(empty(path, mode, size)),
        Content::Host(source) => Some(Planned::bind(source, path, true)),
    }
}

/// Returns the mounts that the user requested, and those that the host injects.
fn asked(request: &Request<'_>, warnings: &mut Vec<Warning>) -> Result<Vec<Planned>, Error> {
    let mut asked: Vec<Planned> = Vec::new();
    let scratch = request.directories.scratch.iter().filter_map(scratch);
    let mut images = request.images.iter();
    let binds = request.binds.iter().map(|bind| match &bind.image {
        Some(_) => image_bind(bind, images.next()),
        None => user_bind(bind),
    });
    for mount in binds.chain(scratch.map(|mount| Ok(Some(mount)))) {
        let Some(mount) = mount? else {
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

fn scratch(scratch: &Scratch) -> Option<Planned> {
    let Scratch {
        destination,
        content,
        size,
    } = scratch;
    show(content, destination, "1777", *size)
}

/// Returns the bind of a part of an image.
fn image_bind(bind: &Bind, part: Option<&ShownPart>) -> Result<Option<Planned>, Error> {
    let destination = destination(bind)?;
    let mount = part.map(|part| Planned::bind(&part.path, &destination, part.is_directory));
    Ok(mount.map(Planned::read_only))
}

/// Returns the destination of a bind.
fn destination(bind: &Bind) -> Result<PathBuf, Error> {
    let destination = match &bind.destination {
        Some(destination) => destination.clone(),
        None => crate::clean(&bind.source)?,
    };
    let is_forbidden = [Path::new("/"), Path::new("/dev")].contains(&destination.as_path());
    // The container has its /dev anyway.
    if is_forbidden && (bind.source != Path::new("/dev") || destination != bind.source) {
        return Err(Error::Forbidden {
            source_path: bind.source.clone(),
            destination,
        });
    }
    Ok(destination)
}

fn user_bind(bind: &Bind) -> Result<Option<Planned>, Error> {
    let destination = destination(bind)?;
    if destination == Path::new("/dev") {
        return Ok(None);
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
    let omitted =
        request.contained || { &request.directories.omitted }.contains(&DefaultMount::Cwd);
    let cwd = request.host.shown_cwd().filter(|_| !omitted)?;
    let covering = planned
        .iter()
        .filter(|mount| cwd.starts_with(&mount.destination))
        .max_by_key(|mount| mount.destination.components().count());
    let visible = covering.is_some_and(|mount| mount.destination == mount.source);
    // The user has put something else over this path, and wants to see that.
    if visible || covering.is_some() {
        return None;
    }
    Some(Planned::bind(cwd, cwd, true).usual())
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

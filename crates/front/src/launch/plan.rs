//! The plan of a launch: the bundle, and the facts from which it was made.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundle::{Bundle, Paths, Process};
use image::{Image, Medium};
use inject::mpi::Hints;
use inject::{Edits, HostLibraries, Mount};
use launcher::Job;
use rootfs::Files as _;
use session::{BuildPermit, Instance, Layout, Namespaces, SessionSpec, WorkingDirectory};

use super::directories::{make_kept, sources};
use super::layers::{Layers, changes_metadata};
use super::mpi::{self, Rank, Surroundings};
use super::payload::Start;
use super::rank_report::RankObserver;
use super::record::Record;
use super::rights::Rights;
use super::view::View;
use super::{fabric, gpu};
use crate::caller::Caller;
use crate::environment::{Ingredients, LIBRARIES};
use crate::host;
use crate::messages::Messages;
use crate::mpi_mode::MpiMode;
use crate::request::{Container, Request};

/// A container that is ready to be made.
pub(super) struct Prepared {
    pub(super) image: Image,
    pub(super) libraries: bool,
    pub(super) own_processes: bool,
    pub(super) contained: bool,
    pub(super) fakeroot: bool,
    pub(super) view: View,
    pub(super) container: Container,
    pub(super) rights: Rights,
    pub(super) layers: Layers,
    /// Whether it is kept apart from all other containers.
    pub(super) isolated: bool,
    /// Whether other processes may join it.
    pub(super) shared: bool,
    pub(super) job: Option<Job>,
    /// The name of the program that it starts.
    pub(super) program: String,
    /// The variables that are injected.
    pub(super) env: Vec<(String, String)>,
    pub(super) rank: Rank,
    pub(super) start: Start,
    /// Whether the start depends on files that only the container shows.
    pub(super) seen_inside: bool,
    pub(super) layout: Layout,
    pub(super) bundle: Bundle,
}

impl Prepared {
    /// Examines the host, and builds the bundle. `instance` is the name of the instance that the
    /// container is to be.
    pub(super) fn new(
        request: Request,
        image: Image,
        instance: Option<&str>,
        caller: &Caller,
        messages: &Messages,
    ) -> Result<Self> {
        let view = View::new(&request, caller, true);
        let layers = Layers::open(&request, &image, caller, messages)?;
        let drivers = gpu::edits(&request, caller, &image, &view.cache, messages)?;
        let fakeroot = request.container.privileges.fakeroot.is_some();
        let env = [drivers.env.clone(), request.container.variables(caller)].concat();
        let request = request.with_injected(&env);
        let libraries =
            has_libraries(&image, &drivers) || !request.container.mounts.libraries.is_empty();
        let ingredients = Ingredients {
            here: caller.here,
            called: caller.called,
            caller: caller.variables.clone(),
            request: request.clone(),
            home: view.account.home.clone(),
            image: (image.path.clone(), image.name()),
            instance: instance.map(str::to_owned),
            libraries,
        };
        let start = Start::new(ingredients, &image.root, cwd(&request, caller), messages)
            .with_context(damaged(&image))?;
        let around = Surroundings {
            image: &image,
            start: &start,
            shown: &view.visible_paths(&request),
            hints: &hints(&request, caller),
            cache: &view.cache,
            has_injected: !drivers.mounts.is_empty(),
        };
        let rank = mpi::find_out(&request, around)?;
        let network = fabric::network(&request, &image, &rank, &view.cache)?;
        if let Some(warning) = &network.warning {
            messages.warning(warning);
        }
        let edits = sum(drivers, rank.host_libraries.as_ref(), network, &image)?;
        let edits = of_user(edits, &request);
        let layout = Layout::choose(&needed(&view, &image, &edits))?;
        let contained = request.is_contained();
        let rights = Rights::new(fakeroot, contained, &request.container.privileges);
        let planned = Planned {
            request: &request,
            image: &image,
            view: &view,
            layers: &layers,
            edits: &edits,
            layout: &layout,
            process: &start.process(rights.described()),
            is_instance: instance.is_some(),
        };
        let bundle = planned.bundle(messages)?;
        Ok(Self {
            own_processes: request.container.isolation.processes.is_own(),
            contained,
            fakeroot,
            container: request.container.clone(),
            rights,
            seen_inside: layers.differ_from_the_image() || changes_metadata(&request),
            layers,
            // No other program may see what a program writes to its own temporary directories, or
            // runs among its own processes. Only the ranks of its job may, and they ask for the
            // job's container.
            shared: request.is_shared() && !request.is_isolated(),
            isolated: request.is_isolated(),
            program: request.action.program(),
            job: request.job,
            env,
            rank,
            image,
            view,
            libraries,
            start,
            layout,
            bundle,
        })
    }

    /// Whether there is a program to start. If the container may show other files than the image, it
    /// is looked for later.
    pub(super) fn has_program(&self) -> Result<bool> {
        let found = self.start.has_program(&self.image.root);
        Ok(self.seen_inside || found.with_context(damaged(&self.image))?)
    }

    /// Returns the data that the session publishes. An instance always has its own processes.
    pub(super) fn record(&self, own_processes: bool) -> Record {
        let isolation = self.container.isolation.clone();
        let container = Container {
            isolation: isolation.with_own_processes(own_processes),
            ..self.container.clone()
        };
        Record {
            image: (self.image.path.clone(), self.image.name()),
            libraries: self.libraries,
            contained: self.contained,
            fakeroot: self.fakeroot,
            nests: self.rights.nests(),
            own_processes,
            apart: container.apart().into_iter().map(str::to_owned).collect(),
            program: self.program.clone(),
            env: self.env.clone(),
            home: self.view.account.home.clone(),
        }
    }

    /// Builds the session, or joins an equal one.
    pub(super) fn open(
        &self,
        instance: Option<&Instance>,
        permit: Option<BuildPermit>,
        caller: &Caller,
        messages: &Messages,
    ) -> Result<Namespaces> {
        let Bundle {
            spec,
            files,
            mount_points,
            ..
        } = &self.bundle;
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|file| (file.name, file.content.as_slice()))
            .collect();
        let mount_points: Vec<(&Path, bool)> = mount_points
            .iter()
            .map(|point| (point.path.as_path(), point.directory))
            .collect();
        let observer = self.job.as_ref().filter(|_| permit.is_some());
        let observer = observer.map(|job| RankObserver {
            program: &self.program,
            image: &self.image.path,
            job,
            may_be_alone: !self.rank.has_warned(),
            messages: *messages,
        });
        let about = serde_json::to_string(&self.record(self.own_processes))
            .context("describe the container")?;
        make_kept(
            &self.view.directories,
            self.container.mounts.workdir.as_deref(),
        )?;
        let spec = SessionSpec {
            layout: &self.layout,
            root: &self.image.root,
            mount_points: &mount_points,
            layers: &self.layers.lower,
            changes: self.layers.changes(),
            data: &self.layers.data,
            users: self.container.users(&self.view.user),
            spec,
            here: caller
                .cwd
                .as_deref()
                .zip(caller.here)
                .map(|(path, identity)| WorkingDirectory { path, identity }),
            files: &files,
            cache: &self.view.cache,
            contained: self.contained || self.own_processes,
            private: !self.shared,
            of_one_program: self.isolated,
            about: &about,
            observer: observer
                .as_ref()
                .map(|observer| observer as &dyn session::Observer),
            instance,
            verbose: messages.is_debug(),
        };
        Ok(session::open(&spec, permit, &mut |note| {
            messages.info(note);
        })?)
    }
}

/// Returns the directory in which the program starts, unless a flag names another. A container with
/// its own home starts there.
pub(super) fn cwd<'a>(request: &Request, caller: &'a Caller) -> Option<&'a Path> {
    caller.cwd.as_deref().filter(|_| !request.is_contained())
}

/// Everything that the bundle is made of.
struct Planned<'a> {
    request: &'a Request,
    image: &'a Image,
    view: &'a View,
    layers: &'a Layers,
    edits: &'a Edits,
    layout: &'a Layout,
    process: &'a Process,
    is_instance: bool,
}

impl Planned<'_> {
    /// Builds the bundle, and prints its warnings.
    fn bundle(&self, messages: &Messages) -> Result<Bundle> {
        let Self {
            request,
            image,
            view,
            layout,
            ..
        } = self;
        let container = &request.container;
        let network = &container.network;
        let parts = bundle::Request {
            root: &image.root,
            account: &view.account,
            process: self.process,
            is_root_inside: container.privileges.fakeroot.is_some(),
            binds: &view.binds,
            images: &self.layers.parts(request, layout),
            directories: &view.directories,
            edits: self.edits,
            contained: request.is_contained(),
            own_processes: container.isolation.processes.is_own() || self.is_instance,
            own_ipc: container.isolation.memory.is_own(),
            own_network: network.is_own,
            own_uts: network.own_name,
            hostname: network.host_name.as_deref(),
            writable: self.layers.writable(),
            host: &view.facts,
            paths: &Paths {
                root: layout.root(),
                files: layout.files(),
                cgroup: layout.cgroup(),
            },
        };
        build_bundle(&parts, image, messages)
    }
}

/// Adds the libraries that the user named, and the device for FUSE programs.
fn of_user(mut edits: Edits, request: &Request) -> Edits {
    let asked = &request.container.mounts;
    let mounts = asked.libraries.iter().filter_map(|library| {
        Some(Mount {
            host_path: library.clone(),
            container_path: Path::new(LIBRARIES).join(library.file_name()?),
            options: vec!["ro".to_owned()],
        })
    });
    if !asked.fuse.is_empty() && request.is_contained() {
        edits.device_nodes.push("/dev/fuse".into());
    }
    edits.mounts.extend(mounts);
    edits
}

fn damaged(image: &Image) -> impl Fn() -> String {
    || format!("{}: the image is damaged", image.path.display())
}

/// Builds the bundle, and prints its warnings.
fn build_bundle(parts: &bundle::Request<'_>, image: &Image, messages: &Messages) -> Result<Bundle> {
    let bundle = match bundle::build(parts) {
        Err(error @ bundle::Error::Image { .. }) => {
            Err(error).with_context(|| format!("{}: the image is damaged", image.path.display()))?
        }
        bundle => bundle?,
    };
    for warning in &bundle.warnings {
        messages.warning(warning);
    }
    Ok(bundle)
}

/// Returns the places where the host's MPI may be. A program without a job and without `--mpi host`
/// gets none of the launcher's.
fn hints(request: &Request, caller: &Caller) -> Hints {
    let mpi = &request.container.mpi;
    match request.job.is_some() || mpi.mode == MpiMode::Host {
        true => mpi.hints_beside_launcher(caller),
        false => mpi.hints.clone(),
    }
}

/// Adds the host's MPI, and the libraries and nodes of its networks, to the edits for devices. The
/// order matters: a library that several sets have is injected for the first.
fn sum(
    drivers: Edits,
    mpi: Option<&HostLibraries>,
    network: fabric::Network,
    image: &Image,
) -> Result<Edits> {
    let edits = drivers.with_nodes(network.nodes);
    let sets = mpi.into_iter().chain([&network.host_libraries]);
    sets.filter(|libraries| !libraries.mounts.is_empty())
        .try_fold(edits, |edits, libraries| {
            let machine = host::machine(&image.root)
                .context("cannot determine the image's architecture: it has no known program")?;
            let edits = edits.with_libraries(libraries, &image.root, machine);
            edits.context("inject the host's libraries")
        })
}

/// Whether the library path names the directory of injected libraries. A plain directory tree
/// without Singularity's own files has no such path, unless a library is there that is not found
/// otherwise.
pub(super) fn has_libraries(image: &Image, edits: &Edits) -> bool {
    let own = || {
        image
            .root
            .entry(Path::new("/.singularity.d"))
            .is_ok_and(|entry| entry.is_some())
    };
    let injected = !edits.mounts.is_empty() && edits.library_cache.is_none();
    injected || image.medium == Medium::Sif || own()
}

/// Returns the paths that the session's own directory must not hide.
fn needed<'a>(view: &'a View, image: &'a Image, edits: &'a Edits) -> Vec<&'a Path> {
    let binds = view.binds.iter().map(|bind| bind.source.as_path());
    let injected = edits.mounts.iter().map(|mount| mount.host_path.as_path());
    binds
        .chain(injected)
        .chain(sources(&view.directories))
        .chain([image.path.as_path()])
        .chain(view.facts.cwd.as_deref())
        .chain(view.facts.present.iter().map(PathBuf::as_path))
        .collect()
}

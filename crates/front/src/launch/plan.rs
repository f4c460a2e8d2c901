//! What a launch will make: the bundle, and what was found out for it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundle::{Account, Bind, Bundle, HostFacts, Paths};
use image::{Image, Medium};
use inject::Edits;
use launcher::Job;
use session::{BuildPermit, Instance, Layout, Namespaces, SessionSpec};
use tree::Files as _;

use super::join::Record;
use super::mpi::{self, Rank};
use super::payload::Start;
use super::program::Shown;
use super::rank_report::RankObserver;
use super::{fabric, gpu};
use crate::caller::Caller;
use crate::environment::Ingredients;
use crate::flags::MpiMode;
use crate::host;
use crate::messages::Messages;
use crate::request::Request;

/// A container that is ready to be made.
pub(super) struct Prepared {
    pub(super) image: Image,
    pub(super) account: Account,
    pub(super) libraries: bool,
    pub(super) own_processes: bool,
    pub(super) contained: bool,
    /// Whether it is kept from all other containers.
    pub(super) isolated: bool,
    /// Whether others may come in.
    pub(super) shared: bool,
    pub(super) job: Option<Job>,
    /// What it starts.
    pub(super) program: String,
    /// What is injected of variables.
    pub(super) env: Vec<(String, String)>,
    pub(super) rank: Rank,
    pub(super) start: Start,
    pub(super) layout: Layout,
    pub(super) bundle: Bundle,
    pub(super) cache: PathBuf,
}

impl Prepared {
    /// Looks at the host, and works out the bundle. `instance` is the name of the
    /// instance that it shall be.
    pub(super) fn new(
        request: Request,
        image: Image,
        instance: Option<&str>,
        caller: &Caller,
        messages: &Messages,
    ) -> Result<Self> {
        tracing::debug!(image = %image.path.display(), medium = ?image.medium, "image opened");
        // Nobody else's MPI is looked at.
        let mpi = &request.container.mpi;
        let hints = match request.job.is_some() || mpi.mode == MpiMode::Host {
            true => mpi.hints_beside_launcher(caller),
            false => mpi.hints.clone(),
        };
        let account = caller.account();
        let mut facts = host::facts(caller, &account);
        if request.job.is_some() {
            // Launchers give each rank a terminal of its own, which would tell the ranks apart.
            facts.terminal = None;
        }
        let binds = launcher_binds(&request, &account, &facts);
        let cache = caller.cache(&account);
        let mut edits = gpu::edits(&request, caller, &image, &cache, messages)?;
        let env = edits.env.clone();
        let request = request.with_injected(&env);
        let named = || format!("{}: the image is damaged", image.path.display());
        let libraries = has_libraries(&image, &edits);
        let ingredients = Ingredients {
            caller: caller.variables.clone(),
            request: request.clone(),
            home: account.home.clone(),
            image: (image.path.clone(), image.name()),
            instance: instance.map(str::to_owned),
            libraries,
        };
        // One with a home of its own starts there.
        let cwd = caller.cwd.as_deref().filter(|_| !request.is_contained());
        let start = Start::new(ingredients, &image.root, cwd, messages).with_context(named)?;
        let shown = Shown::new(&request, &binds, &account, &facts);
        let rank = mpi::prepare(&request, &image, &start, &shown, &hints, &cache, &mut edits)?;
        fabric::resolve(&request, &image, &rank, &cache, &mut edits, messages)?;
        let layout = Layout::choose(&needed(&binds, &image, &account, &facts, &edits))?;
        let process = start.process(session::is_privileged());
        let bundle = bundle::build(&bundle::Request {
            root: &image.root,
            account: &account,
            process: &process,
            binds: &binds,
            edits: &edits,
            contained: request.is_contained(),
            own_processes: request.container.isolation.processes.is_own() || instance.is_some(),
            own_ipc: request.container.isolation.memory.is_own(),
            host: &facts,
            paths: &Paths {
                root: layout.root(),
                files: layout.files(),
                cgroup: layout.cgroup(),
            },
        });
        let bundle = match bundle {
            Err(error @ bundle::Error::Image { .. }) => Err(error).with_context(named)?,
            bundle => bundle?,
        };
        for warning in &bundle.warnings {
            messages.warning(warning);
        }
        Ok(Self {
            cache,
            own_processes: request.container.isolation.processes.is_own(),
            contained: request.is_contained(),
            // What one writes to its own temporary directories, or runs among its own processes, is not for
            // the next; but for the next rank, which asks for its job's.
            shared: request.is_shared() && !request.is_isolated(),
            isolated: request.is_isolated(),
            program: request.action.program(),
            job: request.job,
            env,
            rank,
            image,
            account,
            libraries,
            start,
            layout,
            bundle,
        })
    }

    /// What is told of it.
    pub(super) fn record(&self) -> Record {
        Record {
            image: (self.image.path.clone(), self.image.name()),
            libraries: self.libraries,
            contained: self.contained,
            own_processes: self.own_processes,
            program: self.program.clone(),
            env: self.env.clone(),
            home: self.account.home.clone(),
        }
    }

    /// Builds the session, or joins one that is the same.
    pub(super) fn open(
        &self,
        instance: Option<&Instance>,
        permit: Option<BuildPermit>,
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
            may_be_alone: !self.rank.is_told(),
            messages: *messages,
        });
        let about = serde_json::to_string(&self.record()).context("describe the container")?;
        let spec = SessionSpec {
            layout: &self.layout,
            root: &self.image.root,
            mount_points: &mount_points,
            spec,
            files: &files,
            cache: &self.cache,
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

/// A bare directory tree without Singularity's own files gets no library path of theirs, unless
/// something is put there that is not found otherwise.
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

/// The directories of the launcher's that would not be seen inside, and the user's binds.
pub(super) fn launcher_binds(request: &Request, account: &Account, facts: &HostFacts) -> Vec<Bind> {
    let shared = ["/tmp", "/var/tmp"].map(Path::new).into_iter();
    let shared = shared.filter(|_| !request.is_contained());
    let seen: Vec<&Path> = shared
        .chain(facts.shown_cwd().filter(|_| !request.is_contained()))
        .chain(
            [account.home.as_path()]
                .into_iter()
                .filter(|_| !request.is_contained()),
        )
        .collect();
    let directories = request
        .container
        .launcher_directories
        .iter()
        .filter(|directory| {
            request.job.is_some()
                && directory.is_dir()
                && !seen.iter().any(|seen| directory.starts_with(seen))
        });
    let binds = directories.map(|directory| Bind {
        source: directory.clone(),
        destination: None,
        read_only: false,
    });
    binds
        .chain(request.container.mounts.binds.iter().cloned())
        .collect()
}

/// The paths that the session's own directory must not hide.
fn needed<'a>(
    binds: &'a [Bind],
    image: &'a Image,
    account: &'a Account,
    facts: &'a HostFacts,
    edits: &'a Edits,
) -> Vec<&'a Path> {
    let binds = binds.iter().map(|bind| bind.source.as_path());
    let injected = edits.mounts.iter().map(|mount| mount.host_path.as_path());
    binds
        .chain(injected)
        .chain([image.path.as_path(), account.home.as_path()])
        .chain(facts.cwd.as_deref())
        .chain(facts.present.iter().map(PathBuf::as_path))
        .collect()
}

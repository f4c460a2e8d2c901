//! The way from a request to a running payload: image, host, bundle, session, exec.

mod fabric;
mod gpu;
mod instance;
mod interpreter;
mod join;
mod memo;
mod mpi;
mod payload;
mod preload;
mod program;
mod rank_report;
mod runscript;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use bundle::{Account, Bind, Bundle, HostFacts, Paths};
use image::{Image, Medium};
use inject::Edits;
use launcher::Job;
use session::{BuildPermit, Instance, Layout, Lookup, Namespaces, SessionSpec};
use tree::Files as _;

use crate::caller::Caller;
use crate::cli::MpiMode;
use crate::environment::Ingredients;
use crate::fetch::{self, Network, obtain};
use crate::messages::Messages;
use crate::request::{Action, Request, Source};
use crate::{embedded, host};

pub use instance::{InstanceRecord, start_instance};
pub use join::Record;
use mpi::Rank;
use payload::Start;
use program::Shown;
pub use program::Where;
use rank_report::RankObserver;

/// Carries out a request. Returns only when nothing was started, with a code of the image's own, or
/// with that of what ran in an instance; otherwise this process has become the payload.
pub fn launch(request: Request, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    if let Source::Instance(name) = &request.source {
        let name = name.clone();
        return instance::join(&name, request, caller, messages);
    }
    if let Some(job) = &request.join {
        let job = job.clone();
        return join::join_job(&job, request, caller, messages).map(ExitCode::from);
    }
    let network = request.network.as_ref();
    let image = open_image(&request.source, network, caller, messages)?;
    let mut permit = None;
    let mut no_place = None;
    if let Some(job) = shared_job(&request, &image, caller, messages)? {
        let program = request.action.program();
        let words = request.words(caller);
        match session::lookup(&job.name, &image.root, &words, &program, caller.began) {
            Lookup::Joined(namespaces, about) => {
                let record: Record =
                    serde_json::from_str(&about).context("another version's container")?;
                // Ranks of one job may be of several programs.
                if record.program != program
                    && !examine(&request, &image, caller, messages)?.may_start(messages)
                {
                    return Ok(ExitCode::from(crate::messages::FAILURE));
                }
                return join::enter(namespaces, record, None, request, caller, messages)
                    .map(ExitCode::from);
            }
            Lookup::First(first) => permit = Some(first),
            Lookup::Full(reason) => no_place = Some(reason),
            Lookup::Refused => return Ok(ExitCode::from(crate::messages::FAILURE)),
        }
    }
    let dry_run = request.dry_run;
    let local_size = request.job.as_ref().and_then(|job| job.local_size);
    // What one rank has said holds for the others that wait.
    let refuse = |permit: Option<BuildPermit>| {
        if let Some(permit) = permit {
            permit.refuse(local_size.map(|size| size.saturating_sub(1)));
        }
    };
    let prepared = match Prepared::new(request, image, None, caller, messages) {
        Ok(prepared) => Prepared {
            shared: prepared.shared && no_place.is_none(),
            ..prepared
        },
        Err(error) => {
            messages.fatal(&error);
            refuse(permit);
            return Ok(ExitCode::from(crate::messages::FAILURE));
        }
    };
    if dry_run {
        return print(&prepared.bundle.spec);
    }
    if !prepared.rank.may_start(messages) {
        refuse(permit);
        return Ok(ExitCode::from(crate::messages::FAILURE));
    }
    let privileged = session::is_privileged();
    let is_rank = permit.is_some();
    let namespaces = prepared.open(None, permit, messages)?;
    if let Some(job) = prepared.job.as_ref().filter(|_| prepared.rank.is_mpi) {
        match no_place {
            Some(reason) => messages.warning(format_args!(
                "no place in the container of job {}: {reason}; this rank has one of its own, and MPI copies twice",
                job.name
            )),
            None if is_rank => tell_others_apart(job, &prepared, messages),
            None => {}
        }
    }
    let go = || {
        if !privileged {
            session::shed_privileges()?;
        }
        if prepared.contained {
            session::isolate()?;
        }
        prepared.start.become_payload(messages)
    };
    let code = if prepared.own_processes {
        namespaces.enter_by_child(|| report(go(), messages))?
    } else {
        namespaces.enter()?;
        go()?
    };
    Ok(ExitCode::from(code))
}

/// Returns the job whose container a request asks for. One that is to be kept from others shares its container with the
/// other ranks of an MPI program, which could not work together otherwise, and with nobody else.
fn shared_job<'a>(
    request: &'a Request,
    image: &Image,
    caller: &Caller,
    messages: &Messages,
) -> Result<Option<&'a Job>> {
    let job = request
        .job
        .as_ref()
        .filter(|_| request.shared && !request.dry_run);
    let Some(job) = job.filter(|job| !request.is_isolated() || job.local_size != Some(1)) else {
        return Ok(None);
    };
    let shares =
        !request.is_isolated() || examine(request, image, caller, &messages.of_failures())?.is_mpi;
    Ok(shares.then_some(job))
}

/// Warns a rank whose container is not that of the job's others here.
fn tell_others_apart(job: &Job, prepared: &Prepared, messages: &Messages) {
    if job.local_size.is_some_and(|size| size < 2) {
        return;
    }
    let own = std::process::id().cast_signed();
    let others = session::Shared::all(|name| name == Some(&job.name)).unwrap_or_default();
    let others = others
        .iter()
        .filter(|other| !other.members.is_empty() && !other.members.contains(&own));
    let images = others.filter_map(|other| serde_json::from_str::<Record>(&other.about).ok());
    if let Some(other) = { images }.next() {
        let (theirs, ours) = (other.image.0, &prepared.image.path);
        let what = match &theirs == ours {
            true => "with other flags".to_owned(),
            false => format!("of {}", theirs.display()),
        };
        messages.warning(format_args!(
            "other ranks of job {} on this node are in a container {what}: they and this one cannot read each \
             other's memory, and MPI copies twice",
            job.name
        ));
    }
}

/// Tells why nothing was started; returns the exit code.
fn report(outcome: Result<u8>, messages: &Messages) -> u8 {
    outcome.unwrap_or_else(|error| {
        messages.fatal(&error);
        crate::messages::FAILURE
    })
}

/// A container that is ready to be made.
struct Prepared {
    image: Image,
    account: Account,
    libraries: bool,
    own_processes: bool,
    contained: bool,
    /// Whether it is kept from all other containers.
    isolated: bool,
    /// Whether others may come in.
    shared: bool,
    job: Option<Job>,
    /// What it starts.
    program: String,
    /// What is injected of variables.
    env: Vec<(String, String)>,
    rank: Rank,
    start: Start,
    layout: Layout,
    bundle: Bundle,
    cache: PathBuf,
}

impl Prepared {
    /// Looks at the host, and works out the bundle. `instance` is the name of the
    /// instance that it shall be.
    fn new(
        mut request: Request,
        image: Image,
        instance: Option<&str>,
        caller: &Caller,
        messages: &Messages,
    ) -> Result<Self> {
        tracing::debug!(image = %image.path.display(), medium = ?image.medium, "image opened");
        // Nobody else's MPI is looked at.
        if request.job.is_some() || request.mpi.0 == MpiMode::Host {
            request.find_launcher(caller);
        }
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
        request.add_overrides(&env);
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
        let cwd = caller.cwd.as_deref().filter(|_| !request.contained);
        let start = Start::new(ingredients, &image.root, cwd, messages).with_context(named)?;
        let shown = Shown::new(&request, &binds, &account, &facts);
        let rank = mpi::prepare(&request, &image, &start, &shown, &cache, &mut edits)?;
        fabric::resolve(&request, &image, &rank, &cache, &mut edits, messages)?;
        let layout = Layout::choose(&needed(&binds, &image, &account, &facts, &edits))?;
        let process = start.process(session::is_privileged());
        let bundle = bundle::build(&bundle::Request {
            root: &image.root,
            account: &account,
            process: &process,
            binds: &binds,
            edits: &edits,
            contained: request.contained,
            own_processes: request.own_processes || instance.is_some(),
            own_ipc: request.own_ipc,
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
            own_processes: request.own_processes,
            contained: request.contained,
            // What one writes to its own temporary directories, or runs among its own processes, is not for
            // the next; but for the next rank, which asks for its job's.
            shared: request.shared && !request.is_isolated(),
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
    fn record(&self) -> Record {
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
    fn open(
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

/// An image and the program that a request would start in it.
pub struct Looked {
    /// The image.
    pub image: Image,
    /// Where the program lies; `None` where it is not to be found.
    pub place: Option<Where>,
    /// Its environment.
    pub env: Vec<(OsString, OsString)>,
    /// What it is called; empty where none is asked for.
    pub name: String,
    /// Whether its environment is known before anything runs.
    pub is_plain: bool,
}

/// Looks at what a request would start, and starts nothing.
///
/// # Errors
///
/// Fails when there is no such image, and when it cannot be read.
pub fn look(request: &Request, caller: &Caller, messages: &Messages) -> Result<Looked> {
    let image = open_image(&request.source, request.network.as_ref(), caller, messages)?;
    let (start, shown) = plan(request, &image, caller, messages)?;
    let Action::Exec(words) = &request.action else {
        bail!("only a command can be looked at");
    };
    let name = words.first();
    let place = name
        .map(|name| program::find(name, &image, &start, &shown))
        .transpose()?;
    Ok(Looked {
        place: place.flatten(),
        env: start.process(false).env,
        is_plain: start.is_plain(),
        name: name
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        image,
    })
}

/// Works out what a request would start, and where its container would show the host's files.
fn plan(
    request: &Request,
    image: &Image,
    caller: &Caller,
    messages: &Messages,
) -> Result<(Start, Shown)> {
    let account = caller.account();
    let facts = host::facts_without_devices(caller, &account);
    let binds = launcher_binds(request, &account, &facts);
    let ingredients = Ingredients {
        caller: caller.variables.clone(),
        request: request.clone(),
        home: account.home.clone(),
        image: (image.path.clone(), image.name()),
        instance: None,
        libraries: has_libraries(image, &Edits::default()),
    };
    let cwd = caller.cwd.as_deref().filter(|_| !request.contained);
    let start = Start::new(ingredients, &image.root, cwd, messages).context("read the image")?;
    let shown = Shown::new(request, &binds, &account, &facts);
    Ok((start, shown))
}

/// Looks at the program of a rank that joins a container.
fn examine(request: &Request, image: &Image, caller: &Caller, messages: &Messages) -> Result<Rank> {
    let request = &mut request.clone();
    request.find_launcher(caller);
    let (start, shown) = plan(request, image, caller, messages)?;
    let cache = caller.cache(&caller.account());
    // What its container has is decided already.
    let mut edits = Edits::default();
    mpi::prepare(request, image, &start, &shown, &cache, &mut edits)
}

/// Opens the image of a source; `network` is how one that is no file is reached.
///
/// # Errors
///
/// Fails when there is none, or none that can be read.
pub fn open_image(
    source: &Source,
    network: Option<&Network>,
    caller: &Caller,
    messages: &Messages,
) -> Result<Image> {
    Ok(match (source, network) {
        (Source::Foreign(source), Some(network)) => obtain(source, network, caller, messages)?,
        (Source::Foreign(source), None) => bail!("{source}: there is no way to it"),
        (Source::Path(path), _) => fetch::open(path, caller, messages)?,
        (Source::Instance(name), _) => {
            bail!("instance://{name} is no image: `front instance list` shows its image")
        }
        (Source::Embedded, _) => embedded::image(),
    })
}

/// A bare directory tree without Singularity's own files gets no library path of theirs, unless
/// something is put there that is not found otherwise.
fn has_libraries(image: &Image, edits: &Edits) -> bool {
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
fn launcher_binds(request: &Request, account: &Account, facts: &HostFacts) -> Vec<Bind> {
    let shared = ["/tmp", "/var/tmp"].map(Path::new).into_iter();
    let shared = shared.filter(|_| !request.contained);
    let seen: Vec<&Path> = shared
        .chain(facts.shown_cwd().filter(|_| !request.contained))
        .chain(
            [account.home.as_path()]
                .into_iter()
                .filter(|_| !request.contained),
        )
        .collect();
    let directories = request.launcher_directories.iter().filter(|directory| {
        request.job.is_some()
            && directory.is_dir()
            && !seen.iter().any(|seen| directory.starts_with(seen))
    });
    let binds = directories.map(|directory| Bind {
        source: directory.clone(),
        destination: None,
        read_only: false,
    });
    binds.chain(request.binds.iter().cloned()).collect()
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

fn print(spec: &impl serde::Serialize) -> Result<ExitCode> {
    use std::io::Write;
    let config = serde_json::to_vec_pretty(spec).context("write config.json")?;
    let mut out = std::io::stdout().lock();
    out.write_all(&config)
        .and_then(|()| out.write_all(b"\n"))
        .context("print config.json")?;
    Ok(ExitCode::SUCCESS)
}

//! What is meant: flags and their variables, checked, become one plain request.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bundle::{Bind, parse_binds};
use inject::Vendor;
use inject::mpi::{Hints, Policy};
use launcher::Job;

use crate::caller::Caller;
use crate::cli::{ContainerFlags, MpiMode, NetworkFlags};
use crate::fetch::Network;
use crate::site::Site;
use crate::{hints, refused};

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A command.
    Exec(Vec<OsString>),
    /// The runscript, with arguments.
    Run(Vec<OsString>),
    /// The startscript, with arguments.
    Start(Vec<OsString>),
    /// A shell, of the user's choice or the image's best.
    Shell(Option<PathBuf>),
}

impl Action {
    /// Returns the name of the command; empty for what the image has.
    pub fn program(&self) -> String {
        match self {
            Self::Exec(words) => words
                .first()
                .map(|name| name.to_string_lossy().into_owned()),
            _ => None,
        }
        .unwrap_or_default()
    }

    /// Returns the command's name, as `APPTAINER_COMMAND` tells it inside.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Run(_) => "run",
            Self::Start(_) => "start",
            Self::Shell(_) => "shell",
        }
    }
}

/// Where the root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An absolute path.
    Path(PathBuf),
    /// What a SIF has to be made of first.
    Foreign(image::Source),
    /// A running instance, by name.
    Instance(String),
    /// The image that is built in.
    Embedded,
}

/// A container to be started, and what in it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image.
    pub source: Source,
    /// What to start.
    pub action: Action,
    /// The user's binds, their sources absolute: those of flags, then those of variables.
    pub binds: Vec<Bind>,
    /// Variables to be set inside, by falling strength: of `--env`, then of `APPTAINERENV_…`.
    pub overrides: Vec<(OsString, OsString)>,
    /// Whether the caller's environment stays outside.
    pub clean_environment: bool,
    /// Whether the home, the temporary directories and the devices are its own.
    pub contained: bool,
    /// Whether it has processes of its own.
    pub own_processes: bool,
    /// Whether it has shared memory and the like of its own.
    pub own_ipc: bool,
    /// The working directory, if the user chose one.
    pub cwd: Option<PathBuf>,
    /// Devices by name, and where the files are that know them.
    pub devices: (Vec<cdi::Name>, Vec<PathBuf>),
    /// Whose drivers are injected.
    pub vendors: Vec<Vendor>,
    /// How an image that is no file is reached.
    pub network: Option<Network>,
    /// The job that this process is a rank of.
    pub job: Option<Job>,
    /// Directories of the launcher's that its ranks must see.
    pub launcher_directories: Vec<PathBuf>,
    /// Whether others who ask for the same may come into its container.
    pub shared: bool,
    /// The running job whose container is entered instead.
    pub join: Option<String>,
    /// Which MPI library it gets, and where the host's may be.
    pub mpi: (MpiMode, Hints),
    /// Whether `config.json` is printed instead.
    pub dry_run: bool,
}

impl Request {
    /// Puts flags and variables together. A flag beats its variable; binds add up.
    ///
    /// # Errors
    ///
    /// Fails on values that have no meaning, naming the flag or variable.
    pub fn new(
        source: Source,
        action: Action,
        flags: &ContainerFlags,
        caller: &Caller,
    ) -> Result<Self> {
        let variables = &caller.variables;
        refused::check(variables)?;
        let cwd = flags.cwd.clone().or_else(|| {
            ["CWD", "PWD", "TARGET_CWD", "TARGET_PWD"]
                .iter()
                .find_map(|name| variables.flag(name).map(|(_, value)| PathBuf::from(value)))
        });
        if let Some(cwd) = cwd.as_deref().filter(|cwd| !cwd.is_absolute()) {
            bail!(
                "the working directory {} must be an absolute path",
                cwd.display()
            );
        }
        let network = source.network(&flags.network, caller)?;
        let job = caller.job();
        let either = |one: &str, other: &str| {
            Ok::<_, anyhow::Error>(variables.switch(one)? || variables.switch(other)?)
        };
        let all = flags.containall || variables.switch("CONTAINALL")?;
        let contained = all || flags.contain || variables.switch("CONTAIN")?;
        Ok(Self {
            source,
            action,
            binds: binds(flags, caller)?,
            overrides: overrides(flags, caller)?,
            clean_environment: all || flags.cleanenv || variables.switch("CLEANENV")?,
            contained,
            own_processes: all || flags.pid || either("PID", "UNSHARE_PID")?,
            // System V's shared memory is in no directory that could be hidden.
            own_ipc: contained || flags.ipc || either("IPC", "UNSHARE_IPC")?,
            cwd,
            devices: devices(flags, caller)?,
            vendors: vendors(flags, caller)?,
            network,
            mpi: (mpi_mode(flags, job.as_ref(), caller)?, mpi_hints(caller)),
            job,
            launcher_directories: launcher::directories(&|name| variables.text(name)),
            shared: !(flags.no_share || variables.switch("NO_SHARE")?),
            join: flags.join.clone(),
            dry_run: flags.dry_run,
        })
    }
}

/// Variables that say which GPUs a rank has.
const GPUS: [&str; 6] = [
    "NVIDIA_VISIBLE_DEVICES",
    "AMD_VISIBLE_DEVICES",
    "SLURM_STEP_GPUS",
    "SLURM_JOB_GPUS",
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
];

impl Request {
    /// Whose MPI library its program gets. A user who sets the library path has chosen.
    pub fn mpi_policy(&self) -> Policy {
        let mut overrides = self.overrides.iter();
        let is_chosen = overrides.any(|(name, _)| name == "LD_LIBRARY_PATH");
        match self.mpi.0 {
            MpiMode::Host => Policy::Host,
            MpiMode::Auto if !is_chosen => Policy::Auto,
            MpiMode::Auto | MpiMode::Container | MpiMode::None => Policy::Container,
        }
    }

    /// Whether it is kept from all other containers.
    pub fn is_isolated(&self) -> bool {
        self.contained || self.own_processes || self.own_ipc
    }

    /// Adds variables that are stronger than the image's own, and weaker than what the user sets.
    pub fn add_overrides(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            if !self.overrides.iter().any(|(own, _)| own == name.as_str()) {
                self.overrides.push((name.into(), value.into()));
            }
        }
    }

    /// Looks for the launcher's own program, beside which the host's MPI may be; ranks that join a container do
    /// without it.
    pub fn find_launcher(&mut self, caller: &Caller) {
        self.mpi.1.launcher = caller.launcher_program();
    }

    /// Says all of it that makes two containers of an image different, in words that are the same for the
    /// same.
    pub fn words(&self, caller: &Caller) -> String {
        let what = (
            &self.binds,
            self.contained,
            self.own_processes,
            self.own_ipc,
            &self.devices,
            &self.vendors,
            &self.mpi,
            &self.launcher_directories,
            &caller.cwd,
        );
        let home = caller.variables.get("HOME");
        // A path may lead to something else for a rank that comes later.
        let binds = self.binds.iter().map(|bind| bind.source.as_path());
        let cwd = caller.cwd.as_deref();
        let elsewhere = home.map(Path::new).filter(|home| cwd != Some(home));
        let shown = binds.chain(cwd).chain(elsewhere);
        let shown: Vec<_> = shown.map(session::identity).collect();
        // Which GPUs are seen is each rank's own then.
        let gpus = GPUS
            .iter()
            .filter(|_| self.contained && !self.vendors.is_empty());
        let gpus: Vec<_> = gpus.map(|name| caller.variables.get(name)).collect();
        let chosen = self
            .overrides
            .iter()
            .any(|(name, _)| name == "LD_LIBRARY_PATH");
        format!(
            "{what:?} {home:?} {shown:?} {gpus:?} {chosen} {}",
            env!("CARGO_PKG_VERSION")
        )
    }
}

impl Source {
    /// Makes an image's path absolute.
    ///
    /// # Errors
    ///
    /// Fails on a word that looks like a source and is none, and when the path is relative to a directory
    /// that is gone.
    pub fn parse(image: &OsStr, caller: &Caller) -> Result<Self> {
        let word = image.to_string_lossy();
        if let Some(name) = word.strip_prefix("instance://") {
            return Ok(Self::Instance(name.to_owned()));
        }
        if let Some(source) = image::Source::parse(&word)? {
            return Ok(Self::Foreign(source));
        }
        let path = absolute(Path::new(image), caller)?;
        let found = path.metadata();
        if found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            && let Some(hint) = hints::of_missing_image(&word)
        {
            bail!(
                "could not open image {}: no such file or directory; {hint}",
                path.display()
            );
        }
        Ok(Self::Path(path))
    }

    /// Returns how it is reached; `None` for what is a file, or here already.
    ///
    /// # Errors
    ///
    /// Fails on flags, variables and a site configuration that have no meaning.
    pub fn network(&self, flags: &NetworkFlags, caller: &Caller) -> Result<Option<Network>> {
        match self {
            Self::Foreign(_) => Network::new(flags, caller).map(Some),
            _ => Ok(None),
        }
    }
}

fn devices(flags: &ContainerFlags, caller: &Caller) -> Result<(Vec<cdi::Name>, Vec<PathBuf>)> {
    let list = |flag: &[String], name: &str| -> Vec<String> {
        let variable = caller.variables.flag(name).filter(|_| flag.is_empty());
        let variable = variable.map(|(_, value)| value.to_string_lossy().into_owned());
        let words = variable
            .iter()
            .flat_map(|value| value.split(','))
            .map(str::to_owned);
        flag.iter().cloned().chain(words).collect()
    };
    let names = list(&flags.device, "DEVICE");
    let names = names
        .iter()
        .map(|name| cdi::Name::parse(name))
        .collect::<Result<_, _>>()?;
    let mut directories = flags.cdi_dirs.clone();
    if directories.is_empty() {
        directories = list(&[], "CDI_DIRS")
            .into_iter()
            .map(PathBuf::from)
            .collect();
    }
    if directories.is_empty() {
        directories = cdi::Registry::DIRECTORIES.map(PathBuf::from).into();
    }
    Ok((names, directories))
}

fn vendors(flags: &ContainerFlags, caller: &Caller) -> Result<Vec<Vendor>> {
    let each = [
        (Vendor::Nvidia, flags.nv, "NV"),
        (Vendor::Amd, flags.rocm, "ROCM"),
    ];
    let mut vendors = Vec::new();
    for (vendor, flag, variable) in each {
        if flag || caller.variables.switch(variable)? {
            vendors.push(vendor);
        }
    }
    Ok(vendors)
}

/// What modules set to say where an MPI is installed.
const MPI_PREFIXES: [&str; 6] = [
    "I_MPI_ROOT",
    "MPI_HOME",
    "MPI_ROOT",
    "MPICH_DIR",
    "CRAY_MPICH_DIR",
    "OPAL_PREFIX",
];

fn mpi_hints(caller: &Caller) -> Hints {
    let variables = &caller.variables;
    let paths = |name: &str| {
        let value = variables.text(name).unwrap_or_default();
        let parts = value.split(':').filter(|part| part.starts_with('/'));
        parts.map(PathBuf::from).collect::<Vec<_>>()
    };
    Hints {
        launcher: None,
        libraries: ["LD_LIBRARY_PATH", "CRAY_LD_LIBRARY_PATH"]
            .iter()
            .flat_map(|name| paths(name))
            .collect(),
        prefixes: MPI_PREFIXES.iter().flat_map(|name| paths(name)).collect(),
    }
}

fn mpi_mode(flags: &ContainerFlags, job: Option<&Job>, caller: &Caller) -> Result<MpiMode> {
    if let Some(mode) = flags.mpi {
        return Ok(mode);
    }
    let Some((name, value)) = caller.variables.flag("MPI") else {
        // Outside of a job nothing is looked at but by a flag.
        let site = job.map(|_| Site::read(&caller.variables)).transpose()?;
        return Ok(site.and_then(|site| site.mpi).unwrap_or_default());
    };
    let text = value.to_string_lossy();
    clap::ValueEnum::from_str(&text, true)
        .map_err(|_| anyhow::anyhow!("{name}={text}: expected auto, host, container or none"))
}

fn absolute(path: &Path, caller: &Caller) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path.components().collect());
    }
    let cwd = caller
        .cwd
        .as_ref()
        .context("the working directory is gone")?;
    Ok(cwd.join(path).components().collect())
}

fn binds(flags: &ContainerFlags, caller: &Caller) -> Result<Vec<Bind>> {
    let variables = ["BIND", "BINDPATH"]
        .iter()
        .filter_map(|name| caller.variables.flag(name))
        .map(|(_, value)| value.to_owned());
    let mut binds = Vec::new();
    for argument in flags.bind.iter().cloned().chain(variables) {
        for mut bind in parse_binds(&argument)? {
            bind.source = absolute(&bind.source, caller)?;
            if let Err(error) = std::fs::metadata(&bind.source) {
                bail!(
                    "bind source {}: {}",
                    bind.source.display(),
                    sys::words(&error)
                );
            }
            binds.push(bind);
        }
    }
    Ok(binds)
}

/// `--env A=1,B=2`: a piece without `=` belongs to the value before it.
fn overrides(flags: &ContainerFlags, caller: &Caller) -> Result<Vec<(OsString, OsString)>> {
    let mut pairs: Vec<(OsString, OsString)> = Vec::new();
    for argument in &flags.env {
        let mut of_this: Vec<(OsString, OsString)> = Vec::new();
        for piece in argument.as_bytes().split(|byte| *byte == b',') {
            match (
                piece.iter().position(|byte| *byte == b'='),
                of_this.last_mut(),
            ) {
                (Some(at), _) => {
                    let (name, value) = (piece.get(..at), piece.get(at + 1..));
                    let text = |bytes: Option<&[u8]>| {
                        OsStr::from_bytes(bytes.unwrap_or_default()).to_owned()
                    };
                    of_this.push((text(name), text(value)));
                }
                (None, Some((_, value))) => {
                    value.push(",");
                    value.push(OsStr::from_bytes(piece));
                }
                (None, None) => bail!("--env {}: expected NAME=VALUE", argument.display()),
            }
        }
        // Of two flags the later wins.
        pairs.splice(0..0, of_this.into_iter().rev());
    }
    pairs.extend(caller.variables.overrides());
    pairs.retain(|(name, _)| !name.is_empty());
    let mut seen = std::collections::BTreeSet::new();
    pairs.retain(|(name, _)| seen.insert(name.clone()));
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Variables;

    fn caller(pairs: &[(&str, &str)]) -> Caller {
        let pairs = pairs.iter();
        let variables = pairs.map(|(name, value)| (name.into(), value.into()));
        Caller::new(Variables(variables.collect()), Some("/".into()))
    }

    fn request(flags: &ContainerFlags, variables: &[(&str, &str)]) -> Result<Request> {
        Request::new(
            Source::Embedded,
            Action::Run(Vec::new()),
            flags,
            &caller(variables),
        )
    }

    #[test]
    fn binds_of_flags_and_variables_add_up() {
        let flags = ContainerFlags {
            bind: vec!["tmp:/a".into()],
            ..Default::default()
        };
        let variables = [
            ("SINGULARITY_BIND", "/tmp:/b"),
            ("APPTAINER_BINDPATH", "/tmp:/c"),
        ];
        let request = request(&flags, &variables).unwrap();
        let binds: Vec<_> = request
            .binds
            .iter()
            .map(|bind| {
                (
                    bind.source.to_str().unwrap(),
                    bind.destination.as_ref().unwrap().to_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(binds, [("/tmp", "/a"), ("/tmp", "/b"), ("/tmp", "/c")]);
    }

    #[test]
    fn a_missing_source_is_named() {
        let flags = ContainerFlags {
            bind: vec!["/nosuch:/mnt".into()],
            ..Default::default()
        };
        let error = request(&flags, &[]).unwrap_err().to_string();
        assert_eq!(error, "bind source /nosuch: no such file or directory");
    }

    #[test]
    fn env_beats_variables_and_keeps_commas() {
        let flags = ContainerFlags {
            env: vec!["P=a,b,Q=1".into(), "Q=2".into()],
            ..Default::default()
        };
        let request = request(
            &flags,
            &[("APPTAINERENV_P", "x"), ("SINGULARITYENV_R", "y")],
        )
        .unwrap();
        let get = |name: &str| {
            request
                .overrides
                .iter()
                .find(|(other, _)| other == name)
                .unwrap()
                .1
                .to_str()
                .unwrap()
        };
        assert_eq!((get("P"), get("Q"), get("R")), ("a,b", "2", "y"));
        let flags = ContainerFlags {
            env: vec!["plain".into()],
            ..Default::default()
        };
        assert!(super::overrides(&flags, &caller(&[])).is_err());
    }

    #[test]
    fn a_uri_is_refused_by_name() {
        let error = Source::parse(OsStr::new("ftp://alpine"), &caller(&[])).unwrap_err();
        assert!(error.to_string().contains("ftp://"));
        assert_eq!(
            Source::parse(OsStr::new("./a//b.sif"), &caller(&[])).unwrap(),
            Source::Path("/a/b.sif".into())
        );
    }
}

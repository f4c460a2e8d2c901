//! What is meant: flags and their variables, checked, become one plain request.

mod action;
mod source;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use inject::mpi::Policy;
use launcher::Job;

use crate::caller::Caller;
use crate::flags::{
    ContainerFlags, Devices, Environment, Isolation, Mounts, Mpi, MpiMode, Network, Sharing,
};
use crate::refused;

pub use action::Action;
pub use source::Source;

/// A container to be started, and what in it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image.
    pub source: Source,
    /// The properties that make one container of an image different from another.
    pub container: Container,
    /// The action to start in it.
    pub action: Action,
    /// The environment of that.
    pub environment: Environment,
    /// With whom it shares its container.
    pub sharing: Sharing,
    /// The job that this process is a rank of.
    pub job: Option<Job>,
    /// How an image that is no file is reached.
    pub network: Option<Network>,
    /// Whether `config.json` is printed instead.
    pub dry_run: bool,
}

/// The properties that make one container of an image different from another: all of it is part of the name under which a container is
/// found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Container {
    /// The paths of the host that it shows.
    pub mounts: Mounts,
    /// Its own files, processes and memory.
    pub isolation: Isolation,
    /// The devices and drivers that it gets.
    pub devices: Devices,
    /// Which MPI library its ranks get.
    pub mpi: Mpi,
    /// Directories of the launcher's that its ranks must see.
    pub launcher_directories: Vec<PathBuf>,
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
        let job = caller.job();
        let all = flags.isolation.is_for_all(variables)?;
        Ok(Self {
            environment: flags.environment.resolve(all, variables)?,
            network: source.network(&flags.network, caller)?,
            source,
            container: Container {
                mounts: flags.mounts.resolve(caller)?,
                isolation: flags.isolation.resolve(variables)?,
                devices: flags.devices.resolve(variables)?,
                mpi: flags.mpi.resolve(job.as_ref(), variables)?,
                launcher_directories: launcher::directories(&|name| variables.text(name)),
            },
            action,
            sharing: flags.sharing.resolve(variables)?,
            job,
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
        match self.container.mpi.mode {
            MpiMode::Host => Policy::Host,
            MpiMode::Auto if !self.sets_library_path() => Policy::Auto,
            MpiMode::Auto | MpiMode::Container | MpiMode::None => Policy::Container,
        }
    }

    fn sets_library_path(&self) -> bool {
        let mut overrides = self.environment.overrides.iter();
        overrides.any(|(name, _)| name == "LD_LIBRARY_PATH")
    }

    /// Whether the home, the temporary directories and the devices are the container's own.
    pub fn is_contained(&self) -> bool {
        self.container.isolation.files.is_own()
    }

    /// Whether it is kept from all other containers.
    pub fn is_isolated(&self) -> bool {
        let isolation = &self.container.isolation;
        self.is_contained() || isolation.processes.is_own() || isolation.memory.is_own()
    }

    /// Whether others who ask for the same may come into its container.
    pub fn is_shared(&self) -> bool {
        self.sharing != Sharing::Nobody
    }

    /// Adds variables that are stronger than the image's own, and weaker than what the user sets.
    pub fn with_injected(mut self, variables: &[(String, String)]) -> Self {
        let overrides: &mut Vec<(OsString, OsString)> = &mut self.environment.overrides;
        for (name, value) in variables {
            if !overrides.iter().any(|(own, _)| own == name.as_str()) {
                overrides.push((name.into(), value.into()));
            }
        }
        self
    }

    /// Says all of it that makes two containers of an image different, in words that are the same for the same. The image,
    /// the job and the user stand beside these words in a container's name.
    pub fn words(&self, caller: &Caller) -> String {
        let cwd = caller.cwd.as_deref();
        let home = caller.variables.get("HOME");
        // A path may lead to something else for a rank that comes later.
        let binds = self.container.mounts.binds.iter();
        let sources = binds.map(|bind| bind.source.as_path());
        let elsewhere = home.map(Path::new).filter(|home| cwd != Some(home));
        let shown = sources.chain(cwd).chain(elsewhere);
        let shown: Vec<_> = shown.map(session::identity).collect();
        // Which GPUs are seen is each rank's own then.
        let has_own_gpus = self.is_contained() && !self.container.devices.vendors.is_empty();
        let gpus = GPUS.iter().filter(|_| has_own_gpus);
        let gpus: Vec<_> = gpus.map(|name| caller.variables.get(name)).collect();
        format!(
            "{:?} {cwd:?} {home:?} {shown:?} {gpus:?} {} {}",
            self.container,
            self.sets_library_path(),
            env!("CARGO_PKG_VERSION")
        )
    }
}

#[cfg(test)]
impl Request {
    /// One that is made of such flags, between spaces, of the image that is built in.
    pub fn typed(flags: &str, caller: &Caller) -> Self {
        use clap::{Args, FromArgMatches};
        let command = ContainerFlags::augment_args(clap::Command::new("front"));
        let flags = ["front"].into_iter().chain(flags.split_whitespace());
        let matches = command.try_get_matches_from(flags).unwrap();
        let flags = ContainerFlags::from_arg_matches(&matches).unwrap();
        Self::new(Source::Embedded, Action::Run(Vec::new()), &flags, caller).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::variables::Variables;

    fn caller(variables: &[(&str, &str)]) -> Caller {
        Caller::new(Variables::of(variables), Some("/".into()))
    }

    fn words(flags: &str, variables: &[(&str, &str)]) -> String {
        let caller = caller(variables);
        Request::typed(flags, &caller).words(&caller)
    }

    #[test]
    fn each_field_makes_another_container() {
        let by_flags = [
            "",
            "--bind /tmp:/a",
            "--contain",
            "--containall",
            "--pid",
            "--ipc",
            "--device nvidia.com/gpu=0",
            "--cdi-dirs /x",
            "--nv",
            "--rocm",
            "--mpi host",
        ];
        let mut keys: Vec<String> = by_flags.map(|flags| words(flags, &[])).into();
        for variable in [
            ("HOME", "/tmp"),
            ("MPI_ROOT", "/opt/mpi"),
            ("LD_LIBRARY_PATH", "/opt/lib"),
            ("APPTAINERENV_LD_LIBRARY_PATH", "/opt/lib"),
        ] {
            keys.push(words("", &[variable]));
        }
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len(), "{keys:#?}");
        // What differs in the process alone is no other container.
        assert_eq!(
            words("--cleanenv --env A=1 --cwd /tmp", &[]),
            words("", &[])
        );
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

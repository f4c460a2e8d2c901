//! What is meant: flags and their variables, checked, become one plain request.

mod action;
mod devices;
mod environment;
mod mounts;
mod mpi;
mod source;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bundle::Bind;
use inject::Vendor;
use inject::mpi::{Hints, Policy};
use launcher::Job;

use crate::caller::Caller;
use crate::cli::{ContainerFlags, MpiMode};
use crate::fetch::Network;
use crate::refused;

pub use action::Action;
use devices::{devices, vendors};
use environment::overrides;
use mounts::binds;
use mpi::{mpi_hints, mpi_mode};
pub use source::Source;

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
        // Each field is here, so that a new one is not forgotten.
        let Self {
            binds,
            contained,
            own_processes,
            own_ipc,
            devices,
            vendors,
            mpi,
            launcher_directories,
            // The image, the job and the user stand in the name beside these words; the rest is of one process.
            source: _,
            job: _,
            action: _,
            overrides: _,
            clean_environment: _,
            cwd: _,
            network: _,
            shared: _,
            join: _,
            dry_run: _,
        } = self;
        let cwd = caller.cwd.as_deref();
        let home = caller.variables.get("HOME");
        // A path may lead to something else for a rank that comes later.
        let sources = binds.iter().map(|bind| bind.source.as_path());
        let elsewhere = home.map(Path::new).filter(|home| cwd != Some(home));
        let shown = sources.chain(cwd).chain(elsewhere);
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
            "{binds:?} {contained} {own_processes} {own_ipc} {devices:?} {vendors:?} {mpi:?} {launcher_directories:?} {cwd:?} \
             {home:?} {shown:?} {gpus:?} {chosen} {}",
            env!("CARGO_PKG_VERSION")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

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
    fn each_field_makes_another_container() {
        let plain = ContainerFlags::default;
        let others = [
            ContainerFlags {
                bind: vec!["/tmp:/a".into()],
                ..plain()
            },
            ContainerFlags {
                contain: true,
                ..plain()
            },
            ContainerFlags {
                pid: true,
                ..plain()
            },
            ContainerFlags {
                ipc: true,
                ..plain()
            },
            ContainerFlags {
                device: vec!["nvidia.com/gpu=0".into()],
                ..plain()
            },
            ContainerFlags {
                cdi_dirs: vec!["/x".into()],
                ..plain()
            },
            ContainerFlags {
                nv: true,
                ..plain()
            },
            ContainerFlags {
                rocm: true,
                ..plain()
            },
            ContainerFlags {
                mpi: Some(MpiMode::Host),
                ..plain()
            },
        ];
        let words = |flags: &ContainerFlags, variables: &[(&str, &str)]| {
            request(flags, variables).unwrap().words(&caller(variables))
        };
        let mut keys: Vec<String> = others.iter().map(|flags| words(flags, &[])).collect();
        for variables in [
            &[][..],
            &[("HOME", "/tmp")],
            &[("MPI_ROOT", "/opt/mpi")],
            &[("LD_LIBRARY_PATH", "/opt/lib")],
            &[("APPTAINERENV_LD_LIBRARY_PATH", "/opt/lib")],
        ] {
            keys.push(words(&plain(), variables));
        }
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len(), "{keys:#?}");
        // What differs in the process alone is no other container.
        let flags = ContainerFlags {
            cleanenv: true,
            env: vec!["A=1".into()],
            ..plain()
        };
        assert_eq!(words(&flags, &[]), words(&plain(), &[]));
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

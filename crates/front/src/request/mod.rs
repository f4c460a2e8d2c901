//! The request: flags and their variables, checked and combined.

mod action;
mod source;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use inject::mpi::Policy;
use launcher::Job;

use crate::caller::Caller;
use crate::flags::{
    ContainerFlags, Devices, Environment, Home, Isolation, Limit, Mounts, Mpi, Network, Privileges,
    RegistryOptions, Sharing, Writing, names,
};
use crate::mpi_mode::MpiMode;

pub use action::Action;
pub use source::Source;

/// The container to start, and the program in it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The image.
    pub source: Source,
    /// The properties that make one container of an image different from another.
    pub container: Container,
    /// The action to start in it.
    pub action: Action,
    /// The application of the image that is started, if the user chose one.
    pub application: Option<String>,
    /// The environment of the action.
    pub environment: Environment,
    /// The processes that share the container.
    pub sharing: Sharing,
    /// The job in which this process is a rank.
    pub job: Option<Job>,
    /// The access to an image that is not a file.
    pub registry: Option<RegistryOptions>,
    /// Whether `config.json` is printed, and nothing started.
    pub dry_run: bool,
    /// The flags that only a new container can heed, as the user gave them.
    pub typed: Typed,
}

/// Flags that only a new container can heed.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    /// Those that keep it apart from the host.
    pub apart: Vec<&'static str>,
    /// One that limits its resources.
    pub limit: Option<&'static str>,
}

/// The properties that make one container of an image different from another. All of them are part
/// of the name by which a container is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Container {
    /// The paths of the host that it sees.
    pub mounts: Mounts,
    /// Its home directory.
    pub home: Home,
    /// The changes that it may make to its root.
    pub writing: Writing,
    /// Its network and host name.
    pub network: Network,
    /// The privileges of its programs.
    pub privileges: Privileges,
    /// The limits of its resources.
    pub limits: Vec<Limit>,
    /// The resources that are its own: files, processes and memory.
    pub isolation: Isolation,
    /// The devices and drivers that it gets.
    pub devices: Devices,
    /// The MPI library that its ranks get.
    pub mpi: Mpi,
    /// The launcher's directories, which its ranks must see.
    pub launcher_directories: Vec<PathBuf>,
}

impl Container {
    /// Returns the flags that keep containers apart from the host and hold for this one, whether a
    /// flag, a variable or the site asked for it.
    pub fn apart(&self) -> Vec<&'static str> {
        let Isolation {
            files,
            processes,
            memory,
        } = &self.isolation;
        let all = files.is_own() && processes.is_own() && memory.is_own();
        names([
            (files.is_own(), "--contain"),
            (all, "--containall"),
            (all, "--compat"),
            (processes.is_own(), "--pid"),
            (memory.is_own(), "--ipc"),
            (self.network.is_own, "--net"),
            (self.network.is_own, "--network"),
            (self.network.own_name, "--uts"),
            (self.home.is_omitted, "--no-home"),
            (!self.mounts.omitted.is_empty(), "--no-mount"),
        ])
    }
}

impl Request {
    /// Combines flags and variables. A flag beats its variable, but the binds of both are used.
    ///
    /// # Errors
    ///
    /// Fails on invalid values. The error names the flag or variable.
    pub fn new(
        source: Source,
        action: Action,
        flags: &ContainerFlags,
        caller: &Caller,
    ) -> Result<Self> {
        let variables = &caller.variables;
        flags.refused.check(variables)?;
        let site = caller.site()?;
        let job = caller.job();
        let preset = flags.isolation.preset(site, variables)?;
        let mounts = flags.mounts.resolve(caller)?;
        let isolation = flags.isolation.resolve(site, variables)?;
        // The end of its first process ends the programs that serve a container.
        let isolation = isolation.with_own_processes(!mounts.fuse.is_empty());
        Ok(Self {
            application: flags.application.resolve(variables),
            environment: flags.environment.resolve(preset, caller)?,
            registry: source.registry_options(&flags.registry, caller)?,
            source,
            container: Container {
                mounts,
                home: flags.home.resolve(variables)?,
                writing: flags.writable.resolve(preset, caller)?,
                network: flags.network.resolve(variables)?,
                privileges: flags.privileges.resolve(variables)?,
                limits: flags.limits.resolve(caller)?,
                devices: flags
                    .devices
                    .resolve(isolation.files.is_own(), site, variables)?,
                isolation,
                mpi: flags.mpi.resolve(site, variables)?,
                launcher_directories: launcher::directories(&|name| variables.text(name)),
            },
            action,
            sharing: flags.sharing.resolve(variables)?,
            job,
            dry_run: flags.dry_run,
            typed: Typed {
                apart: flags.apart(),
                limit: flags.limits.typed(),
            },
        })
    }
}

impl Request {
    /// Returns the policy for the program's MPI library. A user who sets the library path has made
    /// the choice.
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

    /// Whether the container is kept apart from all others.
    pub fn is_isolated(&self) -> bool {
        let Container {
            isolation,
            network,
            writing,
            limits,
            ..
        } = &self.container;
        self.is_contained()
            || isolation.processes.is_own()
            || isolation.memory.is_own()
            || network.is_own
            || network.own_name
            || writing.memory.is_some()
            || !limits.is_empty()
    }

    /// Whether processes that ask for the same container may join this one.
    pub fn is_shared(&self) -> bool {
        self.sharing != Sharing::Nobody
    }

    /// Adds variables that are stronger than the image's own, and weaker than those of the user.
    pub fn with_injected(mut self, variables: &[(String, String)]) -> Self {
        let overrides: &mut Vec<(OsString, OsString)> = &mut self.environment.overrides;
        for (name, value) in variables {
            if !overrides.iter().any(|(own, _)| own == name.as_str()) {
                overrides.push((name.into(), value.into()));
            }
        }
        self
    }

    /// Returns a text of everything that makes two containers of an image different. Equal
    /// containers have equal texts. A container's name also includes the image, the job and the
    /// user.
    pub fn words(&self, caller: &Caller) -> String {
        let cwd = caller.cwd.as_deref();
        let home = caller.variables.get("HOME");
        // For a rank that comes later, the same path may lead to another file.
        let binds = self.container.mounts.binds.iter();
        let sources = binds.map(|bind| bind.source.as_path());
        let elsewhere = home.map(Path::new).filter(|home| cwd != Some(home));
        let overlays = self.container.writing.overlays.iter();
        let sources = sources.chain(overlays.map(|overlay| overlay.path.as_path()));
        let shown = sources.chain(cwd).chain(elsewhere);
        let shown: Vec<_> = shown.map(session::identity).collect();
        format!(
            "{:?} {cwd:?} {home:?} {shown:?} {} {}",
            self.container,
            self.sets_library_path(),
            env!("CARGO_PKG_VERSION")
        )
    }
}

#[cfg(test)]
impl Request {
    /// Returns a request with these flags, separated by spaces, for the built-in image.
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
            "--mount type=tmpfs,dst=/x",
            "--no-mount tmp",
            "--scratch /y",
            "--workdir /tmp",
            "--containlibs /etc/passwd",
            "--home /tmp",
            "--no-home",
            "--writable",
            "--writable-tmpfs",
            "--writable-tmpfs=1G",
            "--overlay /tmp",
            "--overlay /tmp:ro",
            "--net",
            "--uts",
            "--hostname x",
            "--dns 192.0.2.1",
            "--add-caps kill",
            "--drop-caps kill",
            "--memory 1G",
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
        keys.push(words("--contain --nv", &[]));
        keys.push(words("--contain --nv", &[("CUDA_VISIBLE_DEVICES", "1")]));
        keys.push(words("--contain --nv", &[("SLURM_STEP_GPUS", "1")]));
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len(), "{keys:#?}");
        // Nor do GPUs that a rank selects in a container that shows all of them.
        assert_eq!(
            words("--nv", &[("CUDA_VISIBLE_DEVICES", "1")]),
            words("--nv", &[])
        );
        // Properties of the process alone do not make another container.
        assert_eq!(
            words("--cleanenv --env A=1 --cwd /tmp --no-eval --no-umask", &[]),
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

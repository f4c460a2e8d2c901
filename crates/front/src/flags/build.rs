//! The flags for building an image from a definition file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::Variable;
use super::privileges::IGNORE_SUBUID;
use crate::caller::Caller;
use crate::messages::Messages;
use crate::small_file;

/// The flags for building an image from a definition file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Definition files")]
pub struct BuildFlags {
    /// Give a variable of the definition file a value
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_arg: Vec<String>,
    /// Read values of variables from this file, one NAME=VALUE per line
    #[arg(long, value_name = "FILE")]
    pub build_arg_file: Option<PathBuf>,
    /// Warn of values that no variable uses, instead of failing
    #[arg(long)]
    pub warn_unused_build_args: bool,
    /// Do not run %test
    #[arg(short = 'T', long)]
    pub notest: bool,
    /// Use only these sections, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub section: Vec<String>,
    /// Change an existing directory: its files are the base
    #[arg(short, long)]
    pub update: bool,
    /// Build this stage of a Dockerfile, instead of the last one
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Give the RUN instructions of a Dockerfile a secret: id=NAME,src=FILE
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,
    /// Bind a path of the host for %post and %test, as for exec; the image must have the mount point
    #[arg(short = 'B', long, value_name = "SOURCE[:TARGET[:OPTIONS]]")]
    pub bind: Vec<OsString>,
    /// Bind a path of the host for %post and %test, as for exec
    #[arg(long, value_name = "SPEC")]
    pub mount: Vec<OsString>,
    /// Add the host's NVIDIA driver for %post and %test
    #[arg(long)]
    pub nv: bool,
    /// Add the host's ROCm driver for %post and %test
    #[arg(long)]
    pub rocm: bool,
    /// Let %test write to the image; the changes are lost
    #[arg(long)]
    pub writable_tmpfs: bool,
    /// Keep the unfinished image if the build fails
    #[arg(long, alias = "no-cleanup")]
    pub keep: bool,
    /// Give mksquashfs these arguments too
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    pub mksquashfs_args: Option<String>,
    /// Do nothing: scripts run as root inside in any case
    #[arg(short, long, hide = true)]
    pub fakeroot: bool,
    /// Map only one user, even if the user has subordinate ones: all files belong to root
    #[arg(long)]
    pub ignore_subuid: bool,
    /// Do nothing: user namespaces are needed
    #[arg(long, hide = true)]
    pub ignore_userns: bool,
    /// Do nothing: front never uses the program fakeroot
    #[arg(long, hide = true)]
    pub ignore_fakeroot_command: bool,
    /// Do nothing: user namespaces are used in any case
    #[arg(long, hide = true)]
    pub userns: bool,
    /// Do nothing: what the host lends is found without nvidia-container-cli
    #[arg(long, hide = true)]
    pub nvccli: bool,
}

const NOTEST: Variable = Variable::of("notest", &["NOTEST"]);
const SECTION: Variable = Variable::of("section", &["SECTION"]);
const UPDATE: Variable = Variable::of("update", &["UPDATE"]);
const MKSQUASHFS_ARGS: Variable = Variable::of("mksquashfs_args", &["MKSQUASHFS_ARGS"]);
const KEEP: Variable = Variable::of("keep", &["KEEP", "NO_CLEANUP"]);
const WARN_UNUSED: Variable = Variable::of("warn_unused_build_args", &["WARN_UNUSED_BUILD_ARGS"]);
const BUILD_ARG_FILE: Variable = Variable::of("build_arg_file", &["BUILD_ARG_FILE"]);

/// The variables of these flags. Those of other flags are read by the containers of scripts.
pub(super) const VARIABLES: &[Variable] = &[
    NOTEST,
    SECTION,
    UPDATE,
    KEEP,
    MKSQUASHFS_ARGS,
    WARN_UNUSED,
    BUILD_ARG_FILE,
];

/// The sections that can be chosen, and two words.
const SECTIONS: [&str; 12] = [
    "all",
    "none",
    "pre",
    "setup",
    "files",
    "post",
    "environment",
    "runscript",
    "startscript",
    "test",
    "help",
    "labels",
];

/// How an image is built from a definition file.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The values of variables.
    pub arguments: BTreeMap<String, String>,
    /// Whether a value that no variable uses is only worth a warning.
    pub warn_unused: bool,
    /// The sections that are used; `None` for all.
    pub sections: Option<Vec<String>>,
    /// Whether `%test` is run.
    pub test: bool,
    /// Whether an existing directory is changed.
    pub update: bool,
    /// Whether an unfinished image is kept.
    pub keep: bool,
    /// More arguments for mksquashfs.
    pub mksquashfs_arguments: Vec<String>,
    /// The flags of the containers in which scripts run.
    pub container: Vec<OsString>,
    /// Whether root is the only user.
    pub single: bool,
    /// Whether `%test` may write.
    pub writable_test: bool,
    /// The stage of a Dockerfile that is built.
    pub target: Option<String>,
    /// Secrets: names, and files.
    pub secrets: BTreeMap<String, PathBuf>,
}

impl BuildFlags {
    /// Combines flags and variables.
    ///
    /// # Errors
    ///
    /// Fails on invalid values, and on a file that cannot be read.
    pub fn resolve(&self, caller: &Caller, messages: &Messages) -> Result<BuildOptions> {
        let variables = &caller.variables;
        let sections = match self.section.is_empty() {
            true => variables.list(&SECTION),
            false => self.section.clone(),
        };
        if let Some(unknown) = sections
            .iter()
            .find(|one| !SECTIONS.contains(&one.as_str()))
        {
            let known = SECTIONS.join(", ");
            bail!("--section {unknown}: there is no such section; expected some of {known}");
        }
        let is_all = sections.is_empty() || sections.iter().any(|section| section == "all");
        let mut container = Vec::new();
        for (flag, values) in [("--bind", &self.bind), ("--mount", &self.mount)] {
            for value in values {
                container.extend([flag.into(), value.clone()]);
            }
        }
        let drivers = [("--nv", self.nv), ("--rocm", self.rocm)];
        let drivers = drivers.into_iter().filter(|(_, is_set)| *is_set);
        container.extend(drivers.map(|(flag, _)| flag.into()));
        Ok(BuildOptions {
            arguments: self.arguments(caller, messages)?,
            warn_unused: self.warn_unused_build_args || variables.is_set(&WARN_UNUSED)?,
            sections: (!is_all).then_some(sections),
            test: !(self.notest || variables.is_set(&NOTEST)?),
            update: self.update || variables.is_set(&UPDATE)?,
            keep: self.keep || variables.is_set(&KEEP)?,
            mksquashfs_arguments: self.mksquashfs_arguments(caller),
            container,
            single: self.ignore_subuid || variables.is_set(&IGNORE_SUBUID)?,
            writable_test: self.writable_tmpfs,
            target: self.target.clone(),
            secrets: self.secrets(caller)?,
        })
    }

    fn mksquashfs_arguments(&self, caller: &Caller) -> Vec<String> {
        let named = caller.variables.value(&MKSQUASHFS_ARGS);
        let named = named.map(|(_, words)| words.to_string_lossy().into_owned());
        let words = self.mksquashfs_args.clone().or(named).unwrap_or_default();
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn secrets(&self, caller: &Caller) -> Result<BTreeMap<String, PathBuf>> {
        let secrets = self.secret.iter().map(|spec| {
            let fields = spec.split(',').filter_map(|field| field.split_once('='));
            let fields: BTreeMap<_, _> = fields.collect();
            let file = fields.get("src").or_else(|| fields.get("source"));
            let pair = fields.get("id").zip(file);
            let (id, file) =
                pair.ok_or_else(|| anyhow!("--secret {spec}: expected id=NAME,src=FILE"))?;
            Ok((
                (*id).to_owned(),
                caller.absolute(std::path::Path::new(file))?,
            ))
        });
        secrets.collect()
    }

    /// Returns the values of variables. Those on the command line beat those in the file.
    fn arguments(&self, caller: &Caller, messages: &Messages) -> Result<BTreeMap<String, String>> {
        let mut arguments = BTreeMap::new();
        let named = caller.variables.value(&BUILD_ARG_FILE);
        let named = named.map(|(_, path)| PathBuf::from(path));
        if let Some(path) = self.build_arg_file.clone().or(named) {
            let text = small_file::read_text(&path);
            let text = text.with_context(|| format!("--build-arg-file {}", path.display()))?;
            let lines = text.lines().map(str::trim);
            for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
                match definition::argument(line) {
                    Some((name, value)) => drop(arguments.insert(name, value)),
                    None => messages.warning(format_args!(
                        "--build-arg-file {}: {line:?} is not NAME=VALUE, and is ignored",
                        path.display()
                    )),
                }
            }
        }
        for word in &self.build_arg {
            let argument = definition::argument(word);
            let (name, value) =
                argument.ok_or_else(|| anyhow!("--build-arg {word}: expected NAME=VALUE"))?;
            arguments.insert(name, value);
        }
        Ok(arguments)
    }
}

/// Variables of containers that give scripts files of the host.
const OF_HOST: [&str; 6] = ["BIND", "BINDPATH", "MOUNT", "NV", "NVCCLI", "ROCM"];

impl BuildOptions {
    /// Whether scripts have files of the host, which the build cache does not know.
    pub fn depends_on_host(&self, caller: &Caller) -> bool {
        let is_set = |(name, value): (&OsString, &OsString)| {
            let name = name.to_string_lossy();
            let own = ["FRONT_", "APPTAINER_", "SINGULARITY_"];
            let rest = own.iter().find_map(|family| name.strip_prefix(family));
            !value.is_empty() && rest.is_some_and(|rest| OF_HOST.contains(&rest))
        };
        let variables = &caller.variables.0;
        !self.container.is_empty() || variables.iter().any(|(name, value)| is_set((name, value)))
    }

    /// Whether a section is used.
    pub fn uses(&self, section: &str) -> bool {
        let sections = self.sections.as_ref();
        sections.is_none_or(|sections| sections.iter().any(|one| one == section))
    }
}

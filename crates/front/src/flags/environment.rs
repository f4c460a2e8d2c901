//! The environment and the working directory of the program in a container.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use super::{Group, Preset, Variable};
use crate::caller::Caller;
use crate::variables::Variables;

/// The flags for the environment and the working directory.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Environment")]
pub struct EnvironmentFlags {
    /// Set variables inside: NAME=VALUE, several separated by commas
    #[arg(long, value_name = "NAME=VALUE", value_parser = OsStringValueParser::new().try_map(with_name))]
    pub env: Vec<OsString>,
    /// Set the variables that these shell scripts assign, several separated by commas
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub env_file: Vec<PathBuf>,
    /// Keep these variables of the caller out, several separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub no_env: Vec<OsString>,
    /// Set variables as they are: do not replace $NAME and `command` in them
    #[arg(long)]
    pub no_eval: bool,
    /// Start with a clean environment
    #[arg(short = 'e', long)]
    pub cleanenv: bool,
    /// Start in this directory of the container; it must exist
    #[arg(long, alias = "pwd", value_name = "DIRECTORY")]
    pub cwd: Option<PathBuf>,
    /// Use the file mode mask 0022, not the caller's
    #[arg(long)]
    pub no_umask: bool,
}

const ENV_FILE: Variable = Variable::of("env_file", &["ENV_FILE"]);
const NO_ENV: Variable = Variable::of("no_env", &["NOENV"]);
const NO_EVAL: Variable = Variable::of("no_eval", &["NO_EVAL"]);
const NO_UMASK: Variable = Variable::of("no_umask", &["NO_UMASK"]);
const CLEANENV: Variable = Variable::of("cleanenv", &["CLEANENV"]);
const CWD: Variable = Variable::of("cwd", &["CWD", "PWD", "TARGET_CWD", "TARGET_PWD"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[CLEANENV, CWD, ENV_FILE, NO_ENV, NO_EVAL, NO_UMASK];

/// The environment and the working directory of a program in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Variables to be set inside, the strongest first: those of `--env`, then those of
    /// `APPTAINERENV_…`.
    pub overrides: Vec<(OsString, OsString)>,
    /// The variables of files that have no effect, because of `--env`.
    pub shadowed: Vec<OsString>,
    /// Whether the overrides are used as they are, without a shell's replacements.
    pub is_literal: bool,
    /// Whether the caller's environment stays outside.
    pub is_clean: bool,
    /// Whether `--env` has a value without a name.
    pub has_nameless: bool,
    /// Variables of the caller that stay outside.
    pub omitted: Vec<OsString>,
    /// Whether the file mode mask is 0022 instead of the caller's.
    pub has_usual_umask: bool,
    /// The working directory, if the user chose one.
    pub cwd: Option<PathBuf>,
}

impl Group for EnvironmentFlags {
    const LONG: &'static [&'static str] = &[
        "env", "env-file", "no-env", "no-eval", "cleanenv", "cwd", "pwd", "no-umask",
    ];
    const SHORT: &'static str = "e";
}

impl EnvironmentFlags {
    /// Combines flags and variables. A preset implies some of the flags.
    ///
    /// # Errors
    ///
    /// Fails on invalid values. The error names the flag or variable.
    pub fn resolve(&self, preset: Preset, caller: &Caller) -> Result<Environment> {
        let variables = &caller.variables;
        let by_variable = || Some(PathBuf::from(variables.value(&CWD)?.1));
        let chosen = self.cwd.clone().or_else(by_variable);
        let files = match self.env_file.is_empty() {
            true => variables
                .list(&ENV_FILE)
                .iter()
                .map(PathBuf::from)
                .collect(),
            false => self.env_file.clone(),
        };
        let files = files.iter().map(|file| caller.absolute(file));
        let omitted = match self.no_env.is_empty() {
            true => variables.list(&NO_ENV).iter().map(OsString::from).collect(),
            false => self.no_env.clone(),
        };
        let is_docker = preset == Preset::Docker;
        let files = files.map(|file| crate::scripts::files::read(&file?, variables));
        let files = files.collect::<Result<Vec<_>>>()?;
        let (overrides, shadowed) = overrides(&self.env, files, variables)?;
        Ok(Environment {
            overrides,
            shadowed,
            is_literal: is_docker || self.no_eval || variables.is_set(&NO_EVAL)?,
            is_clean: preset != Preset::None || self.cleanenv || variables.is_set(&CLEANENV)?,
            omitted,
            has_usual_umask: is_docker || self.no_umask || variables.is_set(&NO_UMASK)?,
            // A relative path begins at the container's root.
            cwd: chosen.map(|cwd| PathBuf::from("/").join(cwd)),
            has_nameless: self.env.iter().any(|one| one.as_bytes().starts_with(b"=")),
        })
    }
}

/// Checks that a value of `--env` has a name.
fn with_name(value: OsString) -> Result<OsString, &'static str> {
    let mut parts = value.as_bytes().split(|byte| *byte == b',');
    match parts.next().is_some_and(|first| first.contains(&b'=')) {
        true => Ok(value),
        false => Err("expected NAME=VALUE"),
    }
}

/// Variables, by name.
type Pairs = Vec<(OsString, OsString)>;

/// Combines `--env A=1,B=2`, the variables of files, and variables such as `APPTAINERENV_A`, the
/// strongest first. A piece without `=` belongs to the value before it. Also returns the names of
/// files' variables that have no effect.
fn overrides(
    flags: &[OsString],
    files: Vec<Pairs>,
    variables: &Variables,
) -> Result<(Pairs, Vec<OsString>)> {
    let mut pairs: Vec<(OsString, OsString)> = Vec::new();
    for argument in flags {
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
                // The command line has none.
                (None, None) => {}
            }
        }
        // If two flags set a variable, the later one wins.
        pairs.splice(0..0, of_this.into_iter().rev());
    }
    // Of several files, the last one wins.
    let of_files: Pairs = files.into_iter().rev().flatten().collect();
    let is_given = |name: &OsString| pairs.iter().any(|(given, _)| given == name);
    let shadowed = of_files.iter().map(|(name, _)| name);
    let shadowed = shadowed.filter(|name| is_given(name)).cloned().collect();
    pairs.extend(of_files);
    pairs.extend(variables.overrides());
    pairs.retain(|(name, _)| !name.is_empty());
    let mut seen = std::collections::BTreeSet::new();
    pairs.retain(|(name, _)| seen.insert(name.clone()));
    Ok((pairs, shadowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(env: &[&str], variables: &[(&str, &str)]) -> Result<Environment> {
        let flags = EnvironmentFlags {
            env: env.iter().map(Into::into).collect(),
            ..Default::default()
        };
        flags.resolve(
            Preset::None,
            &Caller::new(Variables::of(variables), Some("/".into())),
        )
    }

    #[test]
    fn env_beats_variables_and_keeps_commas() {
        let variables = [("APPTAINERENV_P", "x"), ("SINGULARITYENV_R", "y")];
        let found = resolve(&["P=a,b,Q=1", "Q=2"], &variables).unwrap();
        let get = |name: &str| {
            let mut overrides = found.overrides.iter();
            let (_, value) = overrides.find(|(other, _)| other == name).unwrap();
            value.to_str().unwrap()
        };
        assert_eq!((get("P"), get("Q"), get("R")), ("a,b", "2", "y"));
        assert!(with_name("plain".into()).is_err());
        assert!(with_name("plain,A=1".into()).is_err());
    }

    #[test]
    fn a_relative_working_directory_is_below_the_root() {
        let found = resolve(&[], &[("APPTAINER_PWD", "etc")]).unwrap();
        assert_eq!(found.cwd, Some("/etc".into()));
    }
}

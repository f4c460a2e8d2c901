//! The environment and the working directory of the program in a container.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::Variable;
use crate::variables::Variables;

/// The flags for the environment and the working directory.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Environment")]
pub struct EnvironmentFlags {
    /// Set variables inside: NAME=VALUE, several separated by commas
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<OsString>,
    /// Start with a clean environment
    #[arg(short = 'e', long)]
    pub cleanenv: bool,
    /// Start in this directory of the container; it must exist
    #[arg(long, alias = "pwd", value_name = "DIRECTORY")]
    pub cwd: Option<PathBuf>,
}

const CLEANENV: Variable = Variable::of("cleanenv", &["CLEANENV"]);
const CWD: Variable = Variable::of("cwd", &["CWD", "PWD", "TARGET_CWD", "TARGET_PWD"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[CLEANENV, CWD];

/// The environment and the working directory of a program in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Variables to be set inside, the strongest first: those of `--env`, then those of
    /// `APPTAINERENV_…`.
    pub overrides: Vec<(OsString, OsString)>,
    /// Whether the caller's environment stays outside.
    pub is_clean: bool,
    /// The working directory, if the user chose one.
    pub cwd: Option<PathBuf>,
}

impl EnvironmentFlags {
    /// Combines flags and variables. `all` is true if everything is the container's own.
    ///
    /// # Errors
    ///
    /// Fails on invalid values. The error names the flag or variable.
    pub fn resolve(&self, all: bool, variables: &Variables) -> Result<Environment> {
        let by_variable = || {
            let (name, value) = variables.value(&CWD)?;
            Some((name, PathBuf::from(value)))
        };
        let by_flag = self.cwd.clone().map(|cwd| ("--cwd".to_owned(), cwd));
        let chosen = by_flag.or_else(by_variable);
        if let Some((name, cwd)) = chosen.as_ref().filter(|(_, cwd)| !cwd.is_absolute()) {
            bail!(
                "{name}: the working directory {} must be an absolute path",
                cwd.display()
            );
        }
        Ok(Environment {
            overrides: overrides(&self.env, variables)?,
            is_clean: all || self.cleanenv || variables.is_set(&CLEANENV)?,
            cwd: chosen.map(|(_, cwd)| cwd),
        })
    }
}

/// Parses `--env A=1,B=2`. A piece without `=` belongs to the value before it.
fn overrides(flags: &[OsString], variables: &Variables) -> Result<Vec<(OsString, OsString)>> {
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
                (None, None) => bail!("--env {}: expected NAME=VALUE", argument.display()),
            }
        }
        // If two flags set a variable, the later one wins.
        pairs.splice(0..0, of_this.into_iter().rev());
    }
    pairs.extend(variables.overrides());
    pairs.retain(|(name, _)| !name.is_empty());
    let mut seen = std::collections::BTreeSet::new();
    pairs.retain(|(name, _)| seen.insert(name.clone()));
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(env: &[&str], variables: &[(&str, &str)]) -> Result<Environment> {
        let flags = EnvironmentFlags {
            env: env.iter().map(Into::into).collect(),
            ..Default::default()
        };
        flags.resolve(false, &Variables::of(variables))
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
        assert!(resolve(&["plain"], &[]).is_err());
    }

    #[test]
    fn a_relative_working_directory_is_refused_by_name() {
        let error = resolve(&[], &[("APPTAINER_PWD", "rel")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "APPTAINER_PWD: the working directory rel must be an absolute path"
        );
    }
}

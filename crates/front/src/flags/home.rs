//! The home directory in a container.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bundle::{Account, Content, parse_binds};
use clap::Args;

use super::{Group, Mounts, Variable};
use crate::variables::Variables;

/// The flags for the home directory.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Mounts")]
pub struct HomeFlags {
    /// Use this directory of the host as the home: SOURCE or SOURCE:DESTINATION
    #[arg(short = 'H', long, value_name = "SPEC")]
    pub home: Option<OsString>,
    /// Do not mount the home
    #[arg(long)]
    pub no_home: bool,
}

const HOME: Variable = Variable::of("home", &["HOME"]);
const NO_HOME: Variable = Variable::of("no_home", &["NO_HOME"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[HOME, NO_HOME];

/// The home directory in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Home {
    /// The directory of the host and the path in the container, both absolute, if the user chose
    /// them.
    pub chosen: Option<(PathBuf, PathBuf)>,
    /// Whether no directory is mounted there.
    pub is_omitted: bool,
}

impl Group for HomeFlags {
    const LONG: &'static [&'static str] = &["home", "no-home"];
    const SHORT: &'static str = "H";
}

impl HomeFlags {
    /// Combines flags and variables.
    ///
    /// # Errors
    ///
    /// Fails on invalid values. The error names the flag or variable.
    pub fn resolve(&self, variables: &Variables) -> Result<Home> {
        let by_variable = || {
            let (name, value) = variables.value(&HOME)?;
            Some((name, value.to_owned()))
        };
        let by_flag = self.home.clone().map(|home| ("--home".to_owned(), home));
        let chosen = by_flag.or_else(by_variable);
        Ok(Home {
            chosen: chosen
                .map(|(name, spec)| parse(&spec).context(name))
                .transpose()?,
            is_omitted: self.no_home || variables.is_set(&NO_HOME)?,
        })
    }
}

fn parse(spec: &OsString) -> Result<(PathBuf, PathBuf)> {
    let [bind] = <[_; 1]>::try_from(parse_binds(spec)?)
        .map_err(|_| anyhow::anyhow!("{}: expected SOURCE[:DESTINATION]", spec.display()))?;
    let destination = match bind.destination {
        Some(destination) => destination,
        None => bundle::clean(&bind.source)?,
    };
    if !bind.source.is_absolute() {
        bail!("{}: must be an absolute path", bind.source.display());
    }
    Ok((bind.source, destination))
}

impl Home {
    /// Returns the caller's account as the container shows it: with the home's path inside.
    pub fn account(&self, account: Account) -> Account {
        let home = self.chosen.as_ref().map(|(_, inside)| inside.clone());
        Account {
            home: home.unwrap_or(account.home),
            ..account
        }
    }

    /// Returns the content of the home in a container, which may have its own.
    pub fn content(&self, own: &Path, is_contained: bool, mounts: &Mounts) -> Content {
        let is_there = |path: &Path| match path.exists() {
            true => Content::Host(path.to_owned()),
            // Only $HOME is set.
            false => Content::Image,
        };
        match &self.chosen {
            _ if self.is_omitted => Content::Image,
            Some((source, _)) => is_there(source),
            None if is_contained => mounts.kept("home"),
            None => is_there(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_one_path_or_two() {
        let home = |spec: &str| {
            let variables = [("SINGULARITY_HOME", spec)];
            HomeFlags::default().resolve(&Variables::of(&variables))
        };
        let paths = |one: &str, two: &str| Some((PathBuf::from(one), PathBuf::from(two)));
        assert_eq!(home("/a").unwrap().chosen, paths("/a", "/a"));
        assert_eq!(home("/a:/b/").unwrap().chosen, paths("/a", "/b"));
        assert_eq!(home("").unwrap().chosen, None);
        for wrong in ["a", "a:/b", "/a:b", "/a:", "/a,/b", ","] {
            let error = format!("{:#}", home(wrong).unwrap_err());
            assert!(error.starts_with("SINGULARITY_HOME: "), "{error}");
        }
    }
}

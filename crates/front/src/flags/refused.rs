//! Flags of Singularity's that front refuses, each with the reason.

use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::{Group, Variable};
use crate::variables::Variables;

/// A flag that is refused.
#[derive(Debug)]
pub struct Refused {
    /// The flag's name on the command line, and its variables.
    variable: Variable,
    flag: &'static str,
    /// Whether the flag has a value.
    takes_value: bool,
    reason: &'static str,
}

const LIMITS: &str = "cgroups of version 2 have no such limit";
const SECURITY: &str = "profiles are for container engines: use podman with slipway";
const ENCRYPTION: &str = "encrypted images are not supported";
const DMTCP: &str = "checkpoints by DMTCP are not supported";
const BOOT: &str = "a container with systemd is for container engines: use podman with slipway";
const NETNS: &str = "only the networks host and none are supported";
const MACHINE: &str = "virtual machines are not supported";

const fn switch(flag: &'static str, variable: Variable, reason: &'static str) -> Refused {
    Refused {
        variable,
        flag,
        takes_value: false,
        reason,
    }
}

const fn value(flag: &'static str, variable: Variable, reason: &'static str) -> Refused {
    Refused {
        takes_value: true,
        ..switch(flag, variable, reason)
    }
}

/// The flags that are refused.
#[rustfmt::skip]
pub(super) static REFUSED: [Refused; 12] = [
    value("blkio-weight-device", Variable::of("blkio-weight-device", &["BLKIO_WEIGHT_DEVICE"]), LIMITS),
    switch("oom-kill-disable", Variable::of("oom-kill-disable", &["OOM_KILL_DISABLE"]), LIMITS),
    value("security", Variable::of("security", &["SECURITY"]), SECURITY),
    value("passphrase", Variable::of("passphrase", &["ENCRYPTION_PASSPHRASE"]), ENCRYPTION),
    value("pem-path", Variable::of("pem-path", &["ENCRYPTION_PEM_PATH", "ENCRYPTION_PEM_DATA"]), ENCRYPTION),
    value("dmtcp-launch", Variable::of("dmtcp-launch", &["DMTCP_LAUNCH"]), DMTCP),
    switch("dmtcp-restart", Variable::of("dmtcp-restart", &["DMTCP_RESTART"]), DMTCP),
    switch("boot", Variable::of("boot", &["BOOT"]), BOOT),
    value("netns-path", Variable::of("netns-path", &["NETNS_PATH"]), NETNS),
    switch("vm", Variable::of("vm", &["VM"]), MACHINE),
    value("vm-ram", Variable::of("vm-ram", &["VM_RAM"]), MACHINE),
    value("vm-cpu", Variable::of("vm-cpu", &["VM_CPU"]), MACHINE),
];

/// The first flag that is refused, if one is given.
#[derive(Debug, Clone, Default)]
pub struct RefusedFlags(Option<&'static str>);

impl Group for RefusedFlags {
    const LONG: &'static [&'static str] = &[
        "blkio-weight-device",
        "oom-kill-disable",
        "security",
        "passphrase",
        "pem-path",
        "dmtcp-launch",
        "dmtcp-restart",
        "boot",
        "netns-path",
        "vm",
        "vm-ram",
        "vm-cpu",
    ];
    const SHORT: &'static str = "";
}

impl Args for RefusedFlags {
    fn augment_args(command: Command) -> Command {
        command.args(REFUSED.iter().map(Refused::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RefusedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |refused: &&Refused| {
            let source = matches.value_source(refused.flag);
            source == Some(clap::parser::ValueSource::CommandLine)
        };
        Ok(Self(REFUSED.iter().find(given).map(|refused| refused.flag)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Refused {
    fn arg(&self) -> Arg {
        let action = match self.takes_value {
            true => ArgAction::Append,
            false => ArgAction::SetTrue,
        };
        Arg::new(self.flag)
            .long(self.flag)
            .action(action)
            .hide(true)
            .help(self.reason)
    }

    fn is_set_by(&self, variables: &Variables) -> Result<Option<String>> {
        let is_set = self.takes_value || variables.is_set(&self.variable)?;
        let given = variables.value(&self.variable).filter(|_| is_set);
        Ok(given.map(|(name, _)| name))
    }
}

impl RefusedFlags {
    /// Refuses flags and variables.
    ///
    /// # Errors
    ///
    /// Fails with the first one that is given, and the reason.
    pub fn check(&self, variables: &Variables) -> Result<()> {
        for refused in &REFUSED {
            if self.0 == Some(refused.flag) {
                bail!("--{}: {}", refused.flag, refused.reason)
            }
            if let Some(name) = refused.is_set_by(variables)? {
                bail!("{name}: {}; unset the variable", refused.reason)
            }
        }
        Ok(())
    }
}

/// Returns the flags with the reasons.
#[cfg(test)]
pub fn refused_flags() -> impl Iterator<Item = (&'static str, &'static str)> {
    REFUSED.iter().map(|refused| (refused.flag, refused.reason))
}

/// Returns the variables of these flags.
pub(super) fn variables() -> impl Iterator<Item = &'static Variable> {
    REFUSED.iter().map(|refused| &refused.variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
        let command = RefusedFlags::augment_args(Command::new("front"));
        let words = ["front"].iter().chain(words);
        let matches = command.try_get_matches_from(words).unwrap();
        let flags = RefusedFlags::from_arg_matches(&matches).unwrap();
        let checked = flags.check(&Variables::of(variables));
        checked.map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_supported_is_refused_with_the_reason() {
        let error = check(&["--security", "uid:0"], &[]).unwrap_err();
        assert_eq!(error, format!("--security: {SECURITY}"));
        let error = check(&[], &[("SINGULARITY_SECURITY", "x")]).unwrap_err();
        assert_eq!(
            error,
            format!("SINGULARITY_SECURITY: {SECURITY}; unset the variable")
        );
        assert!(check(&[], &[("APPTAINER_BOOT", "1")]).is_err());
        assert!(check(&["--boot"], &[]).is_err());
        for variable in [("APPTAINER_BOOT", "0"), ("APPTAINER_SECURITY", "")] {
            assert_eq!(check(&[], &[variable]), Ok(()), "{variable:?}");
        }
        assert_eq!(check(&[], &[]), Ok(()));
    }
}

//! The paths of the host that a container sees.

use std::ffi::OsString;

use anyhow::{Result, bail};
use bundle::{Bind, parse_binds};
use clap::Args;

use super::Variable;
use crate::caller::Caller;

/// The flags for paths of the host.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Mounts")]
pub struct MountFlags {
    /// Bind a path of the host: SOURCE[:DESTINATION[:ro|rw]], several separated by commas
    #[arg(short = 'B', long, value_name = "SPEC")]
    pub bind: Vec<OsString>,
}

const BIND: Variable = Variable::of("bind", &["BIND", "BINDPATH"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[BIND];

/// The paths of the host that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mounts {
    /// The user's binds, with absolute sources: those of flags, then those of variables.
    pub binds: Vec<Bind>,
}

impl MountFlags {
    /// Combines flags and variables. The binds of both are used.
    ///
    /// # Errors
    ///
    /// Fails on invalid binds, and on sources that do not exist.
    pub fn resolve(&self, caller: &Caller) -> Result<Mounts> {
        let variables = caller.variables.values(&BIND);
        let variables = variables.map(|(_, value)| value.to_owned());
        let mut binds = Vec::new();
        for argument in self.bind.iter().cloned().chain(variables) {
            for mut bind in parse_binds(&argument)? {
                bind.source = caller.absolute(&bind.source)?;
                if let Err(error) = std::fs::metadata(&bind.source) {
                    bail!(
                        "bind source {}: {}",
                        bind.source.display(),
                        text::message(&error)
                    );
                }
                binds.push(bind);
            }
        }
        Ok(Mounts { binds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Variables;

    fn resolve(binds: &[&str], variables: &[(&str, &str)]) -> Result<Mounts> {
        let flags = MountFlags {
            bind: binds.iter().map(Into::into).collect(),
        };
        flags.resolve(&Caller::new(Variables::of(variables), Some("/".into())))
    }

    #[test]
    fn binds_of_flags_and_variables_add_up() {
        let variables = [
            ("SINGULARITY_BIND", "/tmp:/b"),
            ("APPTAINER_BINDPATH", "/tmp:/c"),
        ];
        let mounts = resolve(&["tmp:/a"], &variables).unwrap();
        let binds = mounts.binds.iter().map(|bind| {
            let destination = bind.destination.as_ref().unwrap();
            (bind.source.to_str().unwrap(), destination.to_str().unwrap())
        });
        let expected = [("/tmp", "/a"), ("/tmp", "/b"), ("/tmp", "/c")];
        assert_eq!(binds.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_missing_source_is_named() {
        let error = resolve(&["/nosuch:/mnt"], &[]).unwrap_err().to_string();
        assert_eq!(error, "bind source /nosuch: no such file or directory");
    }
}

//! The shell that `front shell` starts.

use std::path::PathBuf;

use clap::Args;

use super::Variable;
use crate::variables::Variables;

/// The flags for the shell to start.
#[derive(Debug, Clone, Default, Args)]
pub struct ShellFlags {
    /// Start this shell: a path in the image
    #[arg(short, long, value_name = "PATH")]
    pub shell: Option<PathBuf>,
}

const SHELL: Variable = Variable::of("shell", &["SHELL"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[SHELL];

impl ShellFlags {
    /// Combines the flag and its variable. Returns `None` for the image's best shell.
    pub fn resolve(&self, variables: &Variables) -> Option<PathBuf> {
        let chosen = variables.value(&SHELL);
        let chosen = chosen.map(|(_, path)| PathBuf::from(path));
        self.shell.clone().or(chosen)
    }
}

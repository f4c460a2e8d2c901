//! Which shell `front shell` starts.

use std::path::PathBuf;

use clap::Args;

use super::Variable;
use crate::variables::Variables;

/// Which shell is started.
#[derive(Debug, Clone, Default, Args)]
pub struct ShellFlags {
    /// The shell to start: a path in the image
    #[arg(short, long, value_name = "PATH")]
    pub shell: Option<PathBuf>,
}

const SHELL: Variable = Variable::of("shell", &["SHELL"]);

/// The variables that stand for them.
pub(super) const VARIABLES: &[Variable] = &[SHELL];

impl ShellFlags {
    /// Puts the flag and its variable together; `None` for the image's best.
    pub fn resolve(&self, variables: &Variables) -> Option<PathBuf> {
        let chosen = variables.value(&SHELL);
        let chosen = chosen.map(|(_, path)| PathBuf::from(path));
        self.shell.clone().or(chosen)
    }
}

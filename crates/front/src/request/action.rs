//! The program to start in a container.

use std::ffi::OsString;
use std::path::PathBuf;

/// The program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A command.
    Exec(Vec<OsString>),
    /// The runscript, with arguments.
    Run(Vec<OsString>),
    /// The startscript, with arguments.
    Start(Vec<OsString>),
    /// The image's tests, with arguments.
    Test(Vec<OsString>),
    /// A shell, of the user's choice or the image's best.
    Shell(Option<PathBuf>),
}

impl Action {
    /// Returns the name of the command, or an empty name for the image's own scripts and shells.
    pub fn program(&self) -> String {
        match self {
            Self::Exec(words) => words
                .first()
                .map(|name| name.to_string_lossy().into_owned()),
            _ => None,
        }
        .unwrap_or_default()
    }

    /// Returns the command's name, which `APPTAINER_COMMAND` has inside.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Run(_) => "run",
            Self::Start(_) => "start",
            Self::Test(_) => "test",
            Self::Shell(_) => "shell",
        }
    }
}

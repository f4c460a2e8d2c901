//! What OCI hooks have in common: reading the container's state, and putting edits into a container that
//! is being made.
//!
//! A hook is called with the state on its standard input ([OCI runtime specification], "Posix-platform
//! Hooks"), before the container's root is its own: as `prestart` or `createRuntime` in the runtime's
//! namespaces, as `createContainer` in the container's. Both work here, under any runtime. What is in
//! the container is hostile: each path in it is resolved within it.
//!
//! [OCI runtime specification]: https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks

#![forbid(unsafe_code)]

mod apply;
mod cgroup;
mod container;
mod drivers;
mod error;

pub use apply::apply;
pub use container::Container;
pub use drivers::{driver_edits, nodes};
pub use error::Error;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use inject::Host;

/// A hook's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// `--driver-root DIRECTORY`: where the host's driver is installed, if not in the host's own root, as
    /// where a container brings it.
    pub driver_root: PathBuf,
    /// `--prefix DIRECTORY`: where the host's MPI is installed, if not where its loader finds it.
    pub prefix: Option<PathBuf>,
    /// `--libraries`: the container gets the driver without asking, and its GPUs by another way.
    pub libraries: bool,
}

/// Runs a hook: `act` gets the container, the arguments, and what enters it and returns the host as seen
/// from there. What fails is one line on standard error, which the runtime shows, and code 1, on which
/// it makes no container.
pub fn main(
    name: &str,
    act: impl FnOnce(&Container, &Arguments, &dyn Fn() -> Result<Host, Error>) -> Result<(), Error>,
) -> ExitCode {
    sys::load_no_name_service();
    let outcome = Arguments::parse(std::env::args_os().skip(1)).and_then(|arguments| {
        let container = Container::from_state(std::io::stdin().lock())?;
        act(&container, &arguments, &|| {
            container.enter()?;
            drivers::host(&arguments.driver_root)
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {}", sys::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Self, Error> {
        let mut arguments = Self {
            driver_root: PathBuf::from("/"),
            prefix: None,
            libraries: false,
        };
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("--libraries") => arguments.libraries = true,
                Some(name @ ("--driver-root" | "--prefix")) => {
                    let missing = || Error::Refused(format!("{name} takes a directory"));
                    let directory = PathBuf::from(words.next().ok_or_else(missing)?);
                    match name {
                        "--prefix" => arguments.prefix = Some(directory),
                        _ => arguments.driver_root = directory,
                    }
                }
                _ => {
                    return Err(Error::Refused(format!(
                        "unknown argument {}; there are --driver-root DIRECTORY, --prefix DIRECTORY and --libraries",
                        word.display()
                    )));
                }
            }
        }
        Ok(arguments)
    }
}

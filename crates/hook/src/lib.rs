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
mod error;
mod lend;

pub use apply::apply;
pub use container::Container;
pub use error::Error;
pub use lend::lend;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use inject::Host;

/// Runs a hook: `act` gets the container, and what enters it and returns the host as seen from there.
/// What fails is one line on standard error, which
/// the runtime shows, and code 1, on which it makes no container.
///
/// Hooks take one argument, `--driver-root DIRECTORY`: where the host's driver is installed, if not in
/// the host's own root, as where a container brings it.
pub fn main(
    name: &str,
    act: impl FnOnce(&Container, &dyn Fn() -> Result<Host, Error>) -> Result<(), Error>,
) -> ExitCode {
    let outcome = driver_root(std::env::args_os().skip(1)).and_then(|root| {
        let container = Container::from_state(std::io::stdin().lock())?;
        act(&container, &|| {
            container.enter()?;
            lend::host(&root)
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

fn driver_root(arguments: impl Iterator<Item = OsString>) -> Result<PathBuf, Error> {
    let words: Vec<OsString> = arguments.collect();
    match words.as_slice() {
        [] => Ok(PathBuf::from("/")),
        [flag, root] if flag == "--driver-root" => Ok(PathBuf::from(root)),
        [word, ..] => Err(Error::Refused(format!(
            "unknown argument {}; there is --driver-root DIRECTORY only",
            word.display()
        ))),
    }
}

//! OCI hooks that give a container the host's GPUs, MPI and fabric. The first argument names the hook.
//!
//! A hook is called with the state on its standard input ([OCI runtime specification],
//! "Posix-platform Hooks"), before the container's root is in place: as `prestart` or
//! `createRuntime` in the runtime's namespaces, as `createContainer` in the container's. Both work
//! here, under any runtime. The container's files are not trusted: each path is resolved within the
//! container.
//!
//! [OCI runtime specification]:
//! https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks

#![forbid(unsafe_code)]

mod apply;
mod cgroup;
mod container;
mod drivers;
mod error;
mod fabric;
mod mpi;
mod nvidia;
mod rocm;

use apply::apply;
use container::Container;
use drivers::{driver_edits, nodes};
use error::Error;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use inject::Host;

/// A hook's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arguments {
    /// `--driver-root DIRECTORY`: the directory in which the host's driver is installed, if it is
    /// not the host's root. An example is a driver that a container provides.
    driver_root: PathBuf,
    /// `--prefix DIRECTORY`: the directory in which the host's MPI is installed, if the host's
    /// loader does not find it.
    prefix: Option<PathBuf>,
    /// `--libraries`: inject the driver without a request, because the GPUs are added in another
    /// way.
    libraries: bool,
}

/// A hook: it gets the container, the arguments, and a function that enters the container and
/// returns the host as seen from there.
type Hook = fn(&Container, &Arguments, &dyn Fn() -> Result<Host, Error>) -> Result<(), Error>;

const HOOKS: [(&str, Hook); 4] = [
    ("nvidia", nvidia::run),
    ("rocm", rocm::run),
    ("mpi", mpi::run),
    ("fabric", fabric::run),
];

/// Runs the hook that the first argument names. An error is printed as one line on standard error,
/// which the runtime shows; the exit code is then 1, and the runtime creates no container.
fn main() -> ExitCode {
    sys::load_no_name_service();
    let mut words = std::env::args_os().skip(1);
    let name = words.next().unwrap_or_default();
    let Some((name, hook)) = HOOKS.into_iter().find(|(known, _)| name == *known) else {
        eprintln!(
            "slipway-hook: the first argument is nvidia, rocm, mpi or fabric, not {:?}",
            name.display().to_string()
        );
        return ExitCode::FAILURE;
    };
    match run(hook, words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway-hook {name}: {}", text::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(hook: Hook, words: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let arguments = Arguments::parse(words)?;
    let container = Container::from_state(std::io::stdin().lock())?;
    hook(&container, &arguments, &|| {
        container.enter()?;
        drivers::host(&arguments.driver_root)
    })
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

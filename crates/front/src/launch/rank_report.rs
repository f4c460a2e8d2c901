//! Warnings to the user when a rank has ended with an error, or runs without having found the
//! others.

use std::ffi::OsStr;
use std::path::Path;

use elf::Loader;
use inject::mpi::{self, Implementation};
use launcher::Job;
use rootfs::Directory;
use session::Observer;

use crate::host;
use crate::messages::Messages;

/// SIGILL, and the exit status that shells make of it: signal(7), and 128 more.
const ILLEGAL: i32 = 4;
const ILLEGAL_IN_SHELL: i32 = 128 + ILLEGAL;

/// Exit status of loaders when a library is missing.
const NOT_FOUND: i32 = 127;

/// Parts of the paths of MPI libraries.
const LIBRARIES: [&str; 3] = ["/libmpi.so", "/libmpich.so", "/libmpi_abi.so"];

/// Observes a job's ranks.
#[derive(Debug)]
pub struct RankObserver<'a> {
    /// The first rank's program.
    pub program: &'a str,
    /// The image.
    pub image: &'a Path,
    /// The job.
    pub job: &'a Job,
    /// Whether the ranks may not find each other, and the user has not been warned.
    pub may_be_alone: bool,
    /// The level and the style of the warnings.
    pub messages: Messages,
}

impl Observer for RankObserver<'_> {
    fn program(&self) -> &str {
        self.program
    }

    fn looks(&self) -> bool {
        self.may_be_alone
    }

    fn ended(&self, program: &str, status: i32) -> Option<String> {
        let (signal, code) = (status & 0x7f, status >> 8 & 0xff);
        let name = match program {
            "" => "the program",
            program => program,
        };
        if signal == ILLEGAL || signal == 0 && code == ILLEGAL_IN_SHELL {
            let own = host::processor().map(|own| own.to_string());
            return self.messages.warning_line(format_args!(
                "{name} was killed by an instruction that this processor ({}) does not support; {name} or one of its \
                 libraries was built for a newer processor: use other nodes, or rebuild it",
                own.unwrap_or_default()
            ));
        }
        // A shell itself reports the program that it did not find.
        if signal == 0 && code == NOT_FOUND && !program.ends_with("sh") {
            let doctor = format!("front doctor {} {program}", self.image.display());
            return self.messages.warning_line(format_args!(
                "{name} exited with status 127, which often means a missing library; see `{}`",
                doctor.trim_end()
            ));
        }
        None
    }

    fn running(&self, process: i32) -> Option<String> {
        let loaded = loaded(process)?;
        let alone = mpi::wireup_mismatch(&loaded, self.job)?;
        self.messages.warning_line(format_args!(
            "{} has loaded an MPI library that does not find the other ranks: {alone}; {}",
            name(process),
            alone.remedy()
        ))
    }
}

/// Returns a process's name.
fn name(process: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm"));
    name.unwrap_or_default().trim().to_owned()
}

/// Returns the MPI library that a process has loaded.
fn loaded(process: i32) -> Option<Implementation> {
    let maps = sys::read_all(Path::new(&format!("/proc/{process}/maps"))).ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let mut paths = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let path = paths.find(|path| LIBRARIES.iter().any(|name| path.contains(name)))?;
    let root = Directory::open_root(Path::new(&format!("/proc/{process}/root"))).ok()?;
    let machine = inject::machine(&root)?;
    let loader = Loader::new(&root, machine).ok()?;
    let path = Path::new(OsStr::new(path));
    Implementation::of_program(&loader, &root, path).ok()?
}

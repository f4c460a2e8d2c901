//! What a rank's user is told when it has ended badly, or runs without having found the others.

use std::ffi::OsStr;
use std::path::Path;

use elf::Loader;
use inject::mpi::{self, Implementation};
use launcher::Job;
use session::Observer;
use tree::Directory;

use crate::host;
use crate::messages::Messages;

/// SIGILL, and what shells make of it: signal(7), and 128 more.
const ILLEGAL: i32 = 4;
const ILLEGAL_IN_SHELL: i32 = 128 + ILLEGAL;

/// What loaders exit with when a library is not there.
const NOT_FOUND: i32 = 127;

/// How MPI libraries' files are called.
const LIBRARIES: [&str; 3] = ["/libmpi.so", "/libmpich.so", "/libmpi_abi.so"];

/// Knows a job's ranks, and what they shall be.
#[derive(Debug)]
pub struct RankObserver<'a> {
    /// The first rank's program.
    pub program: &'a str,
    /// The image.
    pub image: &'a Path,
    /// The job.
    pub job: &'a Job,
    /// Whether its ranks may be alone, and nobody knows yet.
    pub may_be_alone: bool,
    /// How it is told.
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
        let program = match program {
            "" => "what was started",
            program => program,
        };
        if signal == ILLEGAL || signal == 0 && code == ILLEGAL_IN_SHELL {
            let own = host::processor().map(|own| own.to_string());
            return self.messages.warning_line(format_args!(
                "{program} was ended by an instruction that this machine's processor ({}) does not have: it, or a \
                 library that it loads, was built for another; take nodes that have it, or build for this one",
                own.unwrap_or_default()
            ));
        }
        // A shell has said by itself what it did not find.
        if signal == 0 && code == NOT_FOUND && !program.ends_with("sh") {
            return self.messages.warning_line(format_args!(
                "{program} ended with 127, as when a library is not there; `front doctor {} {program}` says which",
                self.image.display()
            ));
        }
        None
    }

    fn running(&self, process: i32) -> Option<String> {
        let loaded = loaded(process)?;
        let alone = mpi::alone(&loaded, self.job)?;
        self.messages.warning_line(format_args!(
            "{} has loaded an MPI library that does not find the other ranks: {alone}; {}",
            name(process),
            alone.remedy()
        ))
    }
}

/// What a process is called.
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

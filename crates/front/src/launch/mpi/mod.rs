//! The MPI library that a rank gets, and whether it will find the other ranks.

mod look;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use image::Image;
use inject::mpi::{self, Facts, Hints, Implementation, Policy, Swap};
use inject::{Host, HostLibraries, View};

use super::interpreter;
use super::payload::Start;
use super::program::{ProgramLocation, VisiblePaths, find};
use crate::host;
use crate::messages::Messages;
use crate::mpi_mode::MpiMode;
use crate::request::{Action, Request};
use look::{Answer, Look};

/// Facts about a request's program and its MPI.
#[derive(Debug, Default)]
pub struct Rank {
    readiness: Readiness,
    /// Whether it is an MPI program: linked to a library of the image, or a program of an
    /// interpreter that names MPI.
    pub is_mpi: bool,
    /// Whether it is the rank of its job that prints messages.
    pub speaks: bool,
    name: String,
    /// The program.
    pub program: Option<Program>,
    /// The name of the MPI library that it will have.
    pub uses: Option<String>,
    /// The host's MPI, if it replaces the image's.
    pub host_libraries: Option<HostLibraries>,
    /// The reason why the host's MPI does not replace the image's.
    pub obstacle: Option<String>,
}

/// Whether a rank may start.
#[derive(Debug, Default)]
enum Readiness {
    #[default]
    Ready,
    /// It may fail, for this reason.
    Doubtful(String),
    /// It would fail, for this reason.
    Refused(String),
}

/// A program that a request starts.
#[derive(Debug)]
pub struct Program {
    /// The program's location.
    pub location: ProgramLocation,
    /// Its `LD_LIBRARY_PATH`.
    pub library_path: Option<OsString>,
}

/// The surroundings of a request's program.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub image: &'a Image,
    pub start: &'a Start,
    pub shown: &'a VisiblePaths,
    /// The places where the host's MPI may be.
    pub hints: &'a Hints,
    /// The directory of the cache.
    pub cache: &'a Path,
    /// Whether files of the host other than MPI are injected.
    pub has_injected: bool,
}

/// Examines a request's program, and decides whether the host's MPI replaces the image's.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn find_out(request: &Request, around: Surroundings<'_>) -> Result<Rank> {
    let Surroundings {
        image,
        start,
        shown,
        ..
    } = around;
    let Some(words) = ranks_words(request) else {
        return Ok(Rank::default());
    };
    let Some(name) = words.first() else {
        return Ok(Rank::default());
    };
    let (Some(location), Some(machine)) =
        (find(name, image, start, shown)?, host::machine(&image.root))
    else {
        return Ok(Rank::default());
    };
    let name = name.to_string_lossy().into_owned();
    let loads_mpi =
        interpreter::is_one(&name) && interpreter::names_mpi(words, image, start, shown)?;
    let host = Host::new(Path::new("/"), OsStr::new("")).context("examine the host")?;
    let env = start.process((BTreeSet::new(), true)).env;
    let library_path = env.into_iter().find(|(name, _)| name == "LD_LIBRARY_PATH");
    let library_path = library_path.map(|(_, value)| value);
    let look = Look {
        image,
        view: View {
            host: &host,
            image: &image.root,
            machine,
            library_path: library_path.as_deref(),
        },
        program: &location,
        is_whole: request.container.mounts.binds.is_empty()
            && !around.has_injected
            && start.is_plain(),
        loads_mpi: loads_mpi || request.container.mpi.mode == MpiMode::Host,
        job: request.job.as_ref(),
    };
    let may_swap = request.mpi_policy() != Policy::Container;
    let answer = look.answer(may_swap.then_some(around.hints), around.cache)?;
    let decided = decide(request, &look, answer, loads_mpi);
    Ok(Rank {
        speaks: speaks(request),
        name,
        program: Some(Program {
            location,
            library_path,
        }),
        ..decided
    })
}

/// Returns the command of a rank, if its MPI library matters.
fn ranks_words(request: &Request) -> Option<&[OsString]> {
    let Action::Exec(words) = &request.action else {
        return None;
    };
    let mode = request.container.mpi.mode;
    let size = request.job.as_ref().and_then(|job| job.size);
    let is_of_several = size.is_some_and(|size| size > 1);
    (mode == MpiMode::Host || mode != MpiMode::None && is_of_several).then_some(words)
}

/// Whether this rank prints messages. Of ranks that share a container, only the first gets here.
/// Otherwise rank 0 prints them.
fn speaks(request: &Request) -> bool {
    let rank = request.job.as_ref().and_then(|job| job.rank);
    request.is_shared() || rank.is_none_or(|rank| rank == 0)
}

/// Decides which library the rank gets, and whether it may start.
fn decide(request: &Request, look: &Look<'_>, answer: Answer, loads_mpi: bool) -> Rank {
    if let Some(broken) = answer.broken.or_else(|| too_old(answer.level)) {
        let reason = format!("{broken}; run `front doctor` for details");
        return Rank {
            readiness: Readiness::Refused(reason),
            ..Rank::default()
        };
    }
    let is_mpi = answer.linked || loads_mpi;
    let own = answer.own.as_ref();
    let mode = request.container.mpi.mode;
    let (swap, obstacle) = match answer.swap {
        Some(Err(reason)) if mode == MpiMode::Host || answer.lacks.is_some() => {
            let reason = match (own, answer.lacks) {
                (Some(own), _) => format!(
                    "the host's MPI cannot replace the image's {own}: {reason}; use the image's with --mpi=container"
                ),
                (None, Some(family)) => format!(
                    "it needs {family}, which the image does not have, and {reason}; load a module with {family}, or bind \
                     its directory and set --env LD_LIBRARY_PATH=…"
                ),
                (None, None) => format!("the image has no MPI, and {reason}"),
            };
            // A bind may bring a library, if variables of the image name its directory.
            let is_hosts = matches!(look.program, ProgramLocation::Host(_))
                && look.view.library_path.is_none();
            let is_certain = mode == MpiMode::Host || look.is_whole || is_hosts;
            return Rank {
                readiness: Readiness::of(reason, is_certain),
                is_mpi,
                ..Rank::default()
            };
        }
        Some(Err(reason)) => (None, Some(reason)),
        Some(Ok(swap)) => {
            let facts = Facts {
                own,
                hosts: &swap.implementation,
                is_worth: answer.worth,
                job: request.job.as_ref(),
            };
            let swap = request.mpi_policy().takes_hosts(facts).then_some(swap);
            (swap, None)
        }
        None => (None, None),
    };
    Rank {
        readiness: match swap.as_ref().map(|swap| &swap.implementation).or(own) {
            // A program that is not linked to MPI does not need it, but one of its scripts may.
            Some(used) if is_mpi => alone(request, used, answer.linked),
            _ => Readiness::Ready,
        },
        is_mpi,
        uses: name_of(swap.as_ref(), own),
        host_libraries: swap.map(|swap| swap.host_libraries),
        obstacle,
        ..Rank::default()
    }
}

/// Returns the reason why a program cannot run on this machine, if it is built for newer
/// processors. Nodes that share a cache may have different processors.
fn too_old(level: u32) -> Option<String> {
    let own = (level > 1).then(host::processor).flatten()?;
    (own.level < level).then(|| format!("it needs x86-64-v{level}, but this machine has {own}"))
}

/// Checks whether a rank with this library finds the others.
fn alone(request: &Request, library: &Implementation, is_linked: bool) -> Readiness {
    let job = request.job.as_ref();
    match job.and_then(|job| mpi::wireup_mismatch(library, job)) {
        Some(alone) => Readiness::of(format!("{alone}; {}", alone.remedy()), is_linked),
        None => Readiness::Ready,
    }
}

fn name_of(swap: Option<&Swap>, own: Option<&Implementation>) -> Option<String> {
    match (swap, own) {
        (Some(swap), _) => {
            tracing::debug!(path = %swap.implementation.path.display(), "the host's MPI");
            Some(format!("the host's {}", swap.implementation))
        }
        (None, Some(own)) => Some(format!("the image's {own}")),
        (None, None) => None,
    }
}

impl Readiness {
    fn of(reason: String, is_certain: bool) -> Self {
        match is_certain {
            true => Self::Refused(reason),
            false => Self::Doubtful(reason),
        }
    }
}

impl Rank {
    /// Whether the user has been warned that the ranks may not find each other.
    pub fn has_warned(&self) -> bool {
        !matches!(self.readiness, Readiness::Ready)
    }

    /// Returns whether the rank may start. The rank that prints messages prints a reason against
    /// it.
    pub fn may_start(&self, messages: &Messages) -> bool {
        match &self.readiness {
            Readiness::Ready => true,
            Readiness::Doubtful(reason) => {
                if self.speaks {
                    messages.warning(format_args!(
                        "if the program uses MPI, it may fail: {reason}"
                    ));
                }
                true
            }
            Readiness::Refused(reason) => {
                if self.speaks {
                    messages.fatal(&anyhow!(
                        "{}: {reason}; to start it anyway, use --mpi=none",
                        self.name
                    ));
                }
                false
            }
        }
    }
}

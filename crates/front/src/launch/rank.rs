//! What a program of several ranks needs: an MPI library, and the other ranks.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use elf::{Loader, Object, Problem};
use image::Image;
use inject::fabric;
use inject::mpi::{self, Implementation, Swap};
use inject::{Edits, Host, StandIn};
use serde::{Deserialize, Serialize};
use tree::Files;

use super::interpreter;
use super::kept;
use super::place::{Shown, Where, find};
use super::start::Start;
use crate::cli::MpiMode;
use crate::host;
use crate::messages::Messages;
use crate::request::{Action, Request};

/// What was found out about a program and its MPI.
#[derive(Debug, Default)]
pub struct Rank {
    /// Why it must not start, or might not work.
    refusal: Option<String>,
    /// Whether it must not start then.
    must: bool,
    /// Whether it is an MPI program: linked to a library of the image's, or an interpreter's that names MPI.
    pub is_mpi: bool,
    /// Whether it is the one of its job that speaks.
    pub speaks: bool,
    name: String,
    /// The program and its `LD_LIBRARY_PATH`.
    pub program: Option<(Where, Option<OsString>)>,
    /// The MPI library that it will have, in words.
    pub uses: Option<String>,
    /// What of the host's MPI is put in.
    pub stand_in: Option<StandIn>,
    /// Why the host's MPI is not.
    pub obstacle: Option<String>,
}

/// An answer that is kept: the image's library, and how the host's stands in for it, or why not.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    own: Option<Implementation>,
    /// Whether the program itself is linked to it; else it is what programs of the image would find.
    linked: bool,
    swap: Option<Result<Swap, String>>,
    /// Whether the host's reaches a fast network, or the image's does not, either.
    #[serde(default)]
    worth: bool,
    /// Why the loader would not start the program at all.
    broken: Option<String>,
    /// The level of x86-64 that it and its libraries need, as far as they say.
    level: u32,
}

/// Finds out about a request's program, and has the host's MPI stand in for the image's where that is
/// wanted.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn prepare(
    request: &Request,
    image: &Image,
    start: &Start,
    shown: &Shown,
    cache: &Path,
    edits: &mut Edits,
) -> Result<Rank> {
    let Action::Exec(words) = &request.action else {
        return Ok(Rank::default());
    };
    let (mode, hints) = &request.mpi;
    let of_several = request
        .job
        .as_ref()
        .and_then(|job| job.size)
        .is_some_and(|size| size > 1);
    let asks = *mode == MpiMode::Host || *mode != MpiMode::None && of_several;
    let Some(name) = words.first().filter(|_| asks) else {
        return Ok(Rank::default());
    };
    let (Some(program), Some(machine)) =
        (find(name, image, start, shown)?, host::machine(&image.root))
    else {
        return Ok(Rank::default());
    };
    let name = name.to_string_lossy().into_owned();
    let loads_mpi =
        interpreter::is_one(&name) && interpreter::names_mpi(words, image, start, shown)?;
    let mut rank = Rank {
        must: true,
        // Of ranks that share a container only the first comes here.
        speaks: request.shared
            || request
                .job
                .as_ref()
                .and_then(|job| job.rank)
                .is_none_or(|rank| rank == 0),
        name: name.clone(),
        ..Rank::default()
    };
    let host = Host::new(Path::new("/"), OsStr::new("")).context("look at the host")?;
    let env = start.process(false).env;
    let library_path = env.into_iter().find(|(name, _)| name == "LD_LIBRARY_PATH");
    let library_path = library_path.map(|(_, value)| value);
    // Who sets the path themselves has chosen.
    let is_chosen = request
        .overrides
        .iter()
        .any(|(name, _)| name == "LD_LIBRARY_PATH");
    let look = Look {
        image,
        machine,
        host: &host,
        program: &program,
        library_path: library_path.as_deref(),
        is_whole: request.binds.is_empty() && edits.mounts.is_empty() && start.is_plain(),
    };
    let is_auto = *mode == MpiMode::Auto && !is_chosen;
    let may_swap = is_auto || *mode == MpiMode::Host;
    let answer = look.answer(may_swap.then_some(hints), cache)?;
    rank.program = Some((program.clone(), library_path.clone()));
    // Nodes that share a cache may have other processors.
    let old = (answer.level > 1).then(host::processor).flatten();
    let old = old.filter(|own| own.level < answer.level);
    let old = old.map(|own| {
        format!(
            "it needs x86-64-v{}, and this machine is {own}",
            answer.level
        )
    });
    if let Some(broken) = answer.broken.or(old) {
        rank.refusal = Some(format!("{broken}; front doctor says more"));
        return Ok(rank);
    }
    let Some(own) = answer.own else {
        if *mode == MpiMode::Host {
            rank.refusal =
                Some("the image has no MPI library that the host's could stand in for".to_owned());
        }
        return Ok(rank);
    };
    rank.is_mpi = answer.linked || loads_mpi;
    let alone = |implementation: &Implementation| {
        request
            .job
            .as_ref()
            .and_then(|job| mpi::alone(implementation, job))
    };
    let is_alone = alone(&own);
    let used = match answer.swap {
        Some(Ok(swap)) => {
            let mends = is_alone.is_some() && alone(&swap.implementation).is_none();
            let wanted = *mode == MpiMode::Host
                || mends
                || answer.worth && alone(&swap.implementation).is_none();
            wanted.then_some(swap)
        }
        Some(Err(reason)) if *mode == MpiMode::Host => {
            rank.refusal = Some(format!(
                "the host's MPI cannot stand in for the image's {own}: {reason}; --mpi=container takes the image's"
            ));
            return Ok(rank);
        }
        Some(Err(reason)) => {
            rank.obstacle = Some(reason);
            None
        }
        None => None,
    };
    let alone = match &used {
        Some(swap) => {
            tracing::debug!(path = %swap.implementation.path.display(), "the host's MPI");
            let put = swap.stand_in.add_to(edits, &image.root, machine);
            put.context("put the host's MPI in")?;
            alone(&swap.implementation)
        }
        None => is_alone,
    };
    rank.uses = Some(match &used {
        Some(swap) => format!("the host's {}", swap.implementation),
        None => format!("the image's {own}"),
    });
    rank.stand_in = used.map(|swap| swap.stand_in);
    // What is not linked to MPI is not its concern; but a script's may be.
    let alone = alone.filter(|_| rank.is_mpi);
    rank.must = answer.linked;
    rank.refusal = alone.map(|alone| format!("{alone}; {}", alone.remedy()));
    Ok(rank)
}

impl Rank {
    /// Whether its user knows that the ranks may not find each other.
    pub fn is_told(&self) -> bool {
        self.refusal.is_some()
    }

    /// Returns whether it may start; the first of the ranks says why not.
    pub fn may_start(&self, messages: &Messages) -> bool {
        let Some(refusal) = &self.refusal else {
            return true;
        };
        match (self.must, self.speaks) {
            (false, true) => messages.warning(format_args!("if it uses MPI: {refusal}")),
            (true, true) => messages.fatal(&anyhow!(
                "{}: {refusal}, or go on all the same with --mpi=none",
                self.name
            )),
            (_, false) => {}
        }
        !self.must
    }
}

/// What is looked at.
struct Look<'a> {
    image: &'a Image,
    machine: Object,
    host: &'a Host,
    program: &'a Where,
    library_path: Option<&'a OsStr>,
    /// Whether the image is all that the program will see.
    is_whole: bool,
}

impl Look<'_> {
    /// Returns the answer, worked out once for what it depends on.
    fn answer(&self, hints: Option<&mpi::Hints>, cache: &Path) -> Result<Answer> {
        let Some(image) = kept::stamp(&self.image.root).context("look at the image")? else {
            return self.work_out(hints);
        };
        let (Where::Image(path) | Where::Host(path)) = self.program;
        let state = self.program.state(self.host);
        let theirs = self
            .host
            .files()
            .stamp(Path::new(elf::CACHE))
            .unwrap_or_default();
        let hints_text = format!("{hints:?} {:?} {}", self.library_path, self.is_whole);
        let networks = fabric::identity(self.host).unwrap_or_default();
        let key = kept::key(&[
            "mpi",
            &networks,
            &image,
            &path.to_string_lossy(),
            &state,
            &theirs,
            &hints_text,
        ]);
        let holds = |answer: &Answer| match &answer.swap {
            Some(Ok(swap)) => kept::is_there(&swap.stand_in.mounts),
            _ => true,
        };
        kept::answer(
            &key,
            cache,
            |bytes| serde_json::from_slice(bytes).ok().filter(holds),
            |answer| match answer {
                // What is in the way may be mended the next moment.
                Answer {
                    broken: None,
                    swap: None | Some(Ok(_)),
                    ..
                } => Ok(serde_json::to_vec(answer)?),
                _ => Err(std::io::Error::other("it may change")),
            },
            || self.work_out(hints),
        )
    }

    /// Whether a program will certainly not start for it: what is bound or lent may have a library, and a
    /// program of the host's may lead to more of the host's.
    fn is_certain(&self, problem: &Problem) -> bool {
        match problem {
            Problem::Version { library, .. } => library == "libc.so.6",
            Problem::Missing { .. } => self.is_whole && matches!(self.program, Where::Image(_)),
        }
    }

    fn work_out(&self, hints: Option<&mpi::Hints>) -> Result<Answer> {
        let failed = "read the program and its libraries";
        let root = &self.image.root;
        let mut loader = Loader::new(root, self.machine).context(failed)?;
        if let Some(path) = self.library_path {
            loader.set_library_path(path);
        }
        let (files, path): (&dyn Files, &Path) = match self.program {
            Where::Image(path) => (root, path),
            Where::Host(path) => (self.host.files(), path),
        };
        let closure = loader.closure(files, path).context(failed)?;
        let closure = closure.unwrap_or_default();
        let problem = closure
            .problems
            .iter()
            .find(|problem| self.is_certain(problem));
        let broken = problem.map(ToString::to_string);
        let levels = closure
            .objects
            .iter()
            .map(|object| object.linkage.x86_64_level());
        let level = levels.max().unwrap_or(0);
        let found = mpi::find(&loader, root, (files, path)).context(failed)?;
        let swap = match (&found, hints) {
            (Some(found), Some(hints)) => {
                let (files, path) = &found.by;
                let (by, own) = ((*files, path.as_path()), &found.implementation);
                let swap = mpi::swap(
                    self.host,
                    root,
                    self.machine,
                    by,
                    self.library_path,
                    own,
                    hints,
                );
                Some(swap.context("look at the host's MPI")?)
            }
            _ => None,
        };
        let worth = match (&swap, hints) {
            (Some(Ok(swap)), Some(hints)) => {
                let program = fabric::Program {
                    file: Some((files, path)),
                    library_path: self.library_path,
                    stand_in: Some(&swap.stand_in),
                    directories: &hints.libraries,
                };
                let worth = fabric::is_worth(self.host, root, self.machine, program);
                worth.context("look at the host's networks")?
            }
            _ => false,
        };
        let linked = found.as_ref().is_some_and(|found| found.linked);
        let own = found.map(|found| found.implementation);
        Ok(Answer {
            own,
            linked,
            swap,
            worth,
            broken,
            level,
        })
    }
}

//! What a program of several ranks needs: an MPI library, and the other ranks.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use elf::{Closure, Loader, Object, Problem};
use image::Image;
use inject::fabric;
use inject::mpi::{self, Facts, Family, Hints, Implementation, Policy, Swap};
use inject::{Edits, Host, HostLibraries};
use launcher::Job;
use serde::{Deserialize, Serialize};
use tree::Files;

use super::interpreter;
use super::memo;
use super::payload::Start;
use super::program::{Shown, Where, find};
use crate::flags::MpiMode;
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
    pub host_libraries: Option<HostLibraries>,
    /// Why the host's MPI is not.
    pub obstacle: Option<String>,
}

/// An answer that is kept: the image's library, and how the host's replaces it, or why not.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    own: Option<Implementation>,
    /// The family of the library that the program needs, where the image has none.
    lacks: Option<Family>,
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

/// Finds out about a request's program, and has the host's MPI replace the image's where that is
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
    hints: &Hints,
    cache: &Path,
    edits: &mut Edits,
) -> Result<Rank> {
    let Action::Exec(words) = &request.action else {
        return Ok(Rank::default());
    };
    let mode = request.container.mpi.mode;
    let of_several = request
        .job
        .as_ref()
        .and_then(|job| job.size)
        .is_some_and(|size| size > 1);
    let asks = mode == MpiMode::Host || mode != MpiMode::None && of_several;
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
        speaks: request.is_shared()
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
    let look = Look {
        image,
        machine,
        host: &host,
        program: &program,
        library_path: library_path.as_deref(),
        is_whole: request.container.mounts.binds.is_empty()
            && edits.mounts.is_empty()
            && start.is_plain(),
        loads_mpi: loads_mpi || mode == MpiMode::Host,
        job: request.job.as_ref(),
    };
    let policy = request.mpi_policy();
    let may_swap = policy != Policy::Container;
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
    rank.is_mpi = answer.linked || loads_mpi;
    let alone = |implementation: &Implementation| {
        request
            .job
            .as_ref()
            .and_then(|job| mpi::alone(implementation, job))
    };
    let own = answer.own.as_ref();
    let is_alone = own.and_then(alone);
    let used = match answer.swap {
        Some(Ok(swap)) => {
            let facts = Facts {
                own,
                hosts: &swap.implementation,
                reaches_more: answer.worth,
                job: request.job.as_ref(),
            };
            policy.takes_hosts(facts).then_some(swap)
        }
        Some(Err(reason)) if mode == MpiMode::Host || answer.lacks.is_some() => {
            // A bind may bring it, where the image's own variables lead there.
            let is_hosts = matches!(program, Where::Host(_)) && library_path.is_none();
            rank.must = mode == MpiMode::Host || look.is_whole || is_hosts;
            rank.refusal = Some(match (own, answer.lacks) {
                (Some(own), _) => format!(
                    "the host's MPI cannot stand in for the image's {own}: {reason}; --mpi=container takes the image's"
                ),
                (None, Some(family)) => format!(
                    "it needs {family}, which the image does not have, and {reason}; load a module with one, or name its \
                     directory by --env LD_LIBRARY_PATH=… and bind it"
                ),
                (None, None) => format!("the image has no MPI, and {reason}"),
            });
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
            let put = swap.host_libraries.add_to(edits, &image.root, machine);
            put.context("put the host's MPI in")?;
            alone(&swap.implementation)
        }
        None => is_alone,
    };
    rank.uses = match (&used, own) {
        (Some(swap), _) => Some(format!("the host's {}", swap.implementation)),
        (None, Some(own)) => Some(format!("the image's {own}")),
        (None, None) => return Ok(rank),
    };
    rank.host_libraries = used.map(|swap| swap.host_libraries);
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
    /// Whether it will load an MPI that it is not linked to.
    loads_mpi: bool,
    job: Option<&'a Job>,
}

impl Look<'_> {
    /// Returns the answer, worked out once for what it depends on.
    fn answer(&self, hints: Option<&mpi::Hints>, cache: &Path) -> Result<Answer> {
        let Some(image) = memo::stamp(&self.image.root).context("look at the image")? else {
            return self.work_out(hints);
        };
        let (Where::Image(path) | Where::Host(path)) = self.program;
        let state = self.program.state(self.host);
        let theirs = self
            .host
            .files()
            .stamp(Path::new(elf::CACHE))
            .unwrap_or_default();
        let offers = self.job.map(|job| (job.launcher, &job.offers));
        let hints_text = format!(
            "{hints:?} {:?} {} {} {offers:?}",
            self.library_path, self.is_whole, self.loads_mpi
        );
        let networks = fabric::identity(self.host).unwrap_or_default();
        let key = memo::key(&[
            "mpi",
            &networks,
            &image,
            &path.to_string_lossy(),
            &state,
            &theirs,
            &hints_text,
        ]);
        let holds = |answer: &Answer| match &answer.swap {
            Some(Ok(swap)) => memo::is_there(&swap.host_libraries.mounts),
            _ => true,
        };
        memo::answer(
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

    /// Whether a program will certainly not start for it: what is bound or injected may have a library, and a
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
        let levels = closure
            .objects
            .iter()
            .map(|object| object.linkage.x86_64_level());
        let level = levels.max().unwrap_or(0);
        let found = mpi::find(&loader, root, (files, path)).context(failed)?;
        let found = found
            .filter(|found| found.implementation.is_some() || !self.has_own_mpi(&closure, path));
        let swap = hints.map(|hints| self.swap(found.as_ref(), (files, path), hints));
        let swap = swap.transpose()?.flatten();
        let is_lent = |problem: &Problem| matches!(swap, Some(Ok(_))) && mpi::is_of_mpi(problem);
        let mut problems = closure.problems.iter();
        let broken = problems.find(|problem| self.is_certain(problem) && !is_lent(problem));
        let broken = broken.map(ToString::to_string);
        let worth = match (&swap, hints) {
            (Some(Ok(swap)), Some(hints)) => {
                let program = fabric::Program {
                    file: Some((files, path)),
                    library_path: self.library_path,
                    host_libraries: Some(&swap.host_libraries),
                    directories: &hints.libraries,
                };
                let worth = fabric::is_worth(self.host, root, self.machine, program);
                worth.context("look at the host's networks")?
            }
            _ => false,
        };
        let linked = found.as_ref().is_some_and(|found| found.linked);
        let lacks = found
            .as_ref()
            .filter(|found| found.implementation.is_none());
        let lacks = lacks.map(|found| found.family);
        Ok(Answer {
            own: found.and_then(|found| found.implementation),
            lacks,
            linked,
            swap,
            worth,
            broken,
            level,
        })
    }

    /// How the host's MPI replaces what was found, or is there for a program that will load one; why not, in
    /// words; `None` for a program without MPI.
    fn swap(
        &self,
        found: Option<&mpi::Found<'_>>,
        program: (&dyn Files, &Path),
        hints: &mpi::Hints,
    ) -> Result<Option<Result<Swap, String>>> {
        let of = |program, family, own| {
            let need = mpi::Wanted { family, own };
            let (host, root) = (self.host, &self.image.root);
            let swap = mpi::swap(
                host,
                root,
                self.machine,
                program,
                self.library_path,
                need,
                hints,
            );
            swap.context("look at the host's MPI")
        };
        if let Some(found) = found {
            let (files, path) = &found.by;
            let own = found.implementation.as_ref();
            return of((*files, path.as_path()), found.family, own).map(Some);
        }
        if !self.loads_mpi {
            return Ok(None);
        }
        // Whichever finds the job's ranks; an interpreter's package says itself which it can use.
        let mut last = None;
        for family in mpi::FAMILIES {
            let swap = of(program, family, None)?;
            let meets = swap.as_ref().is_ok_and(|swap| {
                let mut job = self.job.iter();
                !job.any(|job| mpi::alone(&swap.implementation, job).is_some())
            });
            if meets {
                return Ok(Some(swap));
            }
            last.get_or_insert(swap);
        }
        Ok(last)
    }

    /// Whether a program of the host's has the library that the image lacks in a directory of its own.
    fn has_own_mpi(&self, closure: &Closure, path: &Path) -> bool {
        let (Where::Host(_), Some(program)) = (self.program, closure.objects.first()) else {
            return false;
        };
        let linkage = &program.linkage;
        let directories = linkage.runpath.as_ref().or(linkage.rpath.as_ref());
        let directories = directories.map(|all| all.to_string_lossy().into_owned());
        let origin = path.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let directories = directories.unwrap_or_default();
        let directories = directories
            .replace("${ORIGIN}", &origin)
            .replace("$ORIGIN", &origin);
        let missing = closure.problems.iter().filter_map(|problem| match problem {
            Problem::Missing { library, .. } if mpi::missing(problem).is_some() => Some(library),
            _ => None,
        });
        let directories: Vec<&Path> = directories.split(':').map(Path::new).collect();
        { missing }.any(|name| {
            directories
                .iter()
                .any(|one| self.host.exists(&one.join(name)))
        })
    }
}

//! Searches a program, its image and the host for MPI libraries.

use std::path::Path;

use anyhow::{Context, Result};
use elf::{Closure, Loader, Problem};
use image::Image;
use inject::mpi::{self, Family, Implementation, Swap};
use inject::{View, fabric};
use launcher::Job;
use rootfs::Files;
use serde::{Deserialize, Serialize};

use crate::launch::memo;
use crate::launch::program::ProgramLocation;

/// The result of a search: the image's library, and how the host's replaces it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) own: Option<Implementation>,
    /// The family of the library that the program needs, if the image has none.
    pub(super) lacks: Option<Family>,
    /// Whether the program itself is linked to the library. If not, programs of the image would
    /// load it later.
    pub(super) linked: bool,
    pub(super) swap: Option<Result<Swap, String>>,
    /// Whether the host's library reaches a fast network, or the image's does not either.
    #[serde(default)]
    pub(super) worth: bool,
    /// The reason why the loader would not start the program.
    pub(super) broken: Option<String>,
    /// The level of x86-64 that the program and its libraries declare to need.
    pub(super) level: u32,
}

/// A program and its surroundings, in which an MPI library is searched.
pub(super) struct Look<'a> {
    pub(super) image: &'a Image,
    pub(super) view: View<'a>,
    pub(super) program: &'a ProgramLocation,
    /// Whether the program will see no files except the image's.
    pub(super) is_whole: bool,
    /// Whether the program will load an MPI that it is not linked to.
    pub(super) loads_mpi: bool,
    pub(super) job: Option<&'a Job>,
}

impl Look<'_> {
    /// Returns the answer. It comes from the cache if nothing has changed that it depends on.
    pub(super) fn answer(&self, hints: Option<&mpi::Hints>, cache: &Path) -> Result<Answer> {
        let Some(image) = memo::stamp(&self.image.root).context("examine the image")? else {
            return self.search(hints);
        };
        let (ProgramLocation::Image(path) | ProgramLocation::Host(path)) = self.program;
        let state = self.program.state(self.view.host);
        let theirs = self
            .view
            .host
            .files()
            .stamp(Path::new(elf::CACHE))
            .unwrap_or_default();
        let offers = self.job.map(|job| (job.launcher, &job.offers));
        let hints_text = format!(
            "{hints:?} {:?} {} {} {offers:?}",
            self.view.library_path, self.is_whole, self.loads_mpi
        );
        let networks = fabric::identity(self.view.host).unwrap_or_default();
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
                // Otherwise not cached, because the obstacle may be removed at any time.
                Answer {
                    broken: None,
                    swap: None | Some(Ok(_)),
                    ..
                } => Ok(serde_json::to_vec(answer)?),
                _ => Err(std::io::Error::other("it may change")),
            },
            || self.search(hints),
        )
    }

    /// Whether the program will certainly not start because of a problem. A bind or an injection
    /// may bring a missing library, and a program of the host may find more libraries of the host.
    fn is_certain(&self, problem: &Problem) -> bool {
        match problem {
            Problem::Version { library, .. } => library == "libc.so.6",
            Problem::Missing { .. } => {
                self.is_whole && matches!(self.program, ProgramLocation::Image(_))
            }
        }
    }

    fn search(&self, hints: Option<&mpi::Hints>) -> Result<Answer> {
        let failed = "read the program and its libraries";
        let root = &self.image.root;
        let mut loader = Loader::new(root, self.view.machine).context(failed)?;
        if let Some(path) = self.view.library_path {
            loader.set_library_path(path);
        }
        let (files, path): (&dyn Files, &Path) = match self.program {
            ProgramLocation::Image(path) => (root, path),
            ProgramLocation::Host(path) => (self.view.host.files(), path),
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
        let is_injected =
            |problem: &Problem| matches!(swap, Some(Ok(_))) && mpi::is_of_mpi(problem);
        let mut problems = closure.problems.iter();
        let broken = problems.find(|problem| self.is_certain(problem) && !is_injected(problem));
        let broken = broken.map(ToString::to_string);
        let worth = match (&swap, hints) {
            (Some(Ok(swap)), Some(hints)) => {
                let program = fabric::Program {
                    file: Some((files, path)),
                    host_libraries: Some(&swap.host_libraries),
                    directories: &hints.libraries,
                };
                let worth = fabric::is_worth(self.view, program);
                worth.context("examine the host's networks")?
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

    /// Returns how the host's MPI replaces the library that was found, or the reason why it cannot.
    /// Returns `None` for a program without MPI.
    fn swap(
        &self,
        found: Option<&mpi::Found<'_>>,
        program: (&dyn Files, &Path),
        hints: &mpi::Hints,
    ) -> Result<Option<Result<Swap, String>>> {
        let of = |program, family, own| {
            let need = mpi::Wanted { family, own };
            let swap = mpi::swap(self.view, program, need, hints);
            swap.context("examine the host's MPI")
        };
        if let Some(found) = found {
            let (files, path) = &found.by;
            let own = found.implementation.as_ref();
            return of((*files, path.as_path()), found.family, own).map(Some);
        }
        if !self.loads_mpi {
            return Ok(None);
        }
        // The first family whose library finds the job's ranks. An interpreter's package itself
        // reports which MPI it can use.
        let mut last = None;
        for family in mpi::FAMILIES {
            let swap = of(program, family, None)?;
            let meets = swap.as_ref().is_ok_and(|swap| {
                let mut job = self.job.iter();
                !job.any(|job| mpi::wireup_mismatch(&swap.implementation, job).is_some())
            });
            if meets {
                return Ok(Some(swap));
            }
            last.get_or_insert(swap);
        }
        Ok(last)
    }

    /// Whether a program of the host has a directory of its own with the library that the image
    /// lacks.
    fn has_own_mpi(&self, closure: &Closure, path: &Path) -> bool {
        let (ProgramLocation::Host(_), Some(program)) = (self.program, closure.objects.first())
        else {
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
                .any(|one| self.view.host.exists(&one.join(name)))
        })
    }
}

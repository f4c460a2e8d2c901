//! What a rank of a job needs besides: the others.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use elf::Loader;
use inject::mpi::{self, Implementation};
use tree::{Directory, Entry, Files};

use super::Prepared;
use super::kept;
use crate::host;
use crate::messages::Messages;
use crate::request::{Action, MpiMode, Request};

/// Names of interpreters that load MPI later, if at all.
const INTERPRETERS: [&str; 3] = ["python", "julia", "Rscript"];

/// The libraries that such a program would load.
const USUAL: [&str; 3] = ["libmpi.so.40", "libmpi.so.12", "libmpich.so.12"];

/// Returns whether a rank would find the others, and the first says why not.
///
/// # Errors
///
/// Fails when the image cannot be read.
pub fn check(request: &Request, prepared: &Prepared, messages: &Messages) -> Result<bool> {
    let (Some(job), Action::Exec(words)) = (&request.job, &request.action) else {
        return Ok(true);
    };
    let asks = request.mpi != MpiMode::None && job.size.is_some_and(|size| size > 1);
    let Some(program) = words.first().filter(|_| asks) else {
        return Ok(true);
    };
    let Some(found) = find(program, prepared)? else {
        return Ok(true);
    };
    let name = program.to_string_lossy().into_owned();
    let file = Path::new(&name)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let is_interpreter = INTERPRETERS.iter().any(|one| file.starts_with(one));
    let implementation = implementation(&found, is_interpreter, prepared)?;
    let alone = implementation.and_then(|implementation| mpi::alone(&implementation, job));
    let Some(alone) = alone else {
        return Ok(true);
    };
    let speaks = job.rank.is_none_or(|rank| rank == 0);
    let remedy = alone.remedy();
    if is_interpreter {
        if speaks {
            messages.warning(format_args!("if it uses MPI: {alone}; {remedy}"));
        }
        return Ok(true);
    }
    if speaks {
        messages.fatal(&anyhow!(
            "{name}: {alone}; {remedy}, or go on all the same with --mpi=none"
        ));
    }
    Ok(false)
}

/// A program: the file system that it is in, and where.
enum Program {
    Image(PathBuf),
    Host(PathBuf),
}

/// Finds a program as it will be found inside.
fn find(name: &OsStr, prepared: &Prepared) -> Result<Option<Program>> {
    let process = prepared.start.process(false);
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![process.cwd.join(name)]
    } else {
        let path = process.env.iter().find(|(own, _)| own == "PATH");
        let path = path.map(|(_, value)| value.as_bytes()).unwrap_or_default();
        let directories = path.split(|byte| *byte == b':');
        let directories = directories.map(|part| Path::new(OsStr::from_bytes(part)));
        directories.map(|directory| directory.join(name)).collect()
    };
    for path in candidates {
        let (files, path): (&dyn Files, Program) = match prepared.host_path(&path) {
            Some(source) => {
                // What was bound there is the caller's own to see.
                if source.is_file() {
                    return Ok(Some(Program::Host(source)));
                }
                continue;
            }
            None => (&prepared.image.root, Program::Image(path.clone())),
        };
        let Program::Image(inside) = &path else {
            continue;
        };
        let entry = files.entry(inside).context("look for the program")?;
        if matches!(entry, Some(Entry::File { .. })) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Returns the MPI library that a program would use; worked out once.
fn implementation(
    program: &Program,
    is_interpreter: bool,
    prepared: &Prepared,
) -> Result<Option<Implementation>> {
    let root = &prepared.image.root;
    let own = Directory::open_root(Path::new("/")).context("look at the host")?;
    let (files, path, state): (&dyn Files, _, _) = match program {
        Program::Image(path) => (root, path, String::new()),
        Program::Host(path) => {
            let stamp = own.stamp(path).unwrap_or_default();
            (&own, path, stamp)
        }
    };
    let work_out = || {
        let Some(machine) = host::machine(root) else {
            return Ok(None);
        };
        let failed = "read the program and its libraries";
        let loader = Loader::new(root, machine).context(failed)?;
        let found = Implementation::of_program(&loader, files, path).context(failed)?;
        if found.is_some() || !is_interpreter {
            return Ok(found);
        }
        for name in USUAL {
            if let Some((path, _)) = loader.find(OsStr::new(name)).context(failed)? {
                return Implementation::of_program(&loader, root, &path).context(failed);
            }
        }
        Ok(None)
    };
    let Some(image) = kept::stamp(root).context("look at the image")? else {
        return work_out();
    };
    let key = kept::key(&["mpi", &image, &path.to_string_lossy(), &state]);
    kept::answer(
        &key,
        &prepared.cache,
        |bytes| serde_json::from_slice(bytes).ok(),
        |found| Ok(serde_json::to_vec(found)?),
        work_out,
    )
}

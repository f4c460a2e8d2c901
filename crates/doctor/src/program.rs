//! The image's program: whether this machine can run it, and whether its libraries are there.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use elf::{Flavour, Loader, Object, Problem};
use tree::Files;

use crate::{Finding, Processor};

/// A program, and how its libraries are found.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "a file system has none")]
pub struct Program<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Where it lies.
    pub files: &'a dyn Files,
    /// There.
    pub path: &'a Path,
    /// `LD_LIBRARY_PATH`, as it will be.
    pub library_path: Option<&'a OsStr>,
    /// Whether the image is all that it will see.
    pub is_whole: bool,
    /// Whether its MPI is looked at [apart](crate::mpi()).
    pub mpi_apart: bool,
}

/// Looks at an image for a processor: its kind, its C library, and a program of it.
///
/// # Errors
///
/// Fails when the image cannot be read.
pub fn program(
    image: &dyn Files,
    machine: Option<Object>,
    processor: Processor,
    program: Option<Program<'_>>,
) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let machine = machine.unwrap_or(processor.machine);
    if machine.machine != processor.machine.machine
        && processor.machine.of_32_bits() != Some(machine)
    {
        let (theirs, ours) = (Processor::name(machine), Processor::name(processor.machine));
        findings.push(Finding::fails(
            "processor",
            format!("the image is for {theirs}, and this machine is {ours}"),
            format!(
                "take an image for {ours}: front pull --arch {}",
                arch(processor.machine)
            ),
        ));
        return Ok(findings);
    }
    let mut loader = Loader::new(image, machine)?;
    findings.push(Finding::works(
        "C library",
        match (loader.flavour(), loader.glibc_version()?) {
            (Some(Flavour::Glibc), Some(version)) => format!("glibc {version}"),
            (Some(Flavour::Glibc), None) => "glibc".to_owned(),
            (Some(Flavour::Musl), _) => "musl".to_owned(),
            (None, _) => "none: static programs only".to_owned(),
        },
    ));
    let Some(program) = program else {
        return Ok(findings);
    };
    if let Some(path) = program.library_path {
        loader.set_library_path(path);
    }
    let Some(closure) = loader.closure(program.files, program.path)? else {
        return Ok(findings);
    };
    let level = closure
        .objects
        .iter()
        .map(|object| (object.linkage.x86_64_level(), object));
    match level.max_by_key(|(level, _)| *level) {
        Some((level, object)) if level > processor.level && processor.level > 0 => {
            let what = object.path.file_name().unwrap_or_default().display();
            findings.push(Finding::fails(
                "processor",
                format!("{what} needs x86-64-v{level}, and this machine is {processor}: it would end by SIGILL"),
                format!("build it for {processor}, or choose other nodes"),
            ));
        }
        _ => findings.push(Finding::works("processor", format!("{processor}"))),
    }
    let mut problems = closure.problems;
    problems.retain(|problem| !(program.mpi_apart && inject::mpi::is_of_mpi(problem)));
    match problems.as_slice() {
        [] => findings.push(Finding::works(
            "libraries",
            match closure.objects.len() {
                1 => format!("{} needs none", program.name),
                several => format!("all {} that {} needs are there", several - 1, program.name),
            },
        )),
        problems => findings.extend(problems.iter().map(|problem| {
            let remedy = match problem {
                Problem::Missing { library, .. } => format!(
                    "install what has {} into the image, or bind it and name its directory: --env LD_LIBRARY_PATH=…",
                    library.display()
                ),
                Problem::Version { .. } => "build the program in an image as old as this one, or take a newer image".to_owned(),
            };
            match problem {
                Problem::Missing { .. } if !program.is_whole => {
                    let what = format!("{problem}; what is bound or injected may have it");
                    Finding::slow("libraries", what, remedy)
                }
                _ => Finding::fails("libraries", problem.to_string(), remedy),
            }
        })),
    }
    Ok(findings)
}

/// What registries call a machine.
fn arch(machine: Object) -> &'static str {
    match machine.machine {
        62 => "amd64",
        183 => "arm64",
        21 => "ppc64le",
        22 => "s390x",
        _ => "ARCHITECTURE",
    }
}

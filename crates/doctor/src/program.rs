//! The image's program: whether this machine can run it, and whether its libraries are there.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use elf::{Closure, Flavour, Loader, Object, Problem};
use rootfs::Files;

use crate::{Finding, Processor};

/// A program, and how its libraries are found.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Its name, as the user gave it.
    pub name: &'a str,
    /// The file system in which it lies.
    pub files: &'a dyn Files,
    /// Its path in that file system.
    pub path: &'a Path,
    /// The value that `LD_LIBRARY_PATH` will have.
    pub library_path: Option<&'a OsStr>,
    /// Whether the program will see no files except the image's.
    pub is_whole: bool,
    /// Whether its MPI is checked [separately](crate::mpi()).
    pub mpi_apart: bool,
}

/// Checks whether a processor can run an image: the machine, the C library, and a program of the
/// image.
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
            format!("the image is for {theirs}, but this machine is {ours}"),
            format!(
                "use an image for {ours}: front pull --arch {}",
                arch(processor.machine)
            ),
        ));
        return Ok(findings);
    }
    let mut loader = Loader::new(image, machine)?;
    findings.push(c_library(&loader)?);
    let Some(program) = program else {
        return Ok(findings);
    };
    if let Some(path) = program.library_path {
        loader.set_library_path(path);
    }
    let Some(closure) = loader.closure(program.files, program.path)? else {
        return Ok(findings);
    };
    findings.push(level(&closure, processor));
    let mut problems = closure.problems;
    problems.retain(|problem| !(program.mpi_apart && inject::mpi::is_of_mpi(problem)));
    if problems.is_empty() {
        let what = match closure.objects.len() {
            1 => format!("{} needs no libraries", program.name),
            2 => format!("the one that {} needs is there", program.name),
            several => format!("all {} that {} needs are there", several - 1, program.name),
        };
        findings.push(Finding::works("libraries", what));
    }
    let problems = problems.iter();
    findings.extend(problems.map(|problem| unusable(problem, program.is_whole)));
    Ok(findings)
}

fn c_library(loader: &Loader<'_>) -> io::Result<Finding> {
    let what = match (loader.flavour(), loader.glibc_version()?) {
        (Some(Flavour::Glibc), Some(version)) => format!("glibc {version}"),
        (Some(Flavour::Glibc), None) => "glibc".to_owned(),
        (Some(Flavour::Musl), _) => "musl".to_owned(),
        (None, _) => "none: static programs only".to_owned(),
    };
    Ok(Finding::works("C library", what))
}

/// Reports whether the processor has the instructions that the program and its libraries declare to
/// need.
fn level(closure: &Closure, processor: Processor) -> Finding {
    let levels = closure
        .objects
        .iter()
        .map(|object| (object.linkage.x86_64_level(), object));
    match levels.max_by_key(|(level, _)| *level) {
        Some((level, object)) if level > processor.level && processor.level > 0 => {
            let what = object.path.file_name().unwrap_or_default().display();
            Finding::fails(
                "processor",
                format!(
                    "{what} needs x86-64-v{level}, but this machine has {processor}: it would be killed by SIGILL"
                ),
                format!("build it for {processor}, or choose other nodes"),
            )
        }
        _ => Finding::works("processor", format!("{processor}")),
    }
}

/// Reports a library that is missing or too old. `is_whole`: the program will see no files except
/// the image's.
fn unusable(problem: &Problem, is_whole: bool) -> Finding {
    match problem {
        Problem::Missing { library, .. } => {
            let remedy = format!(
                "install {} in the image, or bind it and set --env LD_LIBRARY_PATH=…",
                library.display()
            );
            match is_whole {
                true => Finding::fails("libraries", problem.to_string(), remedy),
                false => Finding::slow(
                    "libraries",
                    format!("{problem}; a bound or injected directory may have it"),
                    remedy,
                ),
            }
        }
        Problem::Version { .. } => Finding::fails(
            "libraries",
            problem.to_string(),
            "build the program in an equally old image, or use a newer image",
        ),
    }
}

/// Returns the name of a machine in registries.
fn arch(machine: Object) -> &'static str {
    match machine.machine {
        62 => "amd64",
        183 => "arm64",
        21 => "ppc64le",
        22 => "s390x",
        _ => "ARCHITECTURE",
    }
}

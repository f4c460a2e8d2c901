//! Programs of interpreters. They load MPI after their start, if at all.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use image::Image;
use rootfs::Files;

use super::payload::Start;
use super::program::{ProgramLocation, VisiblePaths, find};

/// Names of interpreters.
const INTERPRETERS: [&str; 3] = ["python", "julia", "Rscript"];

/// Words in programs of these interpreters that use MPI: of mpi4py, Julia's `MPI`, R's packages,
/// and Horovod.
const WORDS: [&str; 5] = ["mpi4py", "MPI", "Rmpi", "pbdMPI", "horovod"];

/// Largest part of a script that is read, in bytes.
const LIMIT: usize = 1 << 20;

/// Whether a program is an interpreter.
pub fn is_one(program: &str) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    INTERPRETERS.iter().any(|one| name.starts_with(one))
}

/// Whether an interpreter's arguments, or its script, name MPI. The script is the first argument
/// that is a file.
pub fn names_mpi(
    words: &[OsString],
    image: &Image,
    start: &Start,
    shown: &VisiblePaths,
) -> Result<bool> {
    for word in words.iter().skip(1) {
        if has_a_word(word.as_bytes()) {
            return Ok(true);
        }
        // A script is searched only in the working directory, not in PATH.
        let location = find(Path::new(".").join(word).as_os_str(), image, start, shown)?;
        if let Some(location) = location {
            return Ok(has_a_word(&beginning(&location, image)?));
        }
    }
    Ok(false)
}

fn beginning(script: &ProgramLocation, image: &Image) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    match script {
        ProgramLocation::Image(path) => {
            let read = image.root.read(path, LIMIT);
            text = read.context("read the script")?.unwrap_or_default();
        }
        // If the script cannot be read, the interpreter reports it.
        ProgramLocation::Host(path) => {
            if let Ok(file) = sys::open_regular(path) {
                let limit = u64::try_from(LIMIT).unwrap_or(u64::MAX);
                let _ = file.take(limit).read_to_end(&mut text);
            }
        }
    }
    Ok(text)
}

fn has_a_word(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    WORDS.iter().any(|word| text.contains(word))
}

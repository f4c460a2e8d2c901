//! `front help`, `front version` and `front run-help`.

use std::io::Write;

use anyhow::{Context, Result};
use sys::ExitCode;
use text::printable_lines;

use super::inspect;
use crate::called::Called;
use crate::caller::Caller;
use crate::cli::described::described;
use crate::cli::{Help, RunHelp};
use crate::messages::Messages;

/// Prints the help of a command, as `COMMAND --help` does.
pub fn run(args: &Help, called: Called) -> ExitCode {
    let words = [called.name()].into_iter();
    let words = words.chain(args.command.iter().map(String::as_str));
    match described(called).try_get_matches_from(words.chain(["--help"])) {
        Err(help) => super::usage(&help, called),
        Ok(_) => ExitCode::SUCCESS,
    }
}

/// Prints the version alone.
///
/// # Errors
///
/// Fails when standard output cannot be written.
pub fn version(called: Called) -> Result<ExitCode> {
    print(&format!("{}\n", called.version()))
}

/// Prints the help that an image or one of its applications has.
///
/// # Errors
///
/// Fails when the image cannot be read, or does not have the application.
pub fn run_help(args: &RunHelp, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let all = inspect::read(&args.image, &args.registry, caller, messages)?;
    match inspect::of_app(all, args.app.as_deref())?.helpfile {
        Some(help) => print(&format!("{}\n", printable_lines(&help).trim_end())),
        // Apptainer's words, and its exit status.
        None => print("No help sections were defined for this image\n"),
    }
}

fn print(text: &str) -> Result<ExitCode> {
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.context("print")?;
    Ok(ExitCode::SUCCESS)
}

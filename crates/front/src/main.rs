//! `front`: Singularity's command line, translated to OCI bundles.
//!
//! The command line ([`cli`]) becomes a request ([`request`]), which is then carried out
//! ([`launch`]).

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_main)]

mod account;
mod build;
mod called;
mod caller;
mod cli;
mod clock;
mod commands;
mod embedded;
mod environment;
mod fetch;
mod flags;
mod hints;
mod host;
mod json;
mod launch;
mod messages;
mod misspelled;
mod mpi_mode;
#[cfg(test)]
mod pages;
mod progress;
mod prompt;
mod request;
mod scripts;
mod site;
mod small_file;
mod table;

mod variables;

use sys::ExitCode;

use crate::caller::Caller;
use crate::cli::Cli;

#[cfg(not(test))]
sys::main!(run);

#[cfg_attr(test, allow(dead_code, reason = "tests begin elsewhere"))]
fn run() -> ExitCode {
    if let Err(low) = sys::raise_low_limits() {
        eprintln!("FATAL:   {low}");
        return ExitCode::from(messages::FAILURE);
    }
    let caller = Caller::find();
    let cli = match Cli::read(caller.called) {
        Ok(cli) => cli,
        Err(error) => return commands::usage(&error, caller.called),
    };
    let messages = match cli.global.messages(&caller.variables) {
        Ok(messages) => messages,
        Err(error) => {
            eprintln!("FATAL:   {}", text::one_line(error.as_ref()));
            return ExitCode::from(messages::FAILURE);
        }
    };
    match commands::run(&cli, &caller, &messages) {
        Ok(code) => code,
        Err(error) => {
            messages.fatal(&error);
            ExitCode::from(messages::FAILURE)
        }
    }
}

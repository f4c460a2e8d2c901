//! `front`: Singularity's command line, translated onto OCI bundles.
//!
//! What is typed ([`cli`]) becomes what is meant ([`request`]); what is meant is carried out
//! ([`launch`]). After the request nobody reads a flag or an environment variable again.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_main)]

mod account;
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
mod launch;
mod messages;
#[cfg(test)]
mod pages;
mod progress;
mod prompt;
mod refused;
mod request;
mod scripts;
mod site;
mod table;
mod variables;

use sys::ExitCode;

use crate::caller::Caller;
use crate::cli::Cli;
use crate::messages::Messages;

#[cfg(not(test))]
sys::main!(run);

#[cfg_attr(test, allow(dead_code, reason = "tests begin elsewhere"))]
fn run() -> ExitCode {
    if let Err(low) = sys::raise_low_limits() {
        eprintln!("FATAL:   {low}");
        return ExitCode::from(messages::FAILURE);
    }
    let caller = Caller::find();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return commands::usage(&error),
    };
    let messages = match Messages::new(&cli.global, &caller) {
        Ok(messages) => messages,
        Err(error) => {
            eprintln!("FATAL:   {error}");
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

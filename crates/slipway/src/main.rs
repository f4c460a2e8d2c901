//! `slipway`: an OCI runtime with runc's command line.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod log;
mod seal;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::log::Log;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let log = match Log::open(&cli.global) {
        Ok(log) => log,
        Err(error) => {
            eprintln!(
                "slipway: open {}: {error}",
                cli.global.log.unwrap_or_default().display()
            );
            return ExitCode::FAILURE;
        }
    };
    if matches!(
        cli.command,
        Command::Create(_) | Command::Run(_) | Command::Exec(_)
    ) && let Err(error) = seal::seal()
    {
        log.fatal(&anyhow::Error::new(error).context("make the program safe from containers"));
        return ExitCode::FAILURE;
    }
    // As runc: what the process itself may end with must not be taken for an error of ours.
    let failure = match cli.command {
        Command::Exec(_) => ExitCode::from(255),
        _ => ExitCode::FAILURE,
    };
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            log.fatal(&error);
            failure
        }
    }
}

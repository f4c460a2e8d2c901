//! `slipway`: an OCI runtime with runc's command line.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_main)]

mod cli;
mod commands;
mod log;
mod seal;

use clap::Parser;
use sys::ExitCode;

use crate::cli::{Cli, Command};
use crate::log::Log;

/// The commands that bring this program into a container. Another may well have such a word among its
/// arguments; then it is sealed in vain.
const ENTERING: [&str; 3] = ["create", "run", "exec"];

#[cfg(not(test))]
sys::main!(run);

#[cfg_attr(test, allow(dead_code, reason = "tests begin elsewhere"))]
fn run() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == engine::HOOK_OUTSIDE)
    {
        let Err(reason) = engine::hook_outside(std::env::args_os().skip(2));
        eprintln!("slipway: {reason}");
        return ExitCode::FAILURE;
    }
    // Before all else, since it begins all again.
    let sealed = if std::env::args_os().any(|arg| ENTERING.iter().any(|name| arg == *name)) {
        seal::seal()
    } else {
        Ok(())
    };
    sys::load_no_name_service();
    if let Err(low) = sys::raise_low_limits() {
        eprintln!("slipway: {low}");
        return ExitCode::FAILURE;
    }
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
    if let Err(error) = sealed {
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

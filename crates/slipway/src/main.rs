//! `slipway`: an OCI runtime with runc's command line.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_main)]

mod cli;
mod commands;
mod log;
mod seal;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use sys::ExitCode;

use crate::cli::{Cli, Command};
use crate::log::Log;

/// The commands that bring this program into a container. Such a word may also be an argument of
/// another command; then the program is sealed without need.
const ENTERING: [&str; 3] = ["create", "run", "exec"];

#[cfg(not(test))]
sys::main!(run);

#[cfg_attr(test, allow(dead_code, reason = "tests begin elsewhere"))]
fn run() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let as_hook = match words.next() {
        Some(word) if word == engine::HOOK => {
            engine::become_hook(words).map(|never| match never {})
        }
        _ => return command(),
    };
    match as_hook {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("slipway: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command of the user's.
fn command() -> ExitCode {
    // No file or cgroup of ours is for others to write to, and the ends of children are waited for,
    // whatever the caller is used to.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = sys::heed_children();
    // This comes first, because it executes the program again.
    let sealed = if std::env::args_os().any(|arg| ENTERING.iter().any(|name| arg == *name)) {
        let sealed = seal::seal();
        sys::load_no_name_service();
        sealed
    } else {
        Ok(())
    };
    if let Err(low) = sys::raise_low_limits() {
        eprintln!("slipway: {low}");
        return ExitCode::FAILURE;
    }
    let mut cli = match Cli::of(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            if error.kind() == ErrorKind::InvalidSubcommand
                && let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand)
            {
                eprintln!("No help topic for '{name}': there is no such command");
                // As of runc.
                return ExitCode::from(3);
            }
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let log = match Log::open(&cli.global, cli.prefix.take()) {
        Ok(log) => log,
        Err(error) => {
            eprintln!(
                "slipway: open {}: {}",
                cli.global.log.unwrap_or_default().display(),
                text::message(&error)
            );
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = sealed {
        log.fatal(&anyhow::Error::new(error).context("make the program safe from containers"));
        return ExitCode::FAILURE;
    }
    // As in runc: the exit code of an error must differ from those that the process itself uses.
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

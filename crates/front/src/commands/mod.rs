//! The implementation of the commands.

mod build;
mod cache;
mod cdi;
mod completion;
mod config;
mod doctor;
mod exec;
mod gpu;
mod help;
mod inspect;
mod instance;
mod key;
mod man;
mod others;
mod overlay;
mod ps;
mod pull;
mod push;
mod registry;
mod run;
mod shell;
mod sif;
mod sign;
mod stats;
mod test;
mod usage;

use sys::ExitCode;

use anyhow::Result;

use crate::caller::Caller;
use crate::cli::{Cli, Command};
use crate::messages::Messages;

#[cfg(test)]
pub use others::REASONS;
pub use usage::usage;

/// Runs the command.
pub fn run(cli: &Cli, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    if cli.command.only_prints() {
        // A reader such as `head` may close the pipe early. Then this program ends without a
        // message.
        sys::reset_broken_pipe();
    }
    match &cli.command {
        Command::Build(args) => build::run(args, caller, messages),
        Command::Cache(command) => cache::run(command, caller, messages),
        Command::Cdi(command) => cdi::run(command, caller, messages),
        Command::Config(command) => config::run(command, caller),
        Command::Completion(args) => completion::run(args, caller.called),
        Command::Doctor(args) => doctor::run(args, caller, messages),
        Command::Exec(args) => exec::run(args, caller, messages),
        Command::Gpu(args) => gpu::run(args, caller, messages),
        Command::Help(args) => Ok(help::run(args, caller.called)),
        Command::Inspect(args) => inspect::run(args, caller, messages),
        Command::Instance(command) => instance::run(command, caller, messages),
        Command::Key(command) => key::run(command, caller, messages),
        Command::Man(args) => man::run(args),
        Command::Ps(args) => ps::run(args),
        Command::Pull(args) => pull::run(args, caller, messages),
        Command::Push(args) => push::run(args, caller, messages),
        Command::Registry(command) => registry::run(command, caller, messages),
        Command::Run(args) => run::run(args, caller, messages),
        Command::RunHelp(args) => help::run_help(args, caller, messages),
        Command::Sign(args) => sign::run_sign(args, caller, messages),
        Command::Verify(args) => sign::run_verify(args, caller, messages),
        Command::Sif(command) => sif::run(command),
        Command::Shell(args) => shell::run(args, caller, messages),
        Command::Test(args) => test::run(args, caller, messages),
        Command::Version => help::version(caller.called),
        Command::Overlay(command) => overlay::run(command, caller, messages),
        other => others::run(other),
    }
}

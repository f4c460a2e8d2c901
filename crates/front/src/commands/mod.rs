//! The commands: each turns what was typed into a request.

mod build;
mod cache;
mod cdi;
mod completion;
mod doctor;
mod exec;
mod gpu;
mod inspect;
mod instance;
mod key;
mod man;
mod ps;
mod pull;
mod push;
mod registry;
mod run;
mod shell;
mod sif;
mod sign;
mod usage;

use sys::ExitCode;

use anyhow::Result;

use crate::caller::Caller;
use crate::cli::{Cli, Command};
use crate::messages::Messages;

pub use usage::usage;

/// Runs the command.
pub fn run(cli: &Cli, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    if cli.command.only_prints() {
        // A reader that has what it wanted, as `head`, ends it without a word.
        sys::reset_broken_pipe();
    }
    match &cli.command {
        Command::Build(args) => build::run(args, caller, messages),
        Command::Cache(command) => cache::run(command, caller, messages),
        Command::Cdi(command) => cdi::run(command, caller, messages),
        Command::Completion(args) => completion::run(args),
        Command::Doctor(args) => doctor::run(args, caller, messages),
        Command::Exec(args) => exec::run(args, caller, messages),
        Command::Gpu(args) => gpu::run(args, caller, messages),
        Command::Inspect(args) => inspect::run(args, caller, messages),
        Command::Instance(command) => instance::run(command, caller, messages),
        Command::Key(command) => key::run(command, caller, messages),
        Command::Man(args) => man::run(args),
        Command::Ps(args) => ps::run(args),
        Command::Pull(args) => pull::run(args, caller, messages),
        Command::Push(args) => push::run(args, caller, messages),
        Command::Registry(command) => registry::run(command, caller, messages),
        Command::Run(args) => run::run(args, caller, messages),
        Command::Sign(args) => sign::run_sign(args, caller, messages),
        Command::Verify(args) => sign::run_verify(args, caller, messages),
        Command::Sif(command) => sif::run(command),
        Command::Shell(args) => shell::run(args, caller, messages),
    }
}

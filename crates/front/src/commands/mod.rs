//! The commands: each turns what was typed into a request.

mod build;
mod cache;
mod cdi;
mod doctor;
mod exec;
mod gpu;
mod inspect;
mod instance;
mod key;
mod ps;
mod pull;
mod push;
mod registry;
mod run;
mod shell;
mod sif;
mod sign;

use sys::ExitCode;

use anyhow::Result;

use crate::caller::Caller;
use crate::cli::{Cli, Command};
use crate::hints;
use crate::messages::Messages;

/// Exit status of a usage error.
const USAGE: u8 = 1;

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
        Command::Doctor(args) => doctor::run(args, caller, messages),
        Command::Exec(args) => exec::run(args, caller, messages),
        Command::Gpu(args) => gpu::run(args, caller, messages),
        Command::Inspect(args) => inspect::run(args, caller, messages),
        Command::Instance(command) => instance::run(command, caller, messages),
        Command::Key(command) => key::run(command, caller, messages),
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

/// Prints help where it was asked for, else what is wrong with the command line, in one line.
pub fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(USAGE);
    }
    let text = error.render().to_string();
    let hint = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => hints::of_command(word),
        _ => String::new(),
    };
    let line = text.lines().next().unwrap_or_default();
    let line = line
        .strip_prefix("error: ")
        .unwrap_or(line)
        .trim_end_matches(':');
    let missing = text
        .lines()
        .skip(1)
        .map(str::trim)
        .find(|line| line.starts_with('<'));
    let missing = missing.map(|name| format!(": {name}")).unwrap_or_default();
    eprintln!("FATAL:   {line}{missing}{hint}; see `front --help` or `front COMMAND --help`");
    ExitCode::from(USAGE)
}

//! Commands of Singularity's that front refuses, each with the reason and what to do.

use std::io::Write as _;

use anyhow::{Context, Result, bail};
use sys::ExitCode;

use crate::cli::{Command, Others};

/// Answers a command that front does not have.
///
/// # Errors
///
/// Fails with the reason, except for lists that are empty here.
pub fn run(command: &Command) -> Result<ExitCode> {
    let (name, reason, words) = match command {
        Command::Capability(words) => (
            "capability",
            "front keeps no list of capabilities; give them with --add-caps and --drop-caps",
            words,
        ),
        Command::Checkpoint(words) => (
            "checkpoint",
            "checkpoints by DMTCP are not supported; `slipway checkpoint` makes those of criu",
            words,
        ),
        Command::Delete(words) => (
            "delete",
            "front removes no image from a library; use the library's own page",
            words,
        ),
        Command::Keyserver(words) => (
            "keyserver",
            "front asks no key servers; `front key import` and `export` exchange keys as files",
            words,
        ),
        Command::Oci(words) => (
            "oci",
            "bundles are for an engine: `slipway run`, `create`, `start`, `exec`, `kill`, `delete`",
            words,
        ),
        Command::Plugin(words) => ("plugin", "front has no plugins", words),
        Command::Remote(words) => (
            "remote",
            "front has no remote endpoints; `front registry login` is for registries, and the library is \
             set by `library = ADDRESS` in /etc/slipway/front.toml or --library",
            words,
        ),
        Command::Search(words) => (
            "search",
            "front searches no library; use the library's own page, then `front pull`",
            words,
        ),
        _ => bail!("no such command"),
    };
    if name == "plugin" && is_list(words) {
        let line = b"There are no plugins installed.\n";
        std::io::stdout().write_all(line).context("print")?;
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{name}: {reason}")
}

fn is_list(words: &Others) -> bool {
    words.words.first().is_some_and(|word| word == "list")
}

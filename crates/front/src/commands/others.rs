//! Commands of Singularity's that front refuses, each with the reason and what to do.

use std::io::Write as _;

use anyhow::{Context, Result, bail};
use sys::ExitCode;

use crate::cli::{Command, Others};

/// The commands, each with the reason and what to do.
#[rustfmt::skip]
pub const REASONS: [(&str, &str); 8] = [
    ("capability", "front keeps no list of capabilities; give them with --add-caps and --drop-caps"),
    ("checkpoint", "checkpoints by DMTCP are not supported; `slipway checkpoint` makes those of criu"),
    ("delete", "front removes no image from a library; use the library's own page"),
    ("keyserver", "front asks no key servers; `front key import` and `export` exchange keys as files"),
    ("oci", "bundles are for an engine: `slipway run`, `create`, `start`, `exec`, `kill`, `delete`"),
    ("plugin", "front has no plugins"),
    ("remote", "front has no remote endpoints; `front registry login` is for registries, and the library is set \
                by `library = ADDRESS` in /etc/slipway/front.toml or --library"),
    ("search", "front searches no library; use the library's own page, then `front pull`"),
];

/// Answers a command that front does not have.
///
/// # Errors
///
/// Fails with the reason, except for lists that are empty here.
pub fn run(command: &Command) -> Result<ExitCode> {
    let name = match command {
        Command::Capability(_) => "capability",
        Command::Checkpoint(_) => "checkpoint",
        Command::Delete(_) => "delete",
        Command::Keyserver(_) => "keyserver",
        Command::Oci(_) => "oci",
        Command::Plugin(words) if is_list(words) => {
            let line = b"There are no plugins installed.\n";
            std::io::stdout().write_all(line).context("print")?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Plugin(_) => "plugin",
        Command::Remote(_) => "remote",
        Command::Search(_) => "search",
        _ => bail!("no such command"),
    };
    let reason = REASONS.iter().find(|(own, _)| *own == name);
    bail!(
        "{name}: {}",
        reason.map(|(_, reason)| *reason).unwrap_or_default()
    )
}

fn is_list(words: &Others) -> bool {
    words.words.first().is_some_and(|word| word == "list")
}

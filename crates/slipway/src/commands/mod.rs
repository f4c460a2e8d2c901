//! The commands, one file each.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sys::ExitCode;

use crate::cli::{Cli, Command, Global};

/// Runs a command.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let global = cli.global;
    if !["true", "false", "auto"].contains(&global.rootless.as_str()) {
        bail!(
            "--rootless {}: expected true, false or auto",
            global.rootless
        );
    }
    match cli.command {
        Command::Create(args) => create::run(&global, args.0),
        Command::Start(args) => start::run(&global, &args.id),
        Command::State(args) => state::run(&global, &args.id),
        Command::Kill(args) => kill::run(&global, &args),
        Command::Delete(args) => delete::run(&global, &args),
        Command::Run(args) => run::run(&global, args.0),
        Command::Exec(args) => exec::run(&global, &args),
        Command::Pause(args) => pause::run(&global, &args.id),
        Command::Resume(args) => resume::run(&global, &args.id),
        Command::Ps(args) => ps::run(&global, &args),
        Command::Events(args) => events::run(&global, &args),
        Command::Update(args) => update::run(&global, &args),
        Command::Checkpoint(args) => checkpoint::run(&global, *args.0),
        Command::Restore(args) => restore::run(&global, *args.0),
        Command::List(args) => list::run(&global, &args),
        Command::Spec(args) => spec::run(&args),
        Command::Features => features::run(),
    }
}

/// Returns the socket of the service manager that waits for this program to be ready, sd_notify(3).
fn notify_socket() -> Option<PathBuf> {
    let socket = std::env::var_os("NOTIFY_SOCKET")?;
    (!socket.is_empty()).then(|| socket.into())
}

/// Finds a container by its id.
fn load(global: &Global, id: &str) -> Result<engine::Container> {
    Ok(engine::Container::load(&root(global)?, id)?)
}

/// Returns the state root: that of the flag, of root, or the user's own.
fn root(global: &Global) -> Result<PathBuf> {
    if let Some(root) = &global.root {
        return Ok(root.clone());
    }
    if nix::unistd::geteuid().is_root()
        && std::env::var_os("XDG_RUNTIME_DIR").is_none_or(|_| !engine::in_user_namespace())
    {
        return Ok(PathBuf::from("/run/slipway"));
    }
    let directory =
        std::env::var_os("XDG_RUNTIME_DIR").context("XDG_RUNTIME_DIR is not set; give --root")?;
    Ok(PathBuf::from(directory).join("slipway"))
}

/// Makes the default state root private. An older version made it readable for all users.
fn close_to_others(global: &Global, root: &Path) -> Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(root) else {
        return Ok(());
    };
    if global.root.is_some() || metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(root, Permissions::from_mode(0o700))
        .with_context(|| format!("keep others out of {}", root.display()))
}

/// Reads a JSON document from a file, `-` being standard input.
fn read_json(path: &std::path::Path) -> Result<serde_json::Value> {
    let text = if path == std::path::Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
}

/// Prints a JSON document as runc does: indented by two, without a final newline.
fn print_json(document: &impl serde::Serialize) -> Result<()> {
    use std::io::Write;
    let text = serde_json::to_vec_pretty(document).context("print JSON")?;
    std::io::stdout()
        .lock()
        .write_all(&text)
        .context("print JSON")
}

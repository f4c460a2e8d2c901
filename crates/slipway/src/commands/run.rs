//! `slipway run`

use std::process::ExitCode;

use anyhow::{Result, bail};
use engine::Foreground;

use crate::cli::{Global, Run};

pub fn run(global: &Global, args: Run) -> Result<ExitCode> {
    let terminal = wants_terminal(&args);
    if !args.detach && args.create.console_socket.is_some() {
        bail!("a console socket is for a detached container");
    }
    let mode = if args.detach {
        Foreground::Detached
    } else {
        Foreground::Attached {
            keep: args.keep,
            terminal,
        }
    };
    let code = engine::run(super::create::request(global, args.create)?, mode)?;
    Ok(ExitCode::from(code))
}

/// Whether the specification asks for a terminal. What is wrong with it is found out later.
fn wants_terminal(args: &Run) -> bool {
    let create = &args.create;
    let config = create.config.clone();
    let config = config.unwrap_or_else(|| create.bundle.join("config.json"));
    let text = std::fs::read(config).unwrap_or_default();
    let document: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    document
        .pointer("/process/terminal")
        .and_then(serde_json::Value::as_bool)
        .unwrap_or(false)
}

//! `front config check`, `front config global --get KEY`

use std::io::Write as _;

use anyhow::{Context, Result, bail};
use sys::ExitCode;

use crate::caller::Caller;
use crate::cli::{ConfigCommand, ConfigGlobal};
use crate::site::{Conf, Site};

pub fn run(command: &ConfigCommand, caller: &Caller) -> Result<ExitCode> {
    let text = match command {
        ConfigCommand::Check => check(caller)?,
        ConfigCommand::Global(args) => global(args)?,
        ConfigCommand::Fakeroot { .. } => bail!(
            "config fakeroot: delegated users are the system's: usermod --add-subuids \
             100000-165535 --add-subgids 100000-165535 USER"
        ),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("print")?;
    Ok(ExitCode::SUCCESS)
}

/// Reads all files, and lists them and what has no effect.
fn check(caller: &Caller) -> Result<String> {
    let site = caller.site()?;
    let home = caller.account().home;
    let files = Site::files(&caller.variables, &home);
    let mut text = String::new();
    for file in &files {
        text += &format!("{}: read\n", file.display());
    }
    if files.is_empty() {
        text += "there is no configuration file; all settings have their defaults\n";
    }
    for line in site.unknown.iter().chain(&site.ignored) {
        text += &format!("{line}\n");
    }
    Ok(text)
}

fn global(args: &ConfigGlobal) -> Result<String> {
    let Some(key) = &args.get else {
        bail!(
            "config global: front changes no configuration; edit /etc/slipway/front.toml or Apptainer's file"
        );
    };
    let conf = Conf::find()?.unwrap_or_default();
    let values = conf.get(key);
    let values = values.with_context(|| format!("config global: no configuration key {key:?}"))?;
    Ok(match values.is_empty() {
        true => String::new(),
        false => format!("{}\n", values.join(",")),
    })
}

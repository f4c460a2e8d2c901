//! `front registry login|logout|list`: the user's credentials for registries.

use std::io::Write;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use registry::{Credentials, Login, Options, Registry};
use serde_json::json;

use crate::caller::Caller;
use crate::cli::{RegistryCommand, RegistryLogin};
use crate::fetch::registries;
use crate::flags::authorities;
use crate::json;
use crate::messages::Messages;
use crate::prompt;

pub fn run(command: &RegistryCommand, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    match command {
        RegistryCommand::Login(args) => login(args, caller, messages)?,
        RegistryCommand::Logout { authfile, registry } => {
            let path = authfile.clone().unwrap_or_else(|| caller.login_file());
            let host = host(registry);
            let known = Login::forget(&path, host).with_context(|| path.display().to_string())?;
            if !known {
                bail!("{} has no credentials for {host}", path.display());
            }
            messages.info("Logout succeeded");
        }
        RegistryCommand::List { authfile, json } => {
            let path = authfile.clone().unwrap_or_else(|| caller.login_file());
            let known = Login::known(&path).with_context(|| path.display().to_string())?;
            let known = known.into_iter().map(|name| format!("docker://{name}"));
            let text = match json {
                true => json::spaced(&json!({ "registries": known.collect::<Vec<_>>() }))?,
                false => ["URI".to_owned()]
                    .into_iter()
                    .chain(known)
                    .map(|line| format!("{}\n", text::printable(&line)))
                    .collect(),
            };
            std::io::stdout()
                .write_all(text.as_bytes())
                .context("print")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn login(args: &RegistryLogin, caller: &Caller, messages: &Messages) -> Result<()> {
    let host = host(&args.registry);
    let (user, password) = match (&args.username, &args.password, args.password_stdin) {
        (Some(user), _, true) => (user.clone(), prompt::line_of_input()?),
        (None, _, true) => bail!("--password-stdin needs --username"),
        (Some(user), Some(password), false) => (user.clone(), password.clone()),
        (user, _, false) => prompt::login(user.as_deref())?,
    };
    let login = Login { user, password };
    let site = caller.site()?;
    let options = Options {
        insecure: args.no_https,
        credentials: Credentials {
            given: Some(login.clone()),
            files: Vec::new(),
        },
        ..registries(site, authorities(&caller.variables), messages)
    };
    // Any repository will do, because the registry checks the login.
    let reference = registry::reference(&format!("{host}/front/login:latest"))?;
    match Registry::new(&reference, &options)?.check_login() {
        Err(registry::Error::Unauthorized { host, .. }) => {
            bail!("{host} rejected user {:?} with this password", login.user)
        }
        checked => checked?,
    }
    let path = args.authfile.clone().unwrap_or_else(|| caller.login_file());
    login
        .save(&path, host)
        .with_context(|| path.display().to_string())?;
    messages.info(format_args!("Token stored in {}", path.display()));
    Ok(())
}

/// Returns a registry's host: `docker://quay.io` and `oras://quay.io` are the same registry.
fn host(word: &str) -> &str {
    let host = word.split_once("://").map_or(word, |(_, host)| host);
    host.trim_end_matches('/')
}

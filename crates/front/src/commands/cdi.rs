//! `front cdi`: this host's GPUs and networks for engines that read CDI files.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use cdi::{Registry, Spec};
use inject::{Host, Vendor};
use serde_json::json;

use crate::caller::Caller;
use crate::cli::{CdiClass, CdiCommand, CdiFormat, CdiGenerate, CdiVendor};
use crate::host;
use crate::json;
use crate::messages::Messages;

/// Directory in which an administrator installs the hooks.
const HOOKS: &str = "/usr/local/libexec/slipway";

pub fn run(command: &CdiCommand, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    match command {
        CdiCommand::Generate(args) => generate(args, caller, messages)?,
        CdiCommand::List { cdi_dirs, json } => list(cdi_dirs, *json, messages)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(directories: &[PathBuf], as_json: bool, messages: &Messages) -> Result<()> {
    let usual = Registry::DIRECTORIES.map(PathBuf::from);
    let registry = Registry::read(if directories.is_empty() {
        &usual
    } else {
        directories
    });
    for broken in registry.broken() {
        messages.warning(broken);
    }
    let names = registry.names();
    let text = match as_json {
        true => json::spaced(&json!({ "devices": names }))?,
        false => names.into_iter().map(|name| name + "\n").collect(),
    };
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .context("print the list")
}

fn generate(args: &CdiGenerate, caller: &Caller, messages: &Messages) -> Result<()> {
    let path = caller.variables.get("PATH").unwrap_or_default();
    let host = Host::new(&args.driver_root, path)
        .with_context(|| format!("examine {}", args.driver_root.display()))?;
    let spec = match args.class {
        CdiClass::Gpu => of_gpus(args, &host)?,
        CdiClass::Fabric => {
            if args.vendor.is_some() {
                bail!("--vendor applies only to GPUs, not to --class=fabric");
            }
            let hook = hook(args);
            let spec = inject::fabric_spec(&host, &args.driver_root, hook.as_deref());
            spec.with_context(|| {
                format!("no fast network found below {}", args.driver_root.display())
            })?
        }
    };
    let text = text(&spec, args)?;
    match &args.output {
        None => std::io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .context("print the file"),
        Some(path) => {
            // Other users' programs read this file.
            pack::whole_content(path, true, 0o644, text.as_bytes())?;
            messages.info(format_args!(
                "{}: {} devices",
                path.display(),
                spec.devices.len()
            ));
            Ok(())
        }
    }
}

fn of_gpus(args: &CdiGenerate, host: &Host) -> Result<Spec> {
    let machine = host::own_machine().context("this program's own file cannot be read")?;
    let all = [
        (CdiVendor::Nvidia, Vendor::Nvidia),
        (CdiVendor::Amd, Vendor::Amd),
    ];
    let mut found = Vec::new();
    for (name, vendor) in all {
        if args.vendor.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let hook = hook(args);
        let spec = inject::gpu_spec(host, vendor, machine, &args.driver_root, hook.as_deref());
        found.extend(spec.context("examine the host")?);
    }
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => {
            bail!("this host has GPUs of two vendors; select one with --vendor")
        }
        (None, _) => bail!("no GPU driver found below {}", args.driver_root.display()),
    }
}

/// Returns the program of the hook that injects libraries, unless the user wants none.
fn hook(args: &CdiGenerate) -> Option<PathBuf> {
    let usual = Path::new(HOOKS).join("slipway-hook");
    let usual = Some(usual).filter(|usual| !args.no_hook && usual.exists());
    args.hook.clone().or(usual)
}

fn text(spec: &Spec, args: &CdiGenerate) -> Result<String> {
    let by_name = args.output.as_deref().and_then(Path::extension);
    let by_name = by_name.map(|name| match name == OsStr::new("json") {
        true => CdiFormat::Json,
        false => CdiFormat::Yaml,
    });
    match args.format.or(by_name).unwrap_or(CdiFormat::Yaml) {
        CdiFormat::Json => Ok(serde_json::to_string_pretty(spec).context("write JSON")? + "\n"),
        CdiFormat::Yaml => serde_norway::to_string(spec).context("write YAML"),
    }
}

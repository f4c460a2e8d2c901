//! `slipway spec`

use std::fs::File;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, bail};
use nix::unistd::{getegid, geteuid};
use serde_json::Value;
use sys::ExitCode;

use crate::cli::Spec;

pub fn run(args: &Spec) -> Result<ExitCode> {
    let mut spec = if args.rootless {
        engine::Spec::rootless(geteuid().as_raw(), getegid().as_raw())
    } else {
        engine::Spec::default()
    };
    spec.set_hostname(Some("slipway".to_owned()));
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(true));
        // As in runc: other sets would give the children of root capabilities that they did not
        // request.
        if let Some(mut sets) = process.capabilities().clone() {
            sets.set_inheritable(None).set_ambient(None);
            process.set_capabilities(Some(sets));
        }
    }
    let path = args.bundle.join("config.json");
    let mut spec = serde_json::to_value(&spec).context("write JSON")?;
    let namespaces = spec.pointer_mut("/linux/namespaces");
    if let Some(namespaces) = namespaces.and_then(Value::as_array_mut) {
        // As in runc: the files of old hierarchies are shown by their full paths.
        let has_cgroups = engine::has_unified_cgroups_alone();
        namespaces.retain(|one| has_cgroups || one["type"] != "cgroup");
    }
    let text = serde_json::to_vec_pretty(&spec).context("write JSON")?;
    let mut file = match File::options().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("file {} exists. Remove it first", path.display())
        }
        Err(error) => return Err(error).with_context(|| format!("create {}", path.display())),
    };
    file.write_all(&text)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

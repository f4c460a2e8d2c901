//! `slipway exec`

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sys::ExitCode;

use crate::cli::{Exec, Global};

pub fn run(global: &Global, args: &Exec) -> Result<ExitCode> {
    let container = super::load(global, &args.id)?;
    let process = match &args.process {
        Some(path) => super::read_json(path)?,
        None => process(container.document()?["process"].take(), args)?,
    };
    let request = engine::Exec {
        process,
        pid_file: args.pid_file.clone(),
        console_socket: args.console_socket.clone(),
        pidfd_socket: args.pidfd_socket.clone(),
        preserve_fds: args.preserve_fds.into(),
        cgroups: args.cgroup.clone(),
        ignore_paused: args.ignore_paused,
        detach: args.detach,
    };
    Ok(ExitCode::from(engine::exec(&container, &request)?))
}

/// Returns the process of the container's specification, changed by the flags.
fn process(mut process: Value, args: &Exec) -> Result<Value> {
    if args.command.is_empty() {
        bail!("process args cannot be empty");
    }
    process["args"] = json!(args.command);
    process["terminal"] = json!(args.tty);
    if let Some(cwd) = &args.cwd {
        process["cwd"] = json!(cwd);
    }
    append(&mut process["env"], &args.env);
    if args.no_new_privs {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(profile) = &args.apparmor {
        process["apparmorProfile"] = json!(profile);
    }
    if let Some(label) = &args.process_label {
        process["selinuxLabel"] = json!(label);
    }
    if let Some(user) = &args.user {
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        let number = |text: &str| {
            text.parse::<u32>()
                .with_context(|| format!("--user {user}: {text:?} is not a number"))
        };
        process["user"] = json!({"uid": number(uid)?, "gid": number(gid)?});
    }
    if !args.additional_gids.is_empty() {
        process["user"]["additionalGids"] = json!(args.additional_gids);
    }
    let capabilities: Vec<String> = args.cap.iter().map(|name| capability(name)).collect();
    if !capabilities.is_empty() {
        // As in runc: the inheritable set never gets the capabilities. The ambient set gets them
        // only if the inheritable set is not empty.
        let sets = &mut process["capabilities"];
        let ambient = sets["inheritable"]
            .as_array()
            .is_some_and(|set| !set.is_empty());
        for set in ["bounding", "effective", "permitted"] {
            append(&mut sets[set], &capabilities);
        }
        if ambient {
            append(&mut sets["ambient"], &capabilities);
        }
    }
    Ok(process)
}

/// Normalises a capability: `kill`, `CAP_KILL` and `cap_kill` are the same.
fn capability(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    if name.starts_with("CAP_") {
        name
    } else {
        format!("CAP_{name}")
    }
}

fn append(list: &mut Value, words: &[String]) {
    if words.is_empty() {
        return;
    }
    let mut all = list.as_array().cloned().unwrap_or_default();
    all.extend(words.iter().map(|word| json!(word)));
    *list = Value::Array(all);
}

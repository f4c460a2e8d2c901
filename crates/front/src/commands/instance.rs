//! `front instance`: containers in the background.

use std::io::Write as _;
use std::time::Duration;
use sys::ExitCode;

use anyhow::{Context, Result};
use glob::Pattern;
use serde_json::json;
use session::{Instance, Running};

use super::stats;
use crate::caller::Caller;
use crate::cli::{InstanceCommand, InstanceList, InstanceStart, InstanceStop};
use crate::json;
use crate::launch::{InstanceRecord, start_instance};
use crate::messages::Messages;
use crate::request::{Action, Request, Source};
use crate::table::table;

/// Exit status when there is nothing to stop, as in Apptainer.
const NONE: u8 = 1;

pub fn run(command: &InstanceCommand, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    match command {
        InstanceCommand::Start(args) => start(args, Action::Start, caller, messages),
        InstanceCommand::Run(args) => start(args, Action::Run, caller, messages),
        InstanceCommand::List(args) => list(args, caller),
        InstanceCommand::Stats(args) => stats::run(args),
        InstanceCommand::Stop(args) => stop(args, caller, messages),
    }
}

fn start(
    args: &InstanceStart,
    action: fn(Vec<std::ffi::OsString>) -> Action,
    caller: &Caller,
    messages: &Messages,
) -> Result<ExitCode> {
    let [image, name, words @ ..] = args.words.as_slice() else {
        anyhow::bail!("an image and a name are required");
    };
    let source = Source::parse(image, caller)?;
    let request = Request::new(source, action(words.to_vec()), &args.flags, caller)?;
    let pid_file = args.pid_file.as_deref();
    start_instance(&name.to_string_lossy(), request, pid_file, caller, messages)
}

/// An instance, its record, and the ID of its first process.
type Known = (Running, InstanceRecord, i32);

/// Returns the instances whose names match. Instances that end meanwhile, or are of another
/// version, are left out.
fn matching(pattern: &str) -> Result<Vec<Known>> {
    let glob = Pattern::new(pattern).with_context(|| format!("invalid pattern {pattern:?}"))?;
    let all = Instance::all(|name| glob.matches(name))?.into_iter();
    Ok(all
        .filter_map(|running| {
            let record = serde_json::from_str(&running.about).ok()?;
            let pid = running.pid()?;
            Some((running, record, pid))
        })
        .collect())
}

/// Checks that `--user` names the caller. The instances of others are out of reach: their names are
/// known, but nothing else.
fn check_user(user: Option<&str>, caller: &Caller) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    let own = caller.account().name;
    if user != own {
        anyhow::bail!(
            "--user: {own} cannot reach instances of {user}; run this command as {user}, for example with sudo"
        );
    }
    Ok(())
}

fn list(args: &InstanceList, caller: &Caller) -> Result<ExitCode> {
    check_user(args.user.as_deref(), caller)?;
    let all = matching(&args.name)?;
    let text = match (args.json, args.logs) {
        (true, _) => as_json(&all)?,
        (_, true) => {
            let head = ["INSTANCE NAME", "PID", "LOGS"].map(str::to_owned);
            let rows = all.iter().flat_map(|(running, record, pid)| {
                let logs = &record.logs;
                let path = |path: &std::path::Path| path.display().to_string();
                [
                    [running.name.clone(), pid.to_string(), path(&logs.err)],
                    [String::new(), String::new(), path(&logs.out)],
                ]
            });
            table([head].into_iter().chain(rows))
        }
        _ => {
            let head = ["INSTANCE NAME", "PID", "IP", "IMAGE"].map(str::to_owned);
            let rows = all.iter().map(|(running, record, pid)| {
                let image = record.container.image.0.display().to_string();
                [running.name.clone(), pid.to_string(), String::new(), image]
            });
            table([head].into_iter().chain(rows))
        }
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.context("print the list")?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(all: &[Known]) -> Result<String> {
    let instances = all.iter().map(|(running, record, pid)| {
        json!({
            "instance": running.name,
            "pid": pid,
            "img": record.container.image.0,
            "ip": "",
            "logErrPath": record.logs.err,
            "logOutPath": record.logs.out,
        })
    });
    let document = json!({ "instances": instances.collect::<Vec<_>>() });
    json::tabbed(&document)
}

fn stop(args: &InstanceStop, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    check_user(args.user.as_deref(), caller)?;
    let pattern = args.name.as_deref().unwrap_or("*");
    let name = if args.force { "SIGKILL" } else { &args.signal };
    let signal = text::signal_number(name)
        .filter(|number| (1..32).contains(number))
        .with_context(|| format!("unknown signal {name:?}"))?;
    let all = matching(pattern)?;
    if all.is_empty() {
        messages.fatal(&anyhow::anyhow!("no instance found with name {pattern}"));
        return Ok(ExitCode::from(NONE));
    }
    // All instances get the signal before the first wait.
    for (running, record, pid) in &all {
        let image = record.container.image.0.display();
        let name = &running.name;
        messages.info(format_args!(
            "Stopping {name} instance of {image} (PID={pid})"
        ));
        running.signal(signal)?;
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(args.timeout.into());
    for (running, record, pid) in &all {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if !running.wait(left) {
            let (name, image) = (&running.name, record.container.image.0.display());
            messages.info(format_args!(
                "Killing {name} instance of {image} (PID={pid}) (Timeout)"
            ));
            running.kill()?;
            if !running.wait(Duration::from_secs(10)) {
                anyhow::bail!("instance {} is still running after SIGKILL", running.name);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `slipway ps`

use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, bail};
use sys::ExitCode;

use crate::cli::{Global, ListFormat, Ps};

pub fn run(global: &Global, args: &Ps) -> Result<ExitCode> {
    let container = super::load(global, &args.id)?;
    let mut pids: Vec<i32> = container
        .processes()?
        .into_iter()
        .map(nix::unistd::Pid::as_raw)
        .collect();
    pids.sort_unstable();
    let text = match args.format {
        ListFormat::Json => serde_json::to_string(&pids).context("print JSON")?,
        ListFormat::Table => table(&pids, &args.options)?,
    };
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .context("print the processes")?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the lines of ps(1) for these processes.
fn table(pids: &[i32], options: &[String]) -> Result<String> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() {
        &default
    } else {
        options
    };
    let output = Command::new("ps")
        .args(options)
        .output()
        .context("run ps (it comes with procps; --format json does without)")?;
    if !output.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|name| name == "PID")
        .context("ps: no column PID; ask for it with -o pid,...")?;
    let of_container = |line: &&str| {
        line.split_whitespace()
            .nth(column)
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(header)
        .chain(lines.filter(of_container))
        .flat_map(|line| [line, "\n"])
        .collect())
}

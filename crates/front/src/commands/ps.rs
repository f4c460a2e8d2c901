//! `front ps`: the containers of this node's jobs, and of other programs that may share one.

use std::io::Write as _;
use sys::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;
use session::Shared;

use crate::cli::Ps;
use crate::json;
use crate::launch::Record;
use crate::table::table;

pub fn run(args: &Ps) -> Result<ExitCode> {
    let all = Shared::all(|_| true)?.into_iter();
    // Records of other versions cannot be read.
    let known = all.filter_map(|shared| {
        let record: Record = serde_json::from_str(&shared.about).ok()?;
        Some((shared, record))
    });
    let known: Vec<(Shared, Record)> = known.collect();
    let text = match args.json {
        true => as_json(&known)?,
        false => {
            let head = ["JOB", "PROCESSES", "PIDS", "IMAGE"].map(str::to_owned);
            let rows = known.iter().map(|(shared, record)| {
                [
                    shared.job.clone().unwrap_or_else(|| "-".to_owned()),
                    shared.members.len().to_string(),
                    pids(&shared.members),
                    record.image.0.display().to_string(),
                ]
            });
            table([head].into_iter().chain(rows))
        }
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.context("print the list")?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the first few process IDs.
fn pids(members: &[i32]) -> String {
    const SHOWN: usize = 8;
    let first = members.iter().take(SHOWN).map(i32::to_string);
    let more = (members.len() > SHOWN).then(|| "…".to_owned());
    first.chain(more).collect::<Vec<_>>().join(",")
}

fn as_json(known: &[(Shared, Record)]) -> Result<String> {
    let sessions = known.iter().map(|(shared, record)| {
        json!({"job": shared.job, "pids": shared.members, "img": record.image.0})
    });
    let document = json!({"sessions": sessions.collect::<Vec<_>>()});
    json::spaced(&document)
}

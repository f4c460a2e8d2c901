//! `front ps`: the containers of this node's jobs, and of other programs that may share one.

use std::io::Write as _;
use sys::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;
use session::{Listed, Shared};

use crate::cli::Ps;
use crate::json;
use crate::launch::Record;
use crate::table::table;

pub fn run(args: &Ps) -> Result<ExitCode> {
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for listed in Shared::list(|_| true)? {
        match listed {
            Listed::Own(shared) => {
                if let Ok(record) = serde_json::from_str::<Record>(&shared.about) {
                    known.push((shared, record));
                }
            }
            Listed::Others(job) => others.push(job),
        }
    }
    let text = match args.json {
        true => as_json(&known, &others)?,
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
            let unknown = others.iter().map(|job| {
                let job = job.clone().unwrap_or_else(|| "-".to_owned());
                let image = "(of another version of front)".to_owned();
                [job, "-".to_owned(), "-".to_owned(), image]
            });
            table([head].into_iter().chain(rows).chain(unknown))
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

fn as_json(known: &[(Shared, Record)], others: &[Option<String>]) -> Result<String> {
    let sessions = known.iter().map(|(shared, record)| {
        json!({"job": shared.job, "pids": shared.members, "img": record.image.0})
    });
    let unknown = others
        .iter()
        .map(|job| json!({"job": job, "pids": null, "img": null}));
    let document = json!({"sessions": sessions.chain(unknown).collect::<Vec<_>>()});
    json::spaced(&document)
}

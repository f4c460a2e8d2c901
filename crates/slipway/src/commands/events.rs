//! `slipway events`

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use engine::{Container, Event, Watch};
use serde::Serialize;
use serde_json::Value;
use sys::ExitCode;

use crate::cli::{Events, Global};

pub fn run(global: &Global, args: &Events) -> Result<ExitCode> {
    let container = super::load(global, &args.id)?;
    if args.stats {
        print(&statistics(&container, &args.id)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let interval = parse_interval(&args.interval)?;
    let mut watch = Watch::new(&container)?;
    let mut due = Instant::now() + interval;
    loop {
        match watch.next(due.saturating_duration_since(Instant::now()))? {
            Event::OutOfMemory => print(&Report::new("oom", &args.id, None))?,
            Event::Ended => return Ok(ExitCode::SUCCESS),
            Event::Quiet if Instant::now() < due => {}
            Event::Quiet => {
                print(&statistics(&container, &args.id)?)?;
                due += interval;
            }
        }
    }
}

/// A line of the output. Some readers expect runc's order of the fields.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl<'a> Report<'a> {
    fn new(kind: &'static str, id: &'a str, data: Option<Value>) -> Self {
        Self { kind, id, data }
    }
}

fn statistics<'a>(container: &Container, id: &'a str) -> Result<Report<'a>> {
    Ok(Report::new("stats", id, Some(container.stats()?)))
}

fn print(event: &Report<'_>) -> Result<()> {
    let line = serde_json::to_string(event).context("print the event")?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("print the event")
}

/// Parses a duration as Go writes it: `500ms`, `5s`, `1m30s`.
fn parse_interval(text: &str) -> Result<Duration> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let wrong = || format!("--interval {text}: expected a time such as 500ms, 5s or 1m30s");
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().with_context(wrong)?;
        let (name, unit) = units
            .iter()
            .find(|(name, _)| {
                tail.strip_prefix(name)
                    .is_some_and(|next| !next.starts_with(|c: char| c.is_ascii_alphabetic()))
            })
            .with_context(wrong)?;
        let milliseconds = number.checked_mul(*unit).with_context(wrong)?;
        total = total.checked_add(milliseconds).with_context(wrong)?;
        rest = tail.get(name.len()..).unwrap_or_default();
    }
    if total == 0 {
        bail!(wrong());
    }
    Ok(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_gos() {
        let rows = [
            ("5s", 5000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
        ];
        for (text, milliseconds) in rows {
            assert_eq!(
                parse_interval(text).unwrap().as_millis(),
                milliseconds,
                "{text}"
            );
        }
        for text in ["", "5", "0s", "s", "5x", "-1s", "99999999999999999999h"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}

//! `slipway list`

use std::io::Write;

use anyhow::{Context, Result};
use engine::State;
use sys::ExitCode;

use crate::cli::{Global, List, ListFormat};

pub fn run(global: &Global, args: &List) -> Result<ExitCode> {
    let root = super::root(global)?;
    if global.root.is_some() {
        std::fs::read_dir(&root).with_context(|| format!("read {}", root.display()))?;
    }
    let states: Vec<State> = engine::list(&root)?
        .iter()
        .map(engine::Container::state)
        .collect();
    let text = if args.quiet {
        states
            .iter()
            .map(|state| format!("{}\n", state.id))
            .collect()
    } else if args.format == ListFormat::Json {
        serde_json::to_string(&states).context("print JSON")?
    } else {
        table(&states)
    };
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .context("print the list")?;
    Ok(ExitCode::SUCCESS)
}

/// Formats a table like runc's: columns at least 12 wide, with three spaces between.
fn table(states: &[State]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(header)
        .chain(states.iter().map(|state| {
            [
                state.id.clone(),
                state.pid.to_string(),
                state.status.to_string(),
                state.bundle.display().to_string(),
                state.created.clone(),
                state.owner.clone(),
            ]
        }))
        .collect();
    let mut widths = [12; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

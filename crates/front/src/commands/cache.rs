//! `front cache list|clean`: the cache of images.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use cache::{Cache, Kept, Kind, Selection};
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::caller::Caller;
use crate::cli::{CacheClean, CacheCommand, CacheType};
use crate::json;
use crate::messages::Messages;
use crate::prompt;

pub fn run(command: &CacheCommand, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let directory = caller.cache(&caller.account());
    let cache = Cache::new(directory);
    match command {
        CacheCommand::List(args) => {
            let selection = Selection {
                kinds: kinds(&args.types.names),
                ..Selection::default()
            };
            let all = cache.select(&selection)?;
            let text = match args.json {
                true => as_json(&all)?,
                false => as_text(&all, args.verbose),
            };
            std::io::stdout()
                .write_all(text.as_bytes())
                .context("print")?;
        }
        CacheCommand::Clean(args) => clean(&cache, args, messages)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether an entry is data about images, and not an image.
fn is_record(kind: Kind) -> bool {
    matches!(kind, Kind::Reference | Kind::Discovery)
}

fn as_json(all: &[Kept]) -> Result<String> {
    let entries = all.iter().map(|kept| {
        json!({
            "type": kept.kind.name(),
            "name": kept.name,
            "path": kept.path,
            "size": kept.size,
            "lastUsed": DateTime::<Utc>::from(kept.used).to_rfc3339(),
            "leftover": kept.is_leftover,
        })
    });
    json::spaced(&json!({ "entries": entries.collect::<Vec<_>>() }))
}

fn as_text(all: &[Kept], verbose: bool) -> String {
    let mut text = String::new();
    if verbose {
        let _ = writeln!(
            text,
            "{:<24} {:<22} {:<16} TYPE",
            "NAME", "LAST USED", "SIZE"
        );
        for kept in all.iter().filter(|kept| !is_record(kept.kind)) {
            let used: DateTime<Utc> = kept.used.into();
            let name: String = text::printable(&kept.name).chars().take(22).collect();
            let kind = match kept.is_leftover {
                true => "leftover",
                false => kept.kind.name(),
            };
            let used = used.format("%Y-%m-%d %H:%M:%S");
            let _ = writeln!(text, "{name:<24} {used:<22} {:<16} {kind}", size(kept.size));
        }
        text.push('\n');
    }
    let sum = |wanted: &dyn Fn(&Kept) -> bool| {
        let found: Vec<u64> = all
            .iter()
            .filter(|kept| wanted(kept))
            .map(|kept| kept.size)
            .collect();
        (found.len(), found.iter().sum::<u64>())
    };
    let is_image = |kind| !matches!(kind, Kind::Blob | Kind::Build) && !is_record(kind);
    let (files, of_files) = sum(&|kept| is_image(kept.kind) && !kept.is_leftover);
    let (blobs, of_blobs) = sum(&|kept| kept.kind == Kind::Blob && !kept.is_leftover);
    let (steps, of_steps) = sum(&|kept| kept.kind == Kind::Build && !kept.is_leftover);
    let (left, of_left) = sum(&|kept| kept.is_leftover);
    let _ = writeln!(
        text,
        "There are {files} container file(s) using {} and {blobs} oci blob file(s) using {} of space",
        size(of_files),
        size(of_blobs)
    );
    if steps > 0 {
        let of_steps = size(of_steps);
        let _ = writeln!(text, "{steps} step(s) of builds use {of_steps}");
    }
    if left > 0 {
        let of_left = size(of_left);
        let _ = writeln!(
            text,
            "{left} leftover(s) of interrupted downloads or builds use {of_left}"
        );
    }
    let total = size(of_files + of_blobs + of_steps + of_left);
    let _ = writeln!(text, "Total space used: {total}");
    text
}

fn clean(cache: &Cache, args: &CacheClean, messages: &Messages) -> Result<()> {
    let selection = Selection {
        kinds: kinds(&args.types.names),
        unused_for: Duration::from_secs(args.days.unwrap_or(0) * 24 * 60 * 60),
    };
    if args.dry_run {
        messages.info("User requested a dry run. Not actually deleting any data!");
    } else if !args.force && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let question =
            "This will delete the selected entries of your cache. Do you want to continue? [y/N] ";
        if !prompt::ask(question, true)?.to_lowercase().starts_with('y') {
            bail!("nothing was deleted");
        }
    }
    let mut total = 0;
    for kept in cache.select(&selection)? {
        messages.info(format_args!(
            "Removing {} cache entry: {} ({})",
            kept.kind.name(),
            kept.name,
            size(kept.size)
        ));
        total += kept.size;
        if !args.dry_run {
            kept.remove()
                .with_context(|| kept.path.display().to_string())?;
        }
    }
    let freed = if args.dry_run { "Would free" } else { "Freed" };
    messages.info(format_args!("{freed} {}", size(total)));
    Ok(())
}

/// Returns the kinds of these types, or all kinds if there are no types.
fn kinds(types: &[CacheType]) -> Vec<Kind> {
    if types.is_empty() || types.contains(&CacheType::All) {
        return Kind::ALL.to_vec();
    }
    let kinds = types.iter().filter_map(|one| match one {
        CacheType::Blob => Some(Kind::Blob),
        CacheType::Oci => Some(Kind::Image),
        CacheType::Oras => Some(Kind::Oras),
        CacheType::Library => Some(Kind::Library),
        CacheType::Net => Some(Kind::Net),
        CacheType::Extracted => Some(Kind::Extracted),
        CacheType::Reference => Some(Kind::Reference),
        CacheType::Discovery => Some(Kind::Discovery),
        CacheType::Build => Some(Kind::Build),
        CacheType::Shub | CacheType::All => None,
    });
    kinds.collect()
}

fn size(bytes: u64) -> String {
    let (number, unit) = text::scaled(bytes as f64 / 1024.0, &["KiB", "MiB", "GiB"]);
    format!("{number:.2} {unit}")
}

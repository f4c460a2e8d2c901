//! `slipway update`

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use sys::ExitCode;

use crate::cli::{Global, Update};

pub fn run(global: &Global, args: &Update) -> Result<ExitCode> {
    let container = super::load(global, &args.id)?;
    let changes = match &args.resources {
        Some(path) => super::read_json(path)?,
        None => changes(args)?,
    };
    container.update(&changes)?;
    for schema in args.l3_cache_schema.iter().chain(&args.mem_bw_schema) {
        container.set_rdt_schema(schema)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the resources that the flags set, in the specification's format.
fn changes(args: &Update) -> Result<Value> {
    let size = |name: &str, text: &Option<String>| {
        text.as_ref()
            .map(|text| parse_size(text).with_context(|| format!("--{name} {text}: not a size")))
            .transpose()
            .map(|size| json!(size))
    };
    let rows = [
        ("blockIO", "weight", json!(args.blkio_weight)),
        ("cpu", "period", json!(args.cpu_period)),
        ("cpu", "quota", json!(args.cpu_quota)),
        ("cpu", "burst", json!(args.cpu_burst)),
        ("cpu", "shares", json!(args.cpu_share)),
        ("cpu", "realtimePeriod", json!(args.cpu_rt_period)),
        ("cpu", "realtimeRuntime", json!(args.cpu_rt_runtime)),
        ("cpu", "idle", json!(args.cpu_idle)),
        ("cpu", "cpus", json!(args.cpuset_cpus)),
        ("cpu", "mems", json!(args.cpuset_mems)),
        ("memory", "limit", size("memory", &args.memory)?),
        (
            "memory",
            "reservation",
            size("memory-reservation", &args.memory_reservation)?,
        ),
        ("memory", "swap", size("memory-swap", &args.memory_swap)?),
        ("pids", "limit", json!(args.pids_limit)),
    ];
    let mut changes = Map::new();
    for (controller, name, value) in rows {
        if !value.is_null() {
            let values = changes.entry(controller).or_insert_with(|| json!({}));
            values[name] = value;
        }
    }
    Ok(Value::Object(changes))
}

/// Parses a number of bytes, optionally with a unit that is a power of 1024: `512m`, `1GiB`, `-1`.
fn parse_size(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match lower.get(number.len()..)? {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1_i64 << 40,
        _ => return None,
    };
    number.trim().parse::<i64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units() {
        let rows = [
            ("10", 10),
            ("2k", 2048),
            ("1GiB", 1 << 30),
            ("-1", -1),
            ("5mb", 5 << 20),
        ];
        for (text, bytes) in rows {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "x", "1q", "99999999999g"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}

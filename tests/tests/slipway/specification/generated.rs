//! Pairs and triples of the table's requests, under `slipway` and under runc and crun: the container
//! sees what it sees under one of these.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::{Bundle, Outcome, UNIFIED, fixture, program, succeed};

use super::differences::DIFFERENCES;
use super::families::has_version_2_alone;
use super::{Property, properties, write_namespaces};

/// The specifications on cgroups of version 2 alone, under all three, and the ones on the host's own
/// cgroups if these are others, under `slipway` and runc: crun refuses a hybrid host.
const UNIFIED_CASES: usize = 300;
const HOST_CASES: usize = 100;
/// The seed, unless `SEED` is set.
const SEED: u64 = 1;

/// A random number generator (xorshift64*, Vigna 2016): what fails can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        usize::try_from(number >> 33).unwrap() % limit
    }
}

/// A container's view, or the reason why there was none.
struct Seen {
    lines: BTreeSet<String>,
    error: Option<String>,
}

impl Seen {
    fn of(outcome: &Outcome) -> Self {
        // The script's own exit status: the container ran to its end.
        let ran = outcome.code == 7;
        Self {
            lines: outcome.stdout.lines().map(str::to_owned).collect(),
            error: (!ran).then(|| {
                outcome
                    .stderr
                    .lines()
                    .last()
                    .unwrap_or("no word")
                    .to_owned()
            }),
        }
    }
}

/// Runs the bundle's container by a runtime, with a root file system that no other has written to.
fn seen(bundle: &Bundle, runtime: &Path, before: &str) -> Seen {
    let root = bundle.root();
    succeed(Command::new("rm").arg("-rf").arg(&root));
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    fs::write(root.join("look"), include_str!("look.sh")).unwrap();
    write_namespaces(&root);
    let script = format!("exec {} --root $PWD/state run $I", runtime.display());
    Seen::of(&bundle.script(before, &script))
}

/// Returns what is different from all others, a line each.
fn differences(ours: &Seen, others: &[(&str, Seen)]) -> Vec<String> {
    let mut found = Vec::new();
    let ran: Vec<_> = others
        .iter()
        .filter(|(_, seen)| seen.error.is_none())
        .collect();
    match &ours.error {
        Some(error) if ran.len() == others.len() => found.push(format!("refuses: {error}")),
        Some(_) => {}
        None if ran.is_empty() => {
            let words: Vec<_> = others
                .iter()
                .map(|(name, seen)| {
                    format!("{name}: {}", seen.error.as_deref().unwrap_or_default())
                })
                .collect();
            found.push(format!("does not refuse: {}", words.join("; ")));
        }
        None => {
            let sees = |line: &String| ran.iter().any(|(_, seen)| seen.lines.contains(line));
            found.extend(
                ours.lines
                    .iter()
                    .filter(|line| !sees(line))
                    .map(|line| format!("sees: {line}")),
            );
            let (first, rest) = ran.split_first().unwrap();
            let all = |line: &&String| rest.iter().all(|(_, seen)| seen.lines.contains(*line));
            let lacks = first.1.lines.difference(&ours.lines).filter(all);
            found.extend(lacks.map(|line| format!("does not see: {line}")));
        }
    }
    found
}

/// Returns two or three different properties.
fn some<'a>(random: &mut Random, all: &'a [Property]) -> Vec<&'a Property> {
    // A terminal needs one to print to.
    let all: Vec<&Property> = all
        .iter()
        .filter(|one| !one.name.contains("terminal"))
        .collect();
    let count = 2 + random.below(2);
    let mut chosen: Vec<&Property> = Vec::new();
    while chosen.len() < count {
        let row = all[random.below(all.len())];
        if chosen.iter().all(|other| other.name != row.name) {
            chosen.push(row);
        }
    }
    chosen
}

fn compare(cases: usize, before: &str, peers: &[&'static str]) -> String {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut random = Random(seed.unwrap_or(SEED));
    let mut report = String::new();
    let all = properties();
    for number in 0..cases {
        let chosen = some(&mut random, &all);
        let bundle = Bundle::new(&["sh", "/look"], |spec: &mut Value| {
            spec["root"]["readonly"] = false.into();
            // Without one, runc begins at the caller's own cgroup.
            spec["linux"]["cgroupsPath"] =
                format!("/tests-generated/{number}-{}", peers.len()).into();
            for row in &chosen {
                (row.request)(spec);
            }
        });
        let ours = seen(&bundle, &program("slipway"), before);
        assert_eq!(bundle.left(), Vec::<String>::new(), "{number}");
        let others: Vec<_> = peers
            .iter()
            .map(|name| {
                (
                    *name,
                    seen(&bundle, &fixture("runtimes").join(name), before),
                )
            })
            .collect();
        if let Some(directory) = std::env::var_os("DUMP") {
            let all = others.iter().map(|(name, seen)| (*name, seen));
            for (name, seen) in all.chain([("slipway", &ours)]) {
                let lines: Vec<_> = seen.error.iter().chain(&seen.lines).cloned().collect();
                let file = Path::new(&directory).join(format!("{number}.{name}"));
                fs::write(file, lines.join("\n")).unwrap();
            }
        }
        let names: Vec<&str> = chosen.iter().map(|row| row.name.as_str()).collect();
        let unknown = differences(&ours, &others).into_iter().filter(|line| {
            !DIFFERENCES
                .iter()
                .any(|(known, _)| known.iter().all(|part| line.contains(part)))
        });
        for line in unknown {
            writeln!(report, "{number} ({}): {line}", names.join(" + ")).unwrap();
        }
    }
    report
}

#[test]
fn combinations_give_what_runc_or_crun_give() {
    let unified = compare(UNIFIED_CASES, UNIFIED, &["runc", "crun"]);
    assert!(unified.is_empty(), "on version 2:\n{unified}");
}

#[test]
fn combinations_on_the_hosts_own_cgroups_give_what_runc_gives() {
    if has_version_2_alone() {
        println!("this host has version 2 alone, which the other test is about");
        return;
    }
    let found = compare(HOST_CASES, "true", &["runc"]);
    assert!(found.is_empty(), "{found}");
}

//! The real Apptainer and `front`, compared: the same command lines (`cases.txt`), the same user and the
//! same root file system. What Apptainer does is recorded in `recorded.txt`, so that it is not needed
//! afterwards.
//!
//! `SLIPWAY_RECORD=1 cargo test -p tests --test differential` records anew.

mod definitions;
mod record;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use record::{Kind, Seen};
use tests::{fixture, program, run, tester};

/// The variable that makes the test record.
const RECORD: &str = "SLIPWAY_RECORD";

const CASES: &str = include_str!("cases.txt");

/// A command line, and the reason why its outcome may differ.
struct Case {
    line: &'static str,
    reason: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let mut reason = None;
    let lines = CASES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let cases = lines.filter_map(|line| {
        if line.starts_with("better: ") || line.starts_with("refused: ") {
            reason = Some(line);
            return None;
        }
        let reason = reason.take();
        Some(Case { line, reason })
    });
    cases.collect()
}

/// Runs a command line with a program in the root that has Apptainer, in an empty directory.
fn seen(program: &str, line: &str) -> Seen {
    // The root shows the host's /tmp.
    let directory = tempfile::Builder::new()
        .prefix("diff")
        .tempdir_in("/tmp")
        .unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let there = Path::new("/tmp/host").join(directory.path().strip_prefix("/tmp").unwrap());
    let there = there.display().to_string();
    let script = format!(
        "export HOME=/home/slipway-tester USER=slipway-tester TERM=dumb T={there} DIR=/fixtures/bb \
         BB=/fixtures/bb.sif FULL=/fixtures/full.sif\numask 022\ncd $T\n{}",
        line.replace("{}", program)
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
    command
        .arg(fixture("peers"))
        .arg(tester().to_string())
        .args(["/bin/sh", "-c", &script]);
    let outcome = run(&mut command);
    // The directory may hold files of a layer that only their owner can remove.
    let _ = Command::new("rm").arg("-rf").arg(directory.path()).status();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let uid = tester().to_string();
    let words = [
        (there.as_str(), "$T"),
        (host.trim(), "$HOST"),
        (&uid, "$UID"),
    ];
    let mut stdout = outcome.stdout;
    for (word, name) in words {
        stdout = replace_words(&stdout, word, name);
    }
    Seen {
        status: outcome.code,
        kind: Kind::of(&outcome.stderr),
        stdout,
    }
}

/// Replaces a word that is not a part of another one.
fn replace_words(text: &str, word: &str, name: &str) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let (found, after) = found.split_at(word.len());
        let is_part = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        let is_whole = !is_part(before.chars().next_back()) && !is_part(after.chars().next());
        replaced += before;
        replaced += if is_whole { name } else { found };
        rest = after;
    }
    replaced + rest
}

/// Copies `front` into the root, under Apptainer's name. Two tests need it at a time, and a file that
/// is executed cannot be written.
fn install() -> &'static str {
    static INSTALLED: std::sync::OnceLock<&str> = std::sync::OnceLock::new();
    INSTALLED.get_or_init(copy_front)
}

fn copy_front() -> &'static str {
    let directory = fixture("peers").join("usr/local/lib/front");
    fs::create_dir_all(&directory).unwrap();
    let binary = directory.join("apptainer");
    // An earlier copy may be running.
    let _ = fs::remove_file(&binary);
    fs::copy(program("front"), &binary).unwrap();
    "/usr/local/lib/front/apptainer"
}

#[test]
fn the_outcomes_are_those_of_apptainer() {
    let front = install();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/front/differential/recorded.txt");
    if std::env::var_os(RECORD).is_some() {
        let mut text = String::new();
        for case in cases() {
            let theirs = seen("/usr/bin/apptainer", case.line);
            let _ = write!(text, "$ {}\n{theirs}", case.line);
            if let Some(reason) = case.reason {
                let ours = seen(front, case.line);
                let _ = write!(text, "{reason}\n{ours}");
            }
        }
        fs::write(&path, text).unwrap();
        return;
    }
    let recorded = record::parse(&fs::read_to_string(&path).unwrap());
    let mut wrong = String::new();
    for case in cases() {
        let Some(expected) = recorded.get(case.line) else {
            let _ = writeln!(wrong, "$ {}\nis not recorded", case.line);
            continue;
        };
        let ours = seen(front, case.line);
        if &ours != expected {
            let _ = writeln!(wrong, "$ {}\nexpected:\n{expected}seen:\n{ours}", case.line);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn there_are_enough_cases() {
    assert!(cases().len() >= 300);
}

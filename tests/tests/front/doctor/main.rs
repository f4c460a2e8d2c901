//! `front doctor`: it finds broken or slow things and names the remedy, and does not complain about
//! others.

mod host;
mod images;
mod mpi;
mod prepared;

use std::process::Command;

use tests::{Outcome, fixture, front, program, run, tester};

pub(crate) fn image(name: &str) -> String {
    fixture(name).display().to_string()
}

/// Checks that a problem is found, with a verdict, and that nothing else fails.
pub(crate) fn finds(outcome: &Outcome, verdict: &str, topic: &str, words: &str, remedy: &str) {
    let begins = |line: &&str| {
        line.starts_with(verdict) && line[verdict.len()..].trim_start().starts_with(topic)
    };
    let line = outcome
        .stdout
        .lines()
        .filter(begins)
        .find(|line| line.contains(words));
    let line = line.unwrap_or_else(|| panic!("{verdict} {topic} {words}: {outcome:?}"));
    assert!(line.contains(remedy), "{remedy}: {outcome:?}");
    let code = if verdict == "fails" { 1 } else { 2 };
    // Launchers have their own exit codes for ranks that fail.
    assert!(
        outcome.code == code || outcome.code > 0 && verdict == "fails",
        "{outcome:?}"
    );
    let worse = outcome
        .stdout
        .lines()
        .filter(|line| line.starts_with("fails"));
    let about = outcome.stdout.lines().filter(begins).count();
    assert!(worse.count() <= about, "{outcome:?}");
}

/// Checks that there is no complaint.
pub(crate) fn is_well(outcome: &Outcome) {
    let lines = outcome.stdout.lines();
    assert!(
        lines.clone().count() > 2 && { lines }.all(|line| line.starts_with("works  ")),
        "{outcome:?}"
    );
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (0, ""),
        "{outcome:?}"
    );
}

pub(crate) fn doctor(args: &[&str]) -> Outcome {
    run(&mut front([&["doctor"], args].concat()))
}

/// Runs the doctor after root has changed something that nobody else sees.
pub(crate) fn doctor_where(change: &str, args: &[&str]) -> Outcome {
    let front = program("front").display().to_string();
    where_root_did(change, &[&[front.as_str(), "doctor"], args].concat())
}

/// Runs a command after such a change.
pub(crate) fn where_root_did(change: &str, words: &[&str]) -> Outcome {
    let id = tester().to_string();
    let mut command = Command::new("unshare");
    let script =
        format!("{change} && exec setpriv --reuid={id} --regid={id} --clear-groups \"$@\"");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ]);
    command.args(words);
    run(command.env("HOME", "/home/slipway-tester").current_dir("/"))
}

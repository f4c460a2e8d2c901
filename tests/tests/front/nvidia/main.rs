//! `--nv` and `front gpu` with NVIDIA's own driver packages of two versions, and nodes without a
//! driver behind them. The images have older and newer C libraries, another one, and none.

mod decisions;
mod devices;
mod loading;

use std::process::Command;

use tests::{Outcome, fixture, front_in, run, tester};

/// The hosts, named after their driver.
pub(crate) const HOSTS: [&str; 2] = ["nvidia-535", "nvidia-550"];

/// Runs a command in a Debian root that has the driver's packages.
pub(crate) fn there(host: &str, words: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
    command
        .arg(fixture(host))
        .arg(tester().to_string())
        .args(words);
    run(&mut command)
}

/// Runs `front` in this root.
pub(crate) fn front(host: &str, args: &[&str]) -> Outcome {
    front_in(env!("CARGO_BIN_EXE_enter"), host, args)
}

//! Low limits of the caller's: each launch works, or says in a line what it lacks, and nothing waits or is left.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{mark, marked};
use tests::{Outcome, TESTER, fixture, program, run, tester, wait_for};

/// Runs a script as the ordinary user, `$F` being `front`, with an end.
fn script(text: &str, seconds: u32, test: &str) -> Outcome {
    let (name, value) = mark(test);
    let uid = tester().to_string();
    let mut command = Command::new("timeout");
    command.args([
        "-k",
        "5",
        &seconds.to_string(),
        "setpriv",
        "--reuid",
        &uid,
        "--regid",
        &uid,
    ]);
    command.args(["--clear-groups", "--inh-caps=-all", "env", "-i"]);
    command
        .arg(format!("HOME=/home/{TESTER}"))
        .arg("PATH=/usr/bin:/bin");
    command.arg(format!("F={}", program("front").display()));
    command.arg(format!("{name}={value}"));
    command
        .args(["bash", "-c", text])
        .current_dir(format!("/home/{TESTER}"));
    run(command.stdin(Stdio::null()))
}

/// A job of ranks by hand: what a rank must not do is wait for ever for a place that there is not.
fn job(ranks: u32, limit: u32, image: &str, number: u32) -> String {
    format!(
        "ulimit -n {limit}; export SLURM_JOB_ID={number} SLURM_STEP_ID=0 SLURM_NTASKS={ranks} SLURM_NODEID=0 \
         SLURM_STEP_TASKS_PER_NODE={ranks}; for rank in $(seq 0 {last}); do \
         SLURM_PROCID=$rank SLURM_LOCALID=$rank $F -q exec {image} sleep 3 & pids=\"$pids $!\"; done; \
         for pid in $pids; do wait $pid; codes=\"$codes $?\"; done; \
         printf '%s\\n' $codes | sort | uniq -c",
        last = ranks - 1,
    )
}

#[test]
fn ranks_that_find_no_descriptors_left_run_alone() {
    for image in ["bb", "bb.sif"] {
        let image = fixture(image).display().to_string();
        for (number, limit) in [(901, 40), (903, 64), (905, 1024)] {
            let begin = Instant::now();
            let jobs = [number, number + 1].map(|number| job(60, limit, &image, number));
            let both = format!("({}) & ({}) & wait", jobs[0], jobs[1]);
            let outcome = script(&both, 90, "ranks");
            assert_eq!(
                outcome.stdout.split_whitespace().collect::<Vec<_>>(),
                ["60", "0", "60", "0"],
                "{limit}: {outcome:#?}"
            );
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "{limit}: {:?}",
                begin.elapsed()
            );
        }
    }
    wait_for("all of it to end", Duration::from_secs(20), || {
        marked(&mark("ranks").1).is_empty()
    });
}

#[test]
fn a_low_limit_is_named_and_nothing_hangs() {
    let images = ["bb", "bb.sif"].map(|name| fixture(name).display().to_string());
    for image in &images {
        for (flag, value) in [
            ("n", "4"),
            ("n", "8"),
            ("n", "12"),
            ("n", "16"),
            ("n", "20"),
            ("n", "24"),
            ("n", "32"),
            ("f", "0"),
            ("f", "1"),
            ("s", "64"),
            ("s", "128"),
            ("s", "1024"),
            ("v", "60000"),
            ("v", "200000"),
            ("u", "1"),
            ("c", "0"),
            ("l", "0"),
            ("t", "1"),
        ] {
            let begin = Instant::now();
            let outcome = script(
                &format!("ulimit -{flag} {value}; exec $F exec {image} true"),
                20,
                "low",
            );
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "-{flag} {value}: {outcome:#?}"
            );
            let said = outcome.stderr.lines().count();
            assert!(
                outcome.code == 0 || (1..=2).contains(&said) && !outcome.stderr.contains("panick"),
                "-{flag} {value} {image}: {outcome:#?}"
            );
        }
    }
    wait_for("all of it to end", Duration::from_secs(20), || {
        marked(&mark("low").1).is_empty()
    });
}

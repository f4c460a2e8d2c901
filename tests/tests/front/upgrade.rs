//! Two versions of `front` on a node, and a program that is replaced while it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tests::{as_tester, fixture, home, program, succeed, wait_for};

/// Ends a program when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts the program at a path in place of another one, as an installation does.
fn install(path: &Path) {
    let part = path.with_extension("new");
    fs::copy(program("front"), &part).unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(part, path).unwrap();
}

fn in_job(front: &Path, job: &str, words: &[&str]) -> Command {
    let mut command = as_tester(front);
    let variables = [
        ("SLURM_JOB_ID", job),
        ("SLURM_STEP_ID", "0"),
        ("SLURM_NTASKS", "1"),
        ("SLURM_STEP_TASKS_PER_NODE", "1"),
        ("SLURM_PROCID", "0"),
        ("SLURM_LOCALID", "0"),
        ("SLURM_NODEID", "0"),
    ];
    command.envs(variables).arg("exec").arg(fixture("bb.sif"));
    command.args(words);
    command
}

#[test]
fn jobs_go_on_while_the_program_is_replaced() {
    let place = home();
    let [old, new]: [PathBuf; 2] = ["old", "new"].map(|name| place.path().join(name));
    install(&old);
    install(&new);
    let sleep = |front: &Path, job: &str, seconds: &str| {
        Ended(in_job(front, job, &["sleep", seconds]).spawn().unwrap())
    };
    let listed = |front: &Path| succeed(as_tester(front).arg("ps"));
    let mut first = sleep(&old, "70771", "97.125");
    let _second = sleep(&new, "70772", "97.25");
    let (own, others) = (
        |job: &str| format!("{job}.0"),
        |text: &str, job: &str| {
            text.lines().any(|line| {
                line.starts_with(&format!("{job}.0"))
                    && line.ends_with("(of another version of front)")
            })
        },
    );
    wait_for("both jobs", Duration::from_secs(20), || {
        let text = listed(&old);
        text.contains(&own("70771")) && text.contains(&own("70772"))
    });
    assert!(others(&listed(&old), "70772") && !others(&listed(&old), "70771"));
    assert!(others(&listed(&new), "70771") && !others(&listed(&new), "70772"));
    // A rank of the job by the other version has a container of its own.
    let said = succeed(&mut in_job(&new, "70771", &["echo", "another container"]));
    assert_eq!(said, "another container\n");
    install(&old);
    assert!(first.0.try_wait().unwrap().is_none(), "the job ended");
    let said = succeed(&mut in_job(&old, "70771", &["echo", "the new program"]));
    assert_eq!(said, "the new program\n");
    assert!(others(&listed(&old), "70771"));
}

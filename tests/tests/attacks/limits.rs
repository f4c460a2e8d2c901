//! Low limits of the caller. Each launch works, or says in one line what is missing; nothing waits,
//! and nothing is left.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{mark, marked};
use tests::{Bundle, Outcome, TESTER, as_tester, fixture, program, run, tester, wait_for};

/// Runs a script as the ordinary user, with a time limit. `$F` is `front`.
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

/// Returns a script that starts a job of ranks. A rank must not wait for ever for a place that does
/// not exist.
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

/// The class of CVE-2024-40635: to the kernel, this number means that the user does not change, and
/// so stays root.
#[test]
fn a_user_who_is_no_number_of_one_is_refused() {
    for user in [
        json!({"uid": 4_294_967_295_u32}),
        json!({"gid": 4_294_967_295_u32}),
        json!({"uid": 2_147_483_648_u32}),
    ] {
        let bundle = Bundle::new(&["id"], |spec| spec["process"]["user"] = user.clone());
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert!(
            outcome
                .stderr
                .contains("is not in the range 0 to 2147483647"),
            "{user}: {outcome:?}"
        );
        assert_eq!((outcome.stdout.as_str(), outcome.code), ("", 1));
    }
    let bundle = Bundle::new(&["sleep", "100"], |_| {});
    let _deleted = crate::Deleted(&bundle);
    crate::start(&bundle);
    for user in ["4294967295:4294967295", "0:4294967295"] {
        let outcome = run(&mut bundle.slipway(&["exec", "-u", user, "c1", "id"]));
        assert!(
            outcome.stderr.contains("is not in the range"),
            "{user}: {outcome:?}"
        );
        assert_eq!(outcome.stdout, "");
    }
}

/// The program's limits do not apply to the runtime's own steps.
#[test]
fn a_program_may_have_few_descriptors() {
    for limit in [4, 8, 12, 20] {
        let bundle = Bundle::new(&["sh", "-c", "ulimit -n"], |spec| {
            spec["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}]);
        });
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(outcome.stdout, format!("{limit}\n"), "{outcome:?}");
    }
}

/// Each later launch of the program used to wait 20 seconds for a lock file that does not name its
/// owner.
#[test]
fn a_full_disk_costs_no_later_launch_its_time() {
    let script = "mount -t tmpfs -o size=64k,mode=1777 none /mnt; dd if=/dev/zero of=/mnt/fill bs=4k 2>/dev/null; \
        launch() { setpriv --reuid $U --regid $U --clear-groups env -i HOME=/mnt TMPDIR=/mnt XDG_CACHE_HOME=/mnt PATH=/usr/bin:/bin \
            PMI_RANK=0 PMI_SIZE=2 MPI_LOCALNRANKS=2 $F -q exec $I true; echo $?; }; \
        launch; sleep 2; launch; rm /mnt/fill; sleep 2; launch; find /mnt -name '*.making'";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command
        .env("U", tester().to_string())
        .env("F", program("front"))
        .env("I", fixture("bb.sif"));
    let begin = Instant::now();
    let outcome = run(&mut command);
    assert_eq!(outcome.stdout, "0\n0\n0\n", "{outcome:?}");
    assert!(
        begin.elapsed() < Duration::from_secs(12),
        "{:?}",
        begin.elapsed()
    );
}

/// The cgroups of version 1 are root's, so that an ordinary user's limits have no effect there.
#[test]
fn limits_that_would_have_no_effect_are_refused() {
    let directory = tests::home();
    let bundle = directory.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    std::os::unix::fs::chown(&bundle, Some(tests::tester()), Some(tests::tester())).unwrap();
    let slipway = |args: &[&str]| {
        let mut command = as_tester("timeout");
        command.arg("20").arg(program("slipway")).args(args);
        command.env("XDG_RUNTIME_DIR", &bundle).current_dir(&bundle);
        run(&mut command)
    };
    assert_eq!(slipway(&["spec", "--rootless"]).code, 0);
    let config = bundle.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = json!(["true"]);
    spec["root"]["path"] = json!(fixture("bb"));
    for (resources, expected) in [
        (json!({"pids": {"limit": 5}}), "pids"),
        (json!({"memory": {"limit": 10_000_000}}), "memory"),
        (
            json!({"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": -1}}),
            "",
        ),
    ] {
        spec["linux"]["resources"] = resources;
        fs::write(&config, spec.to_string()).unwrap();
        let outcome = slipway(&["run", "limited"]);
        assert_eq!(outcome.code == 0, expected.is_empty(), "{outcome:?}");
        assert!(outcome.stderr.contains(expected), "{outcome:?}");
    }
}

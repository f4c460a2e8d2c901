//! Verbs, flags and commands, and the errors that they cause.

use tests::{fixture, front, run, run_with_input, succeed, tester};

use super::media;

#[test]
fn a_command_that_cannot_be_started_says_why() {
    let rows = [
        (
            vec!["nosuch"],
            "\"nosuch\": executable file not found in $PATH",
        ),
        (
            vec!["/bin/nosuch"],
            "/bin/nosuch: no such file or directory",
        ),
        (vec!["/etc"], "is a directory"),
        (vec!["/etc/passwd"], "permission denied"),
    ];
    for image in media() {
        for (command, words) in &rows {
            let mut all = vec!["exec", &image];
            all.extend(command);
            let outcome = run(&mut front(all));
            assert_eq!(outcome.code, 255, "{outcome:?}");
            assert!(outcome.stderr.starts_with("FATAL:   "), "{outcome:?}");
            assert!(outcome.stderr.contains(words), "{outcome:?}");
            assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        }
    }
}

#[test]
fn run_and_shell() {
    let image = fixture("bb.sif").display().to_string();
    let outcome = run(&mut front(["run", &image]));
    assert!(
        outcome.stdout.contains("no runscript defined"),
        "{outcome:?}"
    );
    let outcome = run_with_input(
        &mut front(["shell", &image]),
        b"echo $0 in $SINGULARITY_NAME\n",
    );
    assert_eq!(outcome.stdout, "/bin/sh in bb.sif\n", "{outcome:?}");
    let directory = fixture("bb").display().to_string();
    let outcome = run_with_input(
        &mut front(["run", &directory, "-c", "echo $0 $1", "a", "b"]),
        b"",
    );
    assert_eq!(outcome.stdout, "a b\n", "{outcome:?}");
    assert!(outcome.stderr.contains("No runscript found"), "{outcome:?}");
}

#[test]
fn the_built_in_image_runs() {
    let outcome = run(&mut front(["run"]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains(&format!("user       {}", tester())),
        "{outcome:?}"
    );
}

#[test]
fn dry_run_prints_a_bundle() {
    let image = fixture("bb.sif").display().to_string();
    let text = succeed(&mut front([
        "exec",
        "--dry-run",
        "-B",
        "/usr/share:/lus",
        &image,
        "id",
    ]));
    let spec: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(spec["process"]["args"], serde_json::json!(["id"]));
    assert_eq!(spec["root"]["readonly"], true);
    let mounts = spec["mounts"].as_array().unwrap();
    assert!(
        mounts
            .iter()
            .any(|mount| mount["destination"] == "/lus" && mount["source"] == "/usr/share")
    );
}

#[test]
fn usage_errors_are_one_line_and_exit_1() {
    for args in [
        vec!["exec", "--nosuch", "x", "y"],
        vec!["exec", "x"],
        vec!["frobnicate"],
    ] {
        let outcome = run(&mut front(&args));
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
}

#[test]
fn singularity_3884_a_variable_that_asks_for_what_is_not_given_is_refused() {
    let image = fixture("bb.sif").display().to_string();
    for (name, value) in [
        ("SINGULARITY_BOOT", "1"),
        ("APPTAINER_NETNS_PATH", "/x"),
        ("SINGULARITY_SECURITY", "uid:1000"),
        ("APPTAINER_ENCRYPTION_PEM_PATH", "/x"),
    ] {
        let outcome = run(front(["exec", &image, "true"]).env(name, value));
        assert_eq!(outcome.code, 255, "{outcome:?}");
        assert!(
            outcome.stderr.starts_with(&format!("FATAL:   {name}: ")),
            "{outcome:?}"
        );
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        let outcome = run(front(["exec", &image, "true"]).env(name, ""));
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (0, ""),
            "{outcome:?}"
        );
    }
}

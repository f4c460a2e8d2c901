//! Answers to commands that other programs would take.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tests::{Registry, TestDirectory, fixture, front, program, run, run_with_input, saved};

/// Returns the single line of a command that fails.
fn said(args: &[&str]) -> String {
    let outcome = run(&mut front(args));
    assert_ne!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<&str> = { outcome.stderr.lines() }
        .filter(|line| !line.starts_with("INFO"))
        .collect();
    assert_eq!(lines.len(), 1, "{outcome:?}");
    lines[0].to_owned()
}

#[test]
fn what_was_meant_is_said() {
    let (place, home) = (TestDirectory::new(), saved());
    let image = fixture("bb.sif").display().to_string();
    let at = |name: &str| home.path().join(name).display().to_string();
    let (layout, tar) = (at("layout"), at("docker.tar"));
    tests::open_to_all(home.path());
    let script = place.file("script");
    fs::write(&script, "#!/bin/sh\r\necho hi\r\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for (args, hint) in [
        (
            &["exec", "alpine:latest", "true"][..],
            "docker://alpine:latest",
        ),
        (&["exec", "quay.io/a/b", "true"], "docker://quay.io/a/b"),
        (&["exec", &layout, "true"], &format!("oci:{layout}")),
        (&["exec", &tar, "true"], &format!("docker-archive:{tar}")),
        (
            &["exec", &image, "--nv", "true"],
            "flags of front must come before the image",
        ),
        (&[&image], &format!("front run {image}")),
        (&["docker://alpine"], "front run docker://alpine"),
        (
            &["build", "docker://x", "out.sif"],
            "front build FILE SOURCE",
        ),
        (&["exec", &image, &script], "Windows line endings"),
        (
            &["exec", "docker://nosuch.example.invalid/x", "true"],
            "there is no server of that name",
        ),
    ] {
        let said = said(args);
        assert!(said.contains(hint), "{args:?}: {said}");
        assert!(!said.contains("Query {") && !said.contains('\r'), "{said}");
    }
    assert!(!said(&["exec", "nosuch.sif", "true"]).contains("docker://"));
}

#[test]
fn what_was_just_done_is_not_advised() {
    let (registry, place) = (Registry::closed(), TestDirectory::new());
    tests::open_to_all(registry.certificate().parent().unwrap());
    let host = format!("docker://localhost:{}", registry.port());
    let args = ["registry", "login", "-u", "user", "--password-stdin", &host];
    let mut login = place.front(&args);
    login.env("SSL_CERT_FILE", registry.certificate());
    let outcome = run_with_input(&mut login, b"wrong\n");
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("rejected user \"user\" with this password"),
        "{outcome:?}"
    );
    assert!(
        !outcome.stderr.contains("front registry login"),
        "{outcome:?}"
    );
    // A server that does not speak TLS, although it is asked to.
    let plain = Registry::start();
    let image = format!("docker://127.0.0.1:{}/x", plain.port());
    let outcome = run(&mut place.front(&["exec", "--no-https", &image, "true"]));
    assert!(
        !outcome.stderr.contains("InvalidContentType"),
        "{outcome:?}"
    );
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    for command in [
        "ps",
        "instance list",
        "cache list -v",
        "key list",
        "registry list",
    ] {
        let front = program("front").display().to_string();
        // The reader is gone before anything is written.
        let script = format!("{{ sleep 0.1; {front} {command}; echo $? >&2; }} | true");
        let outcome = run(tests::as_tester("bash").args(["-c", &script]));
        assert!(
            ["141\n", "0\n"].contains(&outcome.stderr.as_str()),
            "{command}: {outcome:?}"
        );
    }
}

#[test]
fn a_misspelled_variable_is_told() {
    let image = fixture("bb").display().to_string();
    let mut command = front(["exec", &image, "echo", "ran"]);
    let outcome = run(command.env("APPTAINER_BINDPAHT", "/tmp"));
    assert_eq!(
        (
            outcome.stdout.as_str(),
            outcome.stderr.as_str(),
            outcome.code
        ),
        (
            "ran\n",
            "WARNING: APPTAINER_BINDPAHT is unknown and has no effect; did you mean APPTAINER_BINDPATH?\n",
            0
        )
    );
}

#[test]
fn every_list_is_printed_as_json() {
    let place = TestDirectory::new();
    let image = fixture("bb.sif").display().to_string();
    let key = ["key", "newpair", "-N", "A", "-E", "a@b.c", "-P", ""];
    tests::succeed(&mut place.front(&key));
    for (command, list, entries) in [
        (&["sif", "list", "--json", &image][..], "objects", Some(3)),
        (&["key", "list", "--json"], "keys", Some(1)),
        (&["key", "list", "--secret", "--json"], "keys", Some(1)),
        (&["cache", "list", "--json"], "entries", None),
        (&["registry", "list", "--json"], "registries", Some(0)),
        (&["instance", "list", "--json"], "instances", None),
        (&["ps", "--json"], "sessions", None),
        (
            &["cdi", "list", "--json", "--cdi-dirs", "/nosuch"],
            "devices",
            Some(0),
        ),
    ] {
        let stdout = tests::succeed(&mut place.front(command));
        let document: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let found = document[list].as_array().map(Vec::len);
        assert!(found.is_some(), "{command:?}: {document}");
        assert!(entries.is_none() || found == entries, "{document}");
    }
}

#[test]
fn instances_of_others_are_out_of_reach() {
    let said = said(&["instance", "list", "--user", "root"]);
    assert!(said.contains("run this command as root"), "{said}");
    let own = run(&mut front(["instance", "list", "-u", tests::TESTER]));
    assert_eq!(own.code, 0, "{own:?}");
}

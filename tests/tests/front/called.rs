//! `front` under other names: a link named `apptainer` or `singularity` is that program.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tests::{Outcome, as_tester, fixture, program, run, succeed};

/// Makes links to `front`, which the ordinary user may follow.
fn links() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["apptainer", "singularity", "run-singularity"] {
        symlink(program("front"), directory.path().join(name)).unwrap();
    }
    directory
}

fn call(directory: &Path, words: &str) -> Outcome {
    let mut words = words.split(' ');
    let name = words.next().unwrap();
    run(as_tester(directory.join(name)).args(words))
}

#[test]
fn versions_are_those_that_clients_ask_for() {
    let links = links();
    let number = "1.4.5+front.0.1.0";
    for name in ["apptainer", "singularity"] {
        let line = call(links.path(), &format!("{name} --version")).stdout;
        assert_eq!(line, format!("apptainer version {number}\n"));
        let line = call(links.path(), &format!("{name} version")).stdout;
        assert_eq!(line, format!("{number}\n"));
    }
    let own = run(as_tester(program("front")).arg("--version")).stdout;
    // With the commit, if the program was built from a repository.
    assert!(
        own == "front version 0.1.0\n" || own.starts_with("front version 0.1.0 ("),
        "{own}"
    );
}

#[test]
fn help_and_errors_show_the_name() {
    let links = links();
    let help = call(links.path(), "singularity help instance start");
    assert_eq!(help.code, 0);
    assert!(
        help.stdout.contains("Usage: singularity instance start"),
        "{help:?}"
    );
    let same = call(links.path(), "singularity instance start --help");
    assert_eq!(same.stdout, help.stdout);
    let wrong = call(links.path(), "apptainer exec --nosuch img true");
    assert_eq!(wrong.code, 1);
    assert!(
        wrong
            .stderr
            .ends_with("see `apptainer --help` or `apptainer COMMAND --help`\n"),
        "{wrong:?}"
    );
    let unknown = call(links.path(), "apptainer help nosuch");
    assert_eq!(unknown.code, 1);
    let script = call(links.path(), "singularity completion bash").stdout;
    assert!(script.contains("complete -F _singularity"), "{script}");
}

#[test]
fn a_sif_runs_by_its_own_first_line() {
    let links = links();
    let sandbox = links.path().join("sandbox");
    succeed(
        Command::new("cp")
            .arg("-a")
            .arg(fixture("bb"))
            .arg(&sandbox),
    );
    fs::create_dir_all(sandbox.join(".singularity.d")).unwrap();
    let runscript = sandbox.join(".singularity.d/runscript");
    fs::write(&runscript, "#!/bin/sh\necho \"ran $*\"; exit 3\n").unwrap();
    fs::set_permissions(&runscript, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(links.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let image = links.path().join("image.sif");
    let mut build = as_tester(program("front"));
    succeed(build.args(["-q", "build"]).arg(&image).arg(&sandbox));
    let given = run(as_tester(links.path().join("run-singularity"))
        .arg(&image)
        .args(["a", "-b"]));
    assert_eq!((given.stdout.as_str(), given.code), ("ran a -b\n", 3));
    let path = format!("{}:/usr/bin:/bin", links.path().display());
    let started = run(as_tester(&image).env("PATH", path).args(["a", "-b"]));
    assert_eq!((started.stdout.as_str(), started.code), ("ran a -b\n", 3));
}

#[test]
fn an_image_without_help_says_so() {
    let image = fixture("bb.sif").display().to_string();
    let outcome = run(as_tester(program("front")).args(["run-help", &image]));
    assert_eq!(
        (outcome.stdout.as_str(), outcome.code),
        ("No help sections were defined for this image\n", 0)
    );
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let metadata = directory.path().join(".singularity.d");
    fs::create_dir(&metadata).unwrap();
    fs::write(metadata.join("runscript.help"), "Use it\nwell.\n").unwrap();
    let outcome = run(as_tester(program("front"))
        .arg("run-help")
        .arg(directory.path()));
    assert_eq!(
        (outcome.stdout.as_str(), outcome.code),
        ("Use it\nwell.\n", 0)
    );
}

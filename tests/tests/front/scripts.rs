//! The image's environment scripts, run by the image's own shell.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tests::{Outcome, fixture, front, open_to_all, run, succeed};

/// A sandbox whose `/bin/sh` is one of the host's shells, with the libraries that it needs, and with scripts.
fn sandbox(shells: &[&str], scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let place = tests::home();
    let root = place.path().join("root");
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    for (at, shell) in shells.iter().enumerate() {
        let libraries = succeed(Command::new("ldd").arg(shell));
        let libraries = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for file in libraries.chain([*shell]) {
            let inside = root.join(file.trim_start_matches('/'));
            fs::create_dir_all(inside.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&inside);
            fs::copy(file, &inside).unwrap();
        }
        if at == 0 {
            let _ = fs::remove_file(root.join("bin/sh"));
            symlink(shell, root.join("bin/sh")).unwrap();
        }
    }
    let env = root.join(".singularity.d/env");
    fs::create_dir_all(&env).unwrap();
    for (name, text) in scripts {
        fs::write(env.join(name), text).unwrap();
    }
    open_to_all(place.path());
    place
}

fn print(root: &Path, args: &[&str], name: &str) -> Outcome {
    let image = root.join("root").display().to_string();
    let show = format!("printf '%s|' \"${{{name}-unset}}\"");
    let words = [
        &["exec", "-e"],
        args,
        &[&image, "/bin/busybox", "sh", "-c", &show],
    ]
    .concat();
    run(&mut front(words))
}

#[test]
fn moose_28813_what_bash_alone_understands_is_set() {
    let scripts = [(
        "50-bash.sh",
        "LIST=(a b c)\nexport SECOND=${LIST[1]}\nX=banana\nexport CHANGED=${X//a/o}\n[[ $X == ban* ]] && export MATCH=yes\n",
    )];
    let root = sandbox(&["/bin/dash", "/bin/bash"], &scripts);
    for (name, value) in [("SECOND", "b|"), ("CHANGED", "bonono|"), ("MATCH", "yes|")] {
        let outcome = print(root.path(), &[], name);
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            (value, 0),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn singularity_734_a_script_that_the_shell_cannot_run_is_lost_alone() {
    for (wrong, shell) in [
        ("export LOST=1\nLIST=(a b)\n", "/bin/dash"),
        ("export LOST=1\nX=aa\nexport Y=${X//a/b}\n", "/bin/dash"),
        ("export LOST=1\nif\n", "/bin/busybox"),
    ] {
        let scripts = [
            ("20-first.sh", "export FIRST=$(echo one)\n"),
            ("50-wrong.sh", wrong),
            ("70-last.sh", "export LAST=\"$FIRST two\"\n"),
        ];
        let root = match shell {
            "/bin/busybox" => sandbox(&[], &scripts),
            shell => sandbox(&[shell], &scripts),
        };
        for (name, value) in [("FIRST", "one|"), ("LOST", "unset|"), ("LAST", "one two|")] {
            let outcome = print(root.path(), &[], name);
            assert_eq!(
                (outcome.stdout.as_str(), outcome.code),
                (value, 0),
                "{wrong}: {outcome:?}"
            );
            let told = "WARNING: /.singularity.d/env/50-wrong.sh: the image's shell cannot run it";
            assert_eq!(outcome.stderr.matches(told).count(), 1, "{outcome:?}");
        }
    }
    // A script that ends the run does so on purpose.
    let root = sandbox(&[], &[("50-exit.sh", "export A=$(echo 1)\nexit 3\n")]);
    assert_eq!(print(root.path(), &[], "A").code, 3);
}

#[test]
fn values_survive_every_shell_byte_for_byte() {
    let values = [
        "äöü",
        "two\nlines",
        "it's \"q\" \\ $HOME `x`",
        "",
        " a ",
        "\u{1}\u{7f}",
        "~*?[x]",
        "ends in \\",
    ];
    for shell in ["/bin/bash", "/bin/dash", "/bin/busybox"] {
        let mut script = "export SHELLED=$(echo yes)\n".to_owned();
        for (number, value) in values.iter().enumerate() {
            let quoted = value.replace('\'', "'\\''");
            script += &format!("export V{number}='{quoted}'\n");
        }
        let scripts = [("50-values.sh", script.as_str())];
        let root = match shell {
            "/bin/busybox" => sandbox(&[], &scripts),
            shell => sandbox(&[shell], &scripts),
        };
        for (number, value) in values.iter().enumerate() {
            let outcome = print(root.path(), &[], &format!("V{number}"));
            // A variable that a script empties is removed, as in Apptainer.
            let expected = if value.is_empty() { "unset" } else { value };
            assert_eq!(
                outcome.stdout,
                format!("{expected}|"),
                "{shell}: {outcome:?}"
            );
        }
        // The caller's own variables pass through no shell. A value given by a flag is a text
        // within double quotes.
        let image = root.path().join("root").display().to_string();
        let show = [
            "/bin/busybox",
            "sh",
            "-c",
            "printf '%s|' \"$CALLERS\" \"$FLAG\"",
        ];
        let words = ["exec", "--env", "FLAG=$SHELLED \"q\" \\$x \\", &image];
        let outcome = run(front(words.iter().chain(&show)).env("CALLERS", "ä\n$x\\ `y`"));
        assert_eq!(
            outcome.stdout, "ä\n$x\\ `y`|yes \"q\" $x \\|",
            "{shell}: {outcome:?}"
        );
    }
}

#[test]
fn util_linux_4014_who_ignores_the_end_of_children_gets_scripts_too() {
    let root = sandbox(&[], &[("50-shell.sh", "export A=$(echo 1)\n")]);
    let image = root.path().join("root").display().to_string();
    let mut command = tests::as_tester("python3");
    let start = "import signal, os, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";
    let front = tests::program("front").display().to_string();
    command.args([
        "-c",
        start,
        &front,
        "exec",
        &image,
        "/bin/busybox",
        "sh",
        "-c",
        "echo $A",
    ]);
    let outcome = run(&mut command);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.code),
        ("1\n", 0),
        "{outcome:?}"
    );
}

#[test]
fn what_a_script_leaves_running_keeps_nobody_waiting() {
    let root = sandbox(
        &[],
        &[(
            "50-rest.sh",
            "sleep 30 >/dev/null 2>&1 &\nexport A=$(echo 1)\n",
        )],
    );
    let begin = std::time::Instant::now();
    let outcome = print(root.path(), &[], "A");
    assert_eq!(outcome.stdout, "1|", "{outcome:?}");
    let root = sandbox(
        &[],
        &[("50-rest.sh", "sleep 30 >/dev/null 2>&1 &\nexit 4\n")],
    );
    assert_eq!(print(root.path(), &[], "A").code, 4);
    assert!(begin.elapsed() < std::time::Duration::from_secs(20));
}

/// A script can write to the pipe through which its shell shows the environment.
#[test]
fn a_script_shows_the_shells_environment_only() {
    let to_pipes = |words: &str, ending: &str| {
        format!(
            "for n in 3 4 5 6 7 8 9; do case $(readlink /proc/$$/fd/$n) in pipe:*) (echo >/proc/$$/fd/$n) 2>/dev/null && {words} >/proc/$$/fd/$n;; esac; done\n{ending}\n"
        )
    };
    // Again and again: it is told so, and nothing is kept.
    let again = "for m in 1 2 3 4 5 6 7 8 9; do echo environment $$; done";
    // Of the process outside of the image that waits for the shell, twice, as if it were its own.
    let other = "echo environment $PPID; echo environment $PPID";
    for (words, ending) in [(again, "X=$(true)"), (other, "sleep 0.3; exit 0")] {
        let script = to_pipes(&format!("{{ {words}; }}"), ending);
        let root = sandbox(&["/bin/dash"], &[("90-e.sh", &script)]);
        let image = root.path().join("root").display().to_string();
        let words = ["exec", "-e", "-C", &image, "/bin/busybox", "env"];
        let outcome = run(front(words).env("ONLY_OUTSIDE", "secret"));
        assert!(!outcome.stdout.contains("secret"), "{outcome:?}");
        if ending.starts_with('X') {
            assert_eq!(outcome.code, 255, "{outcome:?}");
            assert!(
                outcome.stderr.contains("a script writes to the pipe"),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn the_shell_ends_with_front() {
    let name = format!("90-loop-{}.sh", std::process::id());
    let script = "while :; do sleep 0.1; done\n";
    let root = sandbox(&["/bin/dash"], &[(&name, script)]);
    let image = root.path().join("root").display().to_string();
    let shells = || {
        tests::testers_processes()
            .into_iter()
            .filter(|(pid, _)| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&command).contains(&name)
            })
            .count()
    };
    let limit = std::time::Duration::from_secs(5);
    let mut child = front(["exec", &image, "true"]).spawn().unwrap();
    tests::wait_for("the shell runs", limit, || shells() > 0);
    succeed(Command::new("kill").arg(child.id().to_string()));
    child.wait().unwrap();
    tests::wait_for("the shell has ended", limit, || shells() == 0);
}

//! The real Apptainer and `front`, compared: the same arguments on a SIF that Apptainer wrote, the
//! same user, the same root file system. Standard output and exit status must be equal.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Once;

use tests::{Outcome, fixture, program, run_with_input, tester};

/// Runs a program in the root that has Apptainer, with the image at `/fixtures/bb.sif`.
fn there(words: &[&str], input: &str) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
    command
        .arg(fixture("peers"))
        .arg(tester().to_string())
        .args(words);
    run_with_input(&mut command, input.as_bytes())
}

/// Runs both programs with one command line. In the script, `{}` stands for the program.
fn both(script: &str, input: &str) -> (Outcome, Outcome) {
    // Copied only once: tests run in parallel, and must not replace a program that another test
    // runs.
    static COPIED: Once = Once::new();
    COPIED.call_once(|| {
        let binary = fixture("peers").join("usr/local/bin/front");
        // An earlier copy is replaced, because it may be running.
        let _ = std::fs::remove_file(&binary);
        std::fs::copy(program("front"), &binary).unwrap();
    });
    let of = |name: &str| there(&["/bin/sh", "-c", &script.replace("{}", name)], input);
    (of("/usr/bin/apptainer"), of("/usr/local/bin/front"))
}

#[test]
fn the_same_output_and_status() {
    let image = "/fixtures/bb.sif";
    let home = "export HOME=/home/slipway-tester USER=slipway-tester; cd /home/slipway-tester";
    let rows = [
        ("id", ""),
        ("pwd", ""),
        ("cat /etc/passwd", ""),
        ("cat /etc/group", ""),
        ("nosuch", ""),
        ("/bin/nosuch", ""),
        ("/etc", ""),
        ("/etc/passwd", ""),
        ("sh -c 'exit 42'", ""),
        ("sh -c 'kill -TERM $$'", ""),
        ("cat", "through a pipe\n"),
        ("sh -c 'umask; ulimit -n'", ""),
        ("sh -c 'cd /tmp && pwd; echo ~'", ""),
    ];
    for (command, input) in rows {
        let script = format!("{home}; {{}} exec {image} {command}; echo status $?");
        let (theirs, ours) = both(&script, input);
        assert_eq!(
            ours.stdout, theirs.stdout,
            "{command}: {ours:#?} {theirs:#?}"
        );
    }
    let wholes = [
        "{} exec /fixtures/nosuch.sif true",
        "{} exec -B /nosuch:/mnt /fixtures/bb.sif true",
        "{} exec -B /nosuch /fixtures/bb.sif true",
        "{} exec --pwd /nope /fixtures/bb.sif true",
        "{} exec --pwd /etc /fixtures/bb.sif pwd",
        "{} exec -B /usr/share:/a/b /fixtures/bb.sif ls /a/b",
        "{} exec --env A=1,B=2 /fixtures/bb.sif sh -c 'echo $A $B'",
        "APPTAINERENV_X='$(echo in)side' {} exec /fixtures/bb.sif sh -c 'echo $X'",
        "SINGULARITYENV_PREPEND_PATH=/first {} exec /fixtures/bb.sif sh -c 'echo $PATH'",
        "{} run /fixtures/bb.sif",
        "cd /usr/lib && {} exec /fixtures/bb.sif pwd",
    ];
    for whole in wholes {
        let (theirs, ours) = both(&format!("{home}; {whole}; echo status $?"), "");
        assert_eq!(ours.stdout, theirs.stdout, "{whole}: {ours:#?} {theirs:#?}");
    }
}

#[test]
fn the_same_environment() {
    for flags in ["", "-e", "-B /usr/share:/mnt"] {
        let script = format!(
            "export HOME=/home/slipway-tester USER=slipway-tester FOO='a b' LC_ALL=C TERM=xterm http_proxy=p; \
             cd $HOME; {{}} exec {flags} /fixtures/bb.sif env"
        );
        let (theirs, ours) = both(&script, "");
        let parse = |outcome: &Outcome| -> BTreeMap<String, String> {
            let pairs = outcome
                .stdout
                .lines()
                .filter_map(|line| line.split_once('='));
            // The prompt names the program.
            pairs
                .filter(|(name, _)| !["PS1", "PROMPT_COMMAND"].contains(name))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        assert_eq!(parse(&ours), parse(&theirs), "{flags}: {}", theirs.stderr);
    }
}

#[test]
fn sif_says_the_same() {
    let home = "cd /tmp && export TZ=UTC";
    let rows = [
        "{} sif header /fixtures/bb.sif",
        "{} sif list /fixtures/bb.sif",
        "{} sif info 1 /fixtures/bb.sif",
        "{} sif info 2 /fixtures/bb.sif",
        "{} sif info 3 /fixtures/bb.sif",
        "{} sif dump 2 /fixtures/bb.sif",
    ];
    for row in rows {
        let (theirs, ours) = both(&format!("{home}; {row}"), "");
        assert_eq!(ours.stdout, theirs.stdout, "{row}");
        assert_eq!(ours.code, theirs.code, "{row}");
    }
    // Each changes a copy of its own, and the real one lists the results.
    let change = "cp /fixtures/bb.sif $S && echo text >object && \
        {} sif add --datatype 7 $S object && \
        {} sif add --datatype 5 --groupid 1 --link 1 --signhash 1 \
            --signentity 433FE984155206BD962725E20E8713472A879943 $S object && \
        {} sif add --datatype 4 --parttype 4 --partfs 2 --partarch 2 --groupid 1 $S object && \
        {} sif add --datatype 6 --filename given --groupid 2 $S object && {} sif del 4 $S && \
        /usr/bin/apptainer sif list $S && for id in 5 6 7; do /usr/bin/apptainer sif info $id $S; done | \
            grep -v ' At: ' && {} exec $S cat /etc/os-release && {} sif new $S.new && \
        /usr/bin/apptainer sif list $S.new; rm -f $S $S.new object";
    let (theirs, ours) = both(&format!("{home}; S=changed-$$.sif; {change}"), "");
    assert!(
        ours.stdout.contains("Overlay") && ours.stdout.contains("NAME=bb"),
        "{ours:#?}"
    );
    assert_eq!(ours.stdout, theirs.stdout, "{ours:#?} {theirs:#?}");
}

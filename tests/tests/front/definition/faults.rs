//! Broken definition files: each gives one line with the file, the line and the fault.

use std::time::{Duration, Instant};

use tests::{open_directory, run, user_shell};

/// The texts, and the words of the error after `x.def:`. `B` is a base.
const ROWS: [(&str, &str); 31] = [
    ("", "1:1: the definition file is empty"),
    ("\n# x\n", "1:1: the definition file is empty"),
    ("docker\n", "1:1: header key docker had no val"),
    (
        "Bootstrap docker\n",
        "1:1: header key Bootstrap docker had no val",
    ),
    ("Bootstrap:\n", "1: no bootstrap specification found"),
    ("From: x\n", "1: no bootstrap specification found"),
    ("%post\ntrue\n", "1: no bootstrap specification found"),
    ("Bootstrap: nowhere\n", "1: invalid build source nowhere"),
    (
        "Boostrap: docker\n",
        "1:1: invalid header keyword found: boostrap; did you mean bootstrap?",
    ),
    (
        "BForm: x\n",
        "3:1: invalid header keyword found: form; did you mean from?",
    ),
    (
        "BOther_URL: x\n",
        "3:1: invalid header keyword found: other_url",
    ),
    (
        "BOtherURL: x\n",
        "3:1: invalid header keyword found: otherurl",
    ),
    (
        "B%pots\n",
        "3:1: invalid section(s) specified: pots; did you mean %post?",
    ),
    ("B%\n", "3:1: invalid section(s) specified: "),
    (
        "B%enviroment\n",
        "3:1: invalid section(s) specified: enviroment; did you mean %environment?",
    ),
    ("B%run script\n", "3:1: invalid section(s) specified: run"),
    (
        "B%apprun\n",
        "3:1: %apprun: the application's name is missing",
    ),
    ("B%appfoo x\n", "3:1: invalid section(s) specified: appfoo"),
    (
        "B%apprun ../../etc\n",
        "3:1: %apprun ../../etc: not the name of an application",
    ),
    (
        "B%files form one\n",
        "3:1: %files form one: expected %files, or %files from STAGE",
    ),
    (
        "B%files from one\n/x\n",
        "4: %files: stage one was not found above this one",
    ),
    (
        "B%files\nnone /opt\n",
        "4: %files: none: no such file or directory",
    ),
    (
        "B%files\n*.none /opt\n",
        "4: %files: *.none: no file matches",
    ),
    ("B%files\n[ /opt\n", "4: %files: [: "),
    (
        "B%files\nx.def /bin/busybox/x\n",
        "4: %files: x.def: not a directory",
    ),
    (
        "B%post\necho {{ A }}\n",
        "4:6: build var A is not defined through",
    ),
    (
        "B%post -c\ntrue\n",
        "3: bad post section '-c' parameter: missing arguments",
    ),
    (
        "B%post\nfalse\n",
        "4: while running %post section: exit status 1, after `false`",
    ),
    (
        "B%post\nif\n",
        "3: while running %post section: exit status 2",
    ),
    (
        "B%setup\nfalse\n",
        "3: failed to run %setup script: exit status 1",
    ),
    (
        "B%pre\nexit 4\n",
        "3: failed to run %pre script: exit status 4",
    ),
];

#[test]
fn each_gives_one_line() {
    let place = open_directory();
    let base = format!(
        "Bootstrap: localimage\nFrom: {}\n",
        tests::fixture("bb.sif").display()
    );
    for (text, words) in ROWS {
        let text = match text.strip_prefix('B') {
            Some(rest) if !text.starts_with("Bo") => format!("{base}{rest}"),
            _ => text.to_owned(),
        };
        std::fs::write(place.path().join("x.def"), &text).unwrap();
        let began = Instant::now();
        let seen = run(&mut user_shell(
            &place,
            "$front build x.sif x.def; echo $?; /bin/ls",
        ));
        assert!(began.elapsed() < Duration::from_secs(20), "{text}");
        assert_eq!(seen.stdout, "255\nx.def\n", "{text}: {seen:?}");
        let fatal: Vec<_> = { seen.stderr.lines() }
            .filter(|line| line.starts_with("FATAL:"))
            .collect();
        let [fatal] = fatal.as_slice() else {
            panic!("{text}: {seen:?}")
        };
        let expected = format!("FATAL:   x.def:{words}");
        assert!(
            fatal.starts_with(&expected),
            "{text}: {fatal}, expected {expected}"
        );
    }
}

#[test]
fn what_is_no_definition_file_is_named() {
    let place = open_directory();
    let seen = run(&mut user_shell(
        &place,
        "printf '\\377\\376x' > x.def; $front build x.sif x.def; echo $?; $front build x.sif none.def; echo $?; \
         echo text > t; $front exec t true; echo $?",
    ));
    assert_eq!(seen.stdout, "255\n255\n255\n", "{seen:?}");
    let lines: Vec<_> = { seen.stderr.lines() }
        .filter(|line| line.starts_with("FATAL:"))
        .collect();
    assert_eq!(lines[0], "FATAL:   x.def: is not UTF-8");
    assert!(
        lines[1].contains("none.def: no such file or directory"),
        "{lines:?}"
    );
    assert!(lines[2].contains("front build"), "{lines:?}");
}

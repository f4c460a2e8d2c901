//! Broken Dockerfiles: each gives one line with the file, the line and the fault.

use std::time::{Duration, Instant};

use tests::{run, saved, user_shell};

use super::context;

/// The texts, and the words of the error after `Dockerfile:`.
const ROWS: [(&str, &str); 25] = [
    ("", "1:1: there is no FROM"),
    ("# only\n", "1:1: there is no FROM"),
    ("RUN true\n", "1:1: RUN stands above the first FROM"),
    (
        "FORM BASE\n",
        "1:1: unknown instruction: FORM; did you mean FROM?",
    ),
    (
        "FROM BASE\nRNU true\n",
        "2:1: unknown instruction: RNU; did you mean RUN?",
    ),
    ("FROM\n", "1:1: FROM : expected FROM IMAGE"),
    ("FROM a b\n", "1:1: FROM a b: expected FROM IMAGE"),
    ("FROM ${NONE}\n", "1: "),
    ("FROM oci-archive:/none.tar\n", "1: /none.tar: "),
    (
        "FROM BASE\nRUN\n",
        "2:1: RUN requires at least one argument",
    ),
    (
        "FROM BASE\nCOPY a.txt\n",
        "2:1: COPY requires at least two arguments",
    ),
    (
        "FROM BASE\nCOPY --form=x a b\n",
        "2:1: COPY: unknown flag: --form; did you mean --from?",
    ),
    (
        "FROM BASE\nCOPY none /x\n",
        "2: none: no such file or directory",
    ),
    ("FROM BASE\nCOPY *.none /x\n", "2: *.none: no file matches"),
    ("FROM BASE\nCOPY ../x /x\n", "2: "),
    (
        "FROM BASE\nCOPY --from=7 /x /x\n",
        "2: --from=7: there is no stage 7 above",
    ),
    (
        "FROM BASE\nCOPY --chown=nobody-knows a.txt /x\n",
        "2: --chown=nobody-knows: the image has no user nobody-knows",
    ),
    (
        "FROM BASE\nCOPY --chmod=u+x a.txt /x\n",
        "2: --chmod=u+x: expected an octal mode",
    ),
    ("FROM BASE\nENV A\n", "2:1: ENV expects NAME=VALUE pairs"),
    ("FROM BASE\nENV A=${B\n", "2: ${B: the brace does not end"),
    ("FROM BASE\nSHELL sh\n", "2:1: SHELL expects a JSON array"),
    (
        "FROM BASE\n\nRUN true && \\\n  false\n",
        "3: RUN: exit status 1",
    ),
    (
        "FROM BASE\nRUN <<EOF\nx\n",
        "2:1: the here-document EOF does not end",
    ),
    (
        "FROM BASE\nRUN --mount=type=ssh true\n",
        "2: --mount=type=ssh is not supported",
    ),
    (
        "FROM BASE\nADD git@host:x /x\n",
        "2: ADD git@host:x: only files",
    ),
];

#[test]
fn each_gives_one_line() {
    let saved = saved();
    for (text, words) in ROWS {
        let place = context(text, &saved.path().join("oci.tar"));
        let began = Instant::now();
        let seen = run(&mut user_shell(
            &place,
            "$front build x.sif Dockerfile; echo $?; /bin/ls x.sif",
        ));
        assert!(began.elapsed() < Duration::from_secs(20), "{text}");
        assert_eq!(seen.stdout, "255\n", "{text}: {seen:?}");
        let fatal: Vec<_> = { seen.stderr.lines() }
            .filter(|line| line.starts_with("FATAL:"))
            .collect();
        let [fatal] = fatal.as_slice() else {
            panic!("{text}: {seen:?}")
        };
        let expected = format!("FATAL:   Dockerfile:{words}");
        assert!(
            fatal.starts_with(&expected),
            "{text}: {fatal}, expected {expected}"
        );
    }
}

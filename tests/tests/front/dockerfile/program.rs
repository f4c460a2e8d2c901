//! The programs of images from Dockerfiles, secrets, and attacks.

use tests::{run, saved, succeed, user_shell};

use super::context;

#[test]
fn a_program_has_the_environment_and_the_arguments() {
    let saved = saved();
    let text = "FROM BASE\nENV FINAL=1\nENTRYPOINT [\"sh\", \"-c\", \"echo $0 $FINAL $*\"]\nCMD [\"cmd\"]\n";
    let place = context(text, &saved.path().join("oci.tar"));
    let words = "$front -q build x.sif docker-build:. && $front run x.sif; $front run x.sif x y; \
                 $front inspect --deffile x.sif | /usr/bin/head -2 | /usr/bin/tail -1";
    let seen = run(&mut user_shell(&place, words));
    assert_eq!(seen.stdout, "cmd 1\nx 1 y\nENV FINAL=1\n", "{seen:?}");
}

#[test]
fn a_secret_stays_outside() {
    let saved = saved();
    let text = "FROM BASE\nRUN --mount=type=secret,id=s cat /run/secrets/s | tr a-z A-Z > /seen\n\
                RUN --mount=type=secret,id=t,target=/t,required=true cat /t >> /seen\n";
    let place = context(text, &saved.path().join("oci.tar"));
    let words = "echo word > a; echo other > b; $front -q build --secret id=s,src=a --secret id=t,src=b x.sif Dockerfile; \
                 $front exec x.sif sh -c 'cat /seen /run/secrets/s /t'; $front -q build --secret id=s,src=a y.sif Dockerfile; echo $?";
    let seen = run(&mut user_shell(&place, words));
    assert_eq!(seen.stdout, "WORD\nother\n255\n", "{seen:?}");
    assert!(
        seen.stderr.contains(
            "Dockerfile:3: --mount=type=secret,id=t,target=/t,required=true: give it with --secret"
        ),
        "{seen:?}"
    );
}

#[test]
fn a_hostile_base_leads_nowhere() {
    let saved = saved();
    // Links of an image that lead to the host's files, where a build writes.
    let text = "FROM BASE AS evil\nRUN ln -s /var/tmp /opt/out && ln -sfn /var/tmp /srv && rm -rf /etc/motd && ln -s /var/tmp/victim /etc/motd\n\
                FROM evil\nCOPY a.txt /opt/out/evil-1\nCOPY a.txt /etc/motd\nADD t.tgz /srv/\nWORKDIR /opt/out/evil-2\nCOPY --from=evil /etc/motd /m\n";
    let place = context(text, &saved.path().join("oci.tar"));
    let seen = run(
        user_shell(&place, "$front -q build -s box Dockerfile; echo $?")
            .env("PATH", "/usr/bin:/bin"),
    );
    // The last instruction reads a link that leads to nothing within the stage.
    assert_eq!(seen.stdout, "255\n", "{seen:?}");
    assert!(seen.stderr.contains("Dockerfile:8: "), "{seen:?}");
    for name in ["evil-1", "evil-2", "victim", "a.txt", "sub"] {
        assert!(
            !std::path::Path::new("/var/tmp").join(name).exists(),
            "{name}"
        );
    }
}

#[test]
fn an_archive_leads_nowhere() {
    let saved = saved();
    let victim = tests::open_directory();
    std::fs::write(victim.path().join("test"), "precious").unwrap();
    let out = victim.path().display();
    // The image has a link to the host's directory; one archive writes through it, another links to a file there.
    let text = format!(
        "FROM BASE\nRUN mkdir /app && ln -s {out} /app/x && mkdir -p {out} && echo own > {out}/test\n\
         ADD a.tar /app/\nADD hard.tar /app/\nADD up.tar /app/\n"
    );
    let place = context(&text, &saved.path().join("oci.tar"));
    let make = "mkdir x && echo new > x/new && tar cf a.tar x/new && python3 -c \"import tarfile as t; \
        o = t.open('hard.tar', 'w'); i = t.TarInfo('hard'); i.type = t.LNKTYPE; i.linkname = 'x/test'; o.addfile(i); o.close(); \
        o = t.open('up.tar', 'w'); o.addfile(t.TarInfo('../up')); o.close()\"";
    succeed(
        std::process::Command::new("sh")
            .args(["-c", make])
            .current_dir(place.path()),
    );
    let seen = run(&mut user_shell(
        &place,
        "$front -q build -s box Dockerfile; echo $?",
    ));
    assert_eq!(seen.stdout, "255\n", "{seen:?}");
    assert!(
        seen.stderr
            .contains("Dockerfile:5: up.tar: ../up: a name with .."),
        "{seen:?}"
    );
    let whole = text.replace(
        "ADD up.tar /app/\n",
        "RUN cat /app/hard; echo changed >> /app/hard\n",
    );
    let place = context(&whole, &saved.path().join("oci.tar"));
    succeed(
        std::process::Command::new("sh")
            .args(["-c", make])
            .current_dir(place.path()),
    );
    let seen = run(&mut user_shell(
        &place,
        "$front -q build -s box Dockerfile; echo $?",
    ));
    assert_eq!(seen.stdout, "own\n0\n", "{seen:?}");
    assert_eq!(
        std::fs::read_to_string(victim.path().join("test")).unwrap(),
        "precious"
    );
    assert!(!victim.path().join("new").exists());
}

#[test]
fn a_command_changes_nothing_of_the_hosts() {
    let saved = saved();
    let text = "FROM BASE\nENV X=\"a,b=c\"\nCOPY a.txt /tmp/a\n\
        RUN cat /tmp/a && echo \"$X\" && rm -rf /tmp/* /var/tmp/* && touch /tmp/own\n\
        RUN --mount=type=bind,source=sub,target=/m,rw rm -r /m/d && echo new > /m/new && ls /m\n\
        RUN --mount=type=bind,target=/m ls /m/ignored /m/sub\nRUN cat; (sleep 1000 &); ls /tmp\n";
    let place = context(text, &saved.path().join("oci.tar"));
    let seen = run(&mut user_shell(
        &place,
        "export TMPDIR=/tmp; echo stdin | $front -q build -s box Dockerfile; echo $?; /bin/ls sub; /bin/ls -A box/tmp",
    ));
    let expected =
        "a\na,b=c\nc\nnew\n/m/ignored:\nkeep\nkeep.log\n\n/m/sub:\nc\nd\nown\n0\nc\nd\nown\n";
    assert_eq!(seen.stdout, expected, "{seen:?}");
}

#[test]
fn what_is_no_archive_is_copied() {
    let saved = saved();
    let text = "FROM BASE\nADD a.txt.gz /data.gz\nADD t*.tgz /t/\nADD links /l\n";
    let place = context(text, &saved.path().join("oci.tar"));
    succeed(
        std::process::Command::new("gzip")
            .arg("-k")
            .arg(place.path().join("a.txt")),
    );
    let words = "$front -q build -s box Dockerfile; /bin/zcat box/data.gz; /bin/ls box/t box/l";
    let seen = run(user_shell(&place, words).env("PATH", "/usr/bin:/bin"));
    assert_eq!(
        seen.stdout, "a\nbox/l:\na.txt\nl\nout\nup\n\nbox/t:\na.txt\nsub\n",
        "{seen:?}"
    );
}

#[test]
fn what_has_no_meaning_is_refused() {
    let saved = saved();
    let rows = [
        (
            "--section files",
            "FROM BASE\n",
            "--section: Dockerfile is a Dockerfile",
        ),
        (
            "--notest",
            "FROM BASE\n",
            "--notest: Dockerfile is a Dockerfile",
        ),
        (
            "",
            "FROM --platform=linux/s390x BASE\n",
            "Dockerfile:1: --platform=linux/s390x: choose",
        ),
        (
            "",
            "FROM BASE\nRUN --mount=sorce=sub,target=/m true\n",
            "Dockerfile:2: --mount=sorce=sub,target=/m: sorce is not",
        ),
        (
            "",
            "FROM BASE\nRUN --mount=type=secret,id=s,env=S true\n",
            "env is not supported for the type secret",
        ),
    ];
    for (flags, text, words) in rows {
        let place = context(text, &saved.path().join("oci.tar"));
        let seen = run(&mut user_shell(
            &place,
            &format!("$front -q build {flags} x.sif Dockerfile; echo $?"),
        ));
        assert_eq!(seen.stdout, "255\n", "{text}: {seen:?}");
        assert!(seen.stderr.contains(words), "{text}: {seen:?}");
    }
    let place = context("FROM BASE\n", &saved.path().join("oci.tar"));
    let seen = run(&mut user_shell(
        &place,
        "$front -q build --build-arg TYPO=1 x.sif Dockerfile; echo $?",
    ));
    assert_eq!(seen.stdout, "0\n", "{seen:?}");
    assert!(seen.stderr.contains("unused build args: TYPO"), "{seen:?}");
}

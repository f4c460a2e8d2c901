//! Images that an ordinary user builds from definition files, without any helper program unless a
//! test says so. That they are those of Apptainer is tested in `differential`.

mod bases;
mod cache;
mod ends;
mod faults;

use tests::{Outcome, open_directory, run, user_shell};

/// Writes a definition file on busybox's image to `x.def`.
pub(crate) fn write(place: &tempfile::TempDir, sections: &str) {
    let text = format!(
        "Bootstrap: localimage\nFrom: {}\n{sections}",
        tests::fixture("bb.sif").display()
    );
    std::fs::write(place.path().join("x.def"), text).unwrap();
}

/// Runs the ordinary user's commands beside `x.def`.
pub(crate) fn commands(place: &tempfile::TempDir, words: &str) -> Outcome {
    run(&mut user_shell(place, words))
}

#[test]
fn an_image_has_all_that_its_file_says() {
    let place = open_directory();
    std::fs::write(place.path().join("data"), "data\n").unwrap();
    write(
        &place,
        "%files\ndata /opt/data\n%post\nid -u; cat /opt/data; touch /opt/f; chown 5:6 /opt/f\n\
         echo 'export LATE=late' >> $APPTAINER_ENVIRONMENT\n\
         %environment\nexport A='a b'\n%runscript\necho \"$A $LATE $*\"\n%help\nHelp\n%labels\nAuthor me\n\
         %test\ntest -f /opt/f\n%apprun one\necho one \"$@\"\n",
    );
    for name in ["front", "apptainer", "singularity"] {
        let words = format!(
            "/bin/ln -sf $front {name}; front=$PWD/{name}; $front build x.sif x.def 2>err && \
             $front run x.sif x y && $front run --app one x.sif z && $front run-help x.sif && \
             $front inspect x.sif | /bin/grep Author && $front inspect --deffile x.sif | /usr/bin/head -1 && \
             $front test x.sif; echo $?; /bin/rm x.sif"
        );
        let seen = commands(&place, &words);
        let expected = "0\ndata\na b late x y\none z\nHelp\nAuthor: me\nBootstrap: localimage\n0\n";
        assert_eq!(seen.stdout, expected, "{name}: {seen:?}");
    }
}

#[test]
fn files_that_are_closed_to_their_owner_are_packed() {
    let place = open_directory();
    write(
        &place,
        "Stage: one\n%post\nmkdir -p /opt/d/e; echo x > /opt/d/e/f; chmod 0 /opt/d/e/f /opt/d/e /opt/d\n\
         Bootstrap: scratch\n%files from one\n/opt/d /opt/d\n/bin/busybox /bin/busybox\n",
    );
    let words = "$front -q build x.sif x.def && $front -q build -s x x.def && $front -q build y.sif x && \
        for image in x.sif x y.sif; do $front exec --fakeroot $image busybox ls -ld /opt/d /opt/d/e /opt/d/e/f | /usr/bin/cut -c1-10; done; \
        $front exec --fakeroot x busybox cat /opt/d/e/f";
    let seen = commands(&place, words);
    let modes = "d---------\nd---------\n----------\n".repeat(3);
    assert_eq!(seen.stdout, format!("{modes}x\n"), "{seen:?}");
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let place = open_directory();
    write(
        &place,
        "%post\nmkdir -p /opt/d; for i in 1 2 3; do echo $i > /opt/d/$i; done\n%environment\nexport A=1\n",
    );
    let words = "for name in a b; do SOURCE_DATE_EPOCH=1700000000 $front -q build $name.sif x.def 2>/dev/null; \
        /bin/sleep 1.1; done; /usr/bin/cmp a.sif b.sif && echo same";
    let seen = commands(&place, words);
    assert_eq!(seen.stdout, "same\n", "{seen:?}");
}

#[test]
fn an_existing_directory_is_changed_by_an_update_only() {
    let place = open_directory();
    write(&place, "%post\necho one > /opt/one\n");
    assert_eq!(commands(&place, "$front -q build -s box x.def").code, 0);
    write(&place, "%post\necho two > /opt/two; cat /opt/one\n");
    let seen = commands(&place, "$front -q build -s box x.def");
    assert!(seen.stderr.contains("box exists"), "{seen:?}");
    let seen = commands(
        &place,
        "$front -q build --update box x.def && /bin/ls box/opt",
    );
    assert_eq!(seen.stdout, "one\none\ntwo\n", "{seen:?}");
    let seen = commands(&place, "$front -q build -F -s box x.def; /bin/ls box/opt");
    assert!(seen.stderr.contains("cat /opt/one"), "{seen:?}");
    assert_eq!(seen.stdout, "one\ntwo\n", "the old one stays: {seen:?}");
    let seen = commands(&place, "$front -q build --update new x.def");
    assert!(seen.stderr.contains("new is not a directory"), "{seen:?}");
}

#[test]
fn owners_are_kept_if_root_builds() {
    let place = open_directory();
    write(&place, "%post\ntouch /opt/f && chown 5:6 /opt/f\n");
    let words = "$front -q build x.sif x.def && $front exec x.sif stat -c %u:%g /opt/f /etc";
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", words])
        .env("front", tests::program("front"));
    let seen = run(shell
        .current_dir(place.path())
        .stdin(std::process::Stdio::null()));
    assert_eq!(seen.stdout, "5:6\n0:0\n", "{seen:?}");
}

#[test]
fn what_a_flag_asks_for_is_done_or_refused() {
    let place = open_directory();
    write(&place, "%post\ntrue\n");
    let words = "$front -q build --mksquashfs-args '-comp gzip -Xcompression-level 1' x.sif x.def && \
        $front sif dump 3 x.sif | /usr/bin/od -An -tu2 -j20 -N2";
    let seen = run(user_shell(&place, words).env("PATH", "/usr/bin:/bin"));
    // Squashfs's number of gzip.
    assert_eq!(seen.stdout.trim(), "1", "{seen:?}");
    for flag in [
        "--encrypt",
        "--passphrase",
        "--pem-path x",
        "--json",
        "--data",
    ] {
        let seen = commands(
            &place,
            &format!("$front build {flag} y.sif x.def; echo $?; /bin/ls y.sif"),
        );
        assert_eq!(seen.stdout, "255\n", "{flag}: {seen:?}");
        let name = flag.split(' ').next().unwrap();
        assert!(
            seen.stderr.contains(&format!("{name} is refused: ")),
            "{flag}: {seen:?}"
        );
    }
}

#[test]
fn a_script_sees_and_changes_nothing_of_the_hosts() {
    let place = open_directory();
    write(
        &place,
        "%post\nls -A /tmp /var/tmp | grep -v : | grep . || echo none\ncat || true\nrm -rf /tmp/* /var/tmp/*\n\
         (sleep 1000 &)\n%test\nls -A /root /tmp\ntouch /tmp/x\n",
    );
    let words = "/bin/mkdir -p tmp; export TMPDIR=$PWD/tmp; $front -q build x.sif x.def < x.def; echo $?; \
        printf 'no\\n' > other; $front -q build --section nosuch y.sif x.def; echo $?; \
        $front -q build --secret id=a,src=other y.sif x.def; echo $?";
    let began = std::time::Instant::now();
    let seen = commands(&place, words);
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
    assert_eq!(
        seen.stdout, "none\n/root:\n\n/tmp:\n0\n255\n255\n",
        "{seen:?}"
    );
    assert!(
        seen.stderr
            .contains("--section nosuch: there is no such section"),
        "{seen:?}"
    );
    // Children that the caller had before are not the build's.
    let words = "/bin/sh -c '/bin/sleep 1000.75 & echo $! > pid; exec $front -q build -F x.sif x.def' >/dev/null; \
        kill $(/bin/cat pid) && echo there";
    let seen = commands(&place, words);
    assert_eq!(seen.stdout, "there\n", "{seen:?}");
}

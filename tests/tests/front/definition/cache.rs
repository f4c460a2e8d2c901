//! The build cache: a build that uses it gives what a build without it gives.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{fixture, open_directory, program, run, succeed, user_shell};

/// The sections of scripts, each with its shell.
const BUSYBOX: &str = "%post";
const DASH: &str = "%post -c /bin/dash -e";
const BASH: &str = "%post -c /bin/bash -e";

/// Makes an image of busybox's with dash and bash: a small one is looked through in no time.
fn shells(place: &Path) -> PathBuf {
    let root = place.join("root");
    let copy = "cp -a $bb $root && cp -L $py/usr/bin/dash $py/usr/bin/bash $root/bin/ && mkdir -p $root/lib64 $root/lib && \
        cp -L $py/lib64/ld-linux-* $root/lib64/ && cp -L $py/usr/lib/*-linux-gnu/libc.so.6 $py/usr/lib/*-linux-gnu/libtinfo.so.6 $root/lib/ && \
        $front -q build shells.sif $root";
    let mut shell = Command::new("sh");
    shell.args(["-c", copy]).current_dir(place);
    for (name, path) in [("bb", fixture("bb")), ("py", fixture("py")), ("root", root)] {
        shell.env(name, path);
    }
    shell.env("front", program("front"));
    succeed(shell.env("FRONT_CACHEDIR", place.join("roots-cache")));
    place.join("shells.sif")
}

/// Scripts, of which the second build changes `LAST`. Each says whether the second build goes on
/// from the middle.
const SCRIPTS: [(&[&str], &str, bool); 19] = [
    (
        &[BUSYBOX, DASH, BASH],
        "A=\"it's \\\"a\\\"  b\"; export B=\"$A\"; umask 027; mkdir -p /d/e; cd /d/e\nunset HOME\nsleep 1.5\n\
         echo LAST \"$A\" \"$PWD\" \"${HOME-none}\" > /out; env | grep ^B= >> /out; umask >> /out; touch f; ls -l /d >> /out",
        true,
    ),
    (
        &[BUSYBOX, DASH],
        "f() { echo \"in f $1\"; }\nsleep 1.5\nf LAST > /out",
        false,
    ),
    (
        &[BASH],
        "f() { echo \"in f $1\"; }\ndeclare -A M=([a b]='c d'); L=(1 '2 3')\nsleep 1.5\nf LAST > /out; echo \"${M[a b]}\" \"${L[@]}\" >> /out",
        true,
    ),
    (
        &[BUSYBOX, DASH],
        "echo 'f() { echo in f $1; }' > /lib.sh\n. /lib.sh\nsleep 1.5\nf LAST > /out",
        false,
    ),
    (
        &[BASH],
        "shopt -s extglob\neval 'g() { case $1 in +(a)) echo match;; esac; }'\nX=hello\nsleep 1.5\ng aa > /out; echo $X LAST >> /out",
        true,
    ),
    (
        &[BASH],
        "sleep 1.5\nfalse | cat\necho ${PIPESTATUS[0]} LAST > /out",
        false,
    ),
    (
        &[BASH],
        "sleep 1.5\nmkdir -p /x/y\ncd $_\npwd > /out; echo LAST >> /out",
        true,
    ),
    (
        &[BUSYBOX, DASH, BASH],
        "set +e\nsleep 1.5\nfalse\nf=$?; echo $f LAST > /out",
        true,
    ),
    (
        &[BUSYBOX, BASH],
        "sleep 1.5\ncat <<EOF > /out\na\n\tEOF\nb\nc\nEOF\necho LAST >> /out",
        true,
    ),
    (
        &[BASH],
        "sleep 1.5\ncat <<\"A B\" > /out\na\nA\nb\nA B\necho LAST >> /out",
        true,
    ),
    (
        &[BUSYBOX, DASH, BASH],
        "cd / # cat <<EOF\ntrap 'echo bye >> /out' EXIT\ncat > /out <<EOF\nhi\nEOF\nsleep 1.5\necho LAST >> /out",
        false,
    ),
    (
        &[BASH],
        "mkdir /y; pushd /y\nsleep 1.5\npopd\necho LAST > /out; pwd >> /out",
        false,
    ),
    (
        &[BUSYBOX, DASH, BASH],
        "true&&set -- a b\nsleep 1.5\necho \"$1\" LAST > /out",
        false,
    ),
    (
        &[DASH],
        "(sleep 0.5; exit 3) &\nsleep 1.5\nwait $! || echo failed > /out; echo LAST >> /out",
        false,
    ),
    (
        &[DASH],
        "mount -t tmpfs tmpfs /mnt; echo x > /mnt/f\nsleep 1.5\ncat /mnt/f > /out; echo LAST >> /out",
        false,
    ),
    (
        &[DASH],
        "mkdir /keep; echo data > /out; dd if=/dev/zero of=/big bs=1M seek=100 count=0\nsleep 1.5\nrm /big\nsleep 1.5\necho LAST >> /out",
        true,
    ),
    (
        &[BASH],
        "mkfifo -m 666 /f\nsleep 1.5\nstat -c %a /f > /out; echo LAST >> /out",
        true,
    ),
    (
        &[BUSYBOX, DASH, BASH],
        "if true; then\n  echo a > /a\nelse\n  echo b > /b\nfi\nfor i in 1 2; do\n  echo $i >> /c\ndone\nsleep 1.5\necho LAST \\\n  more > /out; cat /a /c >> /out",
        true,
    ),
    (
        &[BUSYBOX],
        "echo one > /one\nsleep 1.5\nrm /one; mkdir /one; ln -s /one /two\nsleep 1.5\necho LAST > /out; ls -ld /one /two | cut -c1-10 >> /out",
        true,
    ),
];

#[test]
fn a_script_goes_on_in_another_shell_as_if_it_were_the_same() {
    let place = open_directory();
    let image = shells(place.path());
    let mut rows = Vec::new();
    for (shells, script, goes_on) in SCRIPTS {
        rows.extend(shells.iter().map(|shell| (*shell, script, goes_on)));
    }
    let rows = std::sync::Mutex::new(rows.into_iter());
    std::thread::scope(|scope| {
        // Most of the time they sleep.
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let next = rows.lock().unwrap().next();
                    let Some(row) = next else { return };
                    check(&image, row);
                }
            });
        }
    });
}

fn check(image: &Path, (section, script, goes_on): (&str, &str, bool)) {
    let place = open_directory();
    let write = |last: &str| {
        let base = image.display().to_string();
        let script = script.replace("LAST", last);
        let text = format!("Bootstrap: localimage\nFrom: {base}\n{section}\n{script}\n");
        std::fs::write(place.path().join("x.def"), text).unwrap();
    };
    let build = |flags: &str, output: &str| {
        let words = format!(
            "export FRONT_CACHEDIR=$PWD/cache; $front build {flags} {output}.sif x.def >{output}.log 2>&1; echo $?; \
             $front exec {output}.sif cat /out 2>&1; $front exec {output}.sif ls -A / /opt"
        );
        run(user_shell(&place, &words).env("PATH", "/usr/bin:/bin")).stdout
    };
    write("one");
    build("", "first");
    write("two");
    let (cached, plain) = (build("", "cached"), build("--disable-cache", "plain"));
    let log = std::fs::read_to_string(place.path().join("cached.log")).unwrap();
    assert_eq!(cached, plain, "{section}: {script}\n{log}");
    assert!(plain.starts_with("0\n"), "{section}: {script}\n{plain}");
    let used = log.contains("Using cache");
    assert_eq!(used, goes_on, "{section}: {script}\n{log}");
}

/// The inputs of a step besides its text.
#[test]
fn another_input_is_another_step() {
    let place = open_directory();
    let base = fixture("bb.sif").display().to_string();
    std::fs::write(
        place.path().join("x.def"),
        format!(
            "Bootstrap: localimage\nFrom: {base}\n%arguments\nWHO=a\n%files\ndata /opt/data\n%post\n\
             sleep 1.5; echo \"{{{{ WHO }}}} $VER\" > /out; cat /opt/data >> /out\n"
        ),
    )
    .unwrap();
    let words = "export FRONT_CACHEDIR=$PWD/cache; build() { env $1 $front build -F $2 x.sif x.def > log 2>&1; \
        grep -c 'Using cache' log; $front exec x.sif cat /out; }; echo one > data; \
        build; build; touch data; build; build '' '--build-arg WHO=b'; build APPTAINERENV_VER=2; echo two > data; build";
    let seen = run(user_shell(&place, words).env("PATH", "/usr/bin:/bin"));
    let expected = "0\na \none\n1\na \none\n1\na \none\n0\nb \none\n0\na 2\none\n0\na \ntwo\n";
    assert_eq!(seen.stdout, expected, "{seen:?}");
}

/// Instructions of a Dockerfile, of which each build changes something.
#[test]
fn instructions_are_repeated_if_something_above_has_changed() {
    let place = open_directory();
    let saved = tests::saved();
    let archive = saved.path().join("oci.tar").display().to_string();
    let text = format!(
        "FROM oci-archive:{archive}\nARG A=1\nENV E=$A\nCOPY data /opt/\n\
         RUN --mount=type=bind,source=other,target=/opt/other sleep 1.5; cat /opt/data /opt/other > /out; echo $E >> /out\n\
         RUN echo last >> /out\n"
    );
    std::fs::write(place.path().join("Dockerfile"), text).unwrap();
    let words = "export FRONT_CACHEDIR=$PWD/cache; build() { $front build -F $1 x.sif Dockerfile > log 2>&1; \
        grep -c 'Using cache' log; grep FATAL log; $front exec x.sif cat /out; }; echo one > data; echo x > other; mkdir -m 700 closed; \
        build; build; build '--build-arg A=2'; echo two > data; build; echo y > other; build; \
        sed -i s/last/end/ Dockerfile; build";
    let seen = run(user_shell(&place, words).env("PATH", "/usr/bin:/bin"));
    let rows = [
        "0\none\nx\n1\nlast\n",
        "1\none\nx\n1\nlast\n",
        "0\none\nx\n2\nlast\n",
        "0\ntwo\nx\n1\nlast\n",
        "0\ntwo\ny\n1\nlast\n",
        "1\ntwo\ny\n1\nend\n",
    ];
    assert_eq!(seen.stdout, rows.concat(), "{seen:?}");
}

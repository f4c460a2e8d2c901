//! SIFs that `front` makes run under the real Apptainer, and Apptainer's under `front`; also signed
//! ones.

use std::fs;
use std::process::Command;

use tests::{Outcome, TESTER, TestDirectory, fixture, run, saved, succeed, tester};

struct Both {
    place: TestDirectory,
}

impl Both {
    fn apptainer(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
        command
            .arg(fixture("peers"))
            .arg(tester().to_string())
            .args([
                "/usr/bin/env",
                &format!("APPTAINER_KEYSDIR={}", self.place.there("theirs")),
            ])
            .args([
                &format!("APPTAINER_CACHEDIR={}", self.place.there("their-cache")),
                "/usr/bin/apptainer",
                "-q",
            ])
            .args(args);
        run(&mut command)
    }

    fn front(&self, args: &[&str]) -> Outcome {
        let mut command = self.place.front(&["-q"]);
        command.args(args);
        run(&mut command)
    }

    /// Checks that an image starts as an instance of Apptainer.
    fn starts_there(&self, name: &str) {
        let image = self.place.there(name);
        let script = "export APPTAINER_CONFIGDIR=$1; apptainer -s instance start $0 both && \
                      apptainer -s exec instance://both echo inside; apptainer -s instance stop both";
        let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
        command
            .arg(fixture("peers"))
            .arg(tester().to_string())
            .args(["/bin/sh", "-c", script, &image, &self.place.there("config")]);
        let outcome = run(&mut command);
        assert_eq!(outcome.stdout, "inside\n", "{name}: {outcome:?}");
    }

    /// Checks that both print the same about an image, each using its own copy.
    fn agree(&self, name: &str, program: &[&str], expected: &str) {
        let (here, there) = (self.place.file(name), self.place.there(name));
        let both = |args: &[&str], rest: &[&str]| {
            let ours = self.front(&[args, &[&here], rest].concat());
            let theirs = self.apptainer(&[args, &[&there], rest].concat());
            assert_eq!(
                (ours.code, theirs.code),
                (0, 0),
                "{name} {args:?}: {ours:?} {theirs:?}"
            );
            assert_eq!(ours.stdout, theirs.stdout, "{name} {args:?}");
            ours.stdout
        };
        assert_eq!(both(&["exec"], program), expected, "{name}");
        both(&["run"], &["echo", "ran"]);
        both(&["test"], &[]);
        both(&["inspect"], &[]);
        both(&["inspect", "-d"], &[]);
        both(&["inspect", "-r"], &[]);
        both(&["inspect", "-e"], &[]);
        both(&["sif", "list"], &[]);
        let document = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
        let ours = self.front(&["inspect", "--all", &here]);
        let theirs = self.apptainer(&["inspect", "--all", &there]);
        assert_eq!(document(&ours.stdout), document(&theirs.stdout), "{name}");
    }

    /// Checks that a signature by `front` is valid for both, until a byte changes.
    fn signed(&self, name: &str) {
        let (here, there) = (self.place.file(name), self.place.there(name));
        let unsigned = self.front(&["verify", &here]);
        assert!(unsigned.stderr.contains("is not signed"), "{unsigned:?}");
        assert_eq!(self.front(&["sign", &here]).code, 0);
        let (ours, theirs) = (
            self.front(&["verify", &here]),
            self.apptainer(&["verify", &there]),
        );
        assert_eq!(
            (ours.code, theirs.code),
            (0, 0),
            "{name}: {ours:?} {theirs:?}"
        );
        assert_eq!(ours.stdout, theirs.stdout, "{name}");
        assert!(ours.stdout.contains("Ours <us@example.org>"), "{ours:?}");
    }
}

/// Makes keys for both, each of which the other knows.
fn both() -> Both {
    let both = Both {
        place: TestDirectory::new(),
    };
    for directory in ["theirs", "their-cache"] {
        let mut install = Command::new("install");
        install.args(["-d", "-m", "700", "-o", TESTER, "-g", TESTER]);
        succeed(install.arg(both.place.file(directory)));
    }
    let ours = both.front(&[
        "key",
        "newpair",
        "-N",
        "Ours",
        "-E",
        "us@example.org",
        "-P",
        "",
    ]);
    assert_eq!(ours.code, 0, "{ours:?}");
    let theirs = both.apptainer(&[
        "key",
        "newpair",
        "-N",
        "Theirs",
        "-E",
        "them@example.org",
        "-P",
        "",
        "-U=false",
    ]);
    assert_eq!(theirs.code, 0, "{theirs:?}");
    let exported = both.front(&["key", "export", "-a", &both.place.file("ours.asc")]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let imported = both.apptainer(&["key", "import", &both.place.there("ours.asc")]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let imported = both.front(&["key", "import", &both.place.file("theirs/pgp-public")]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let listed = both.front(&["key", "list"]).stdout;
    assert!(
        listed.contains("Ours <us@example.org>") && listed.contains("Theirs <them@example.org>"),
        "{listed}"
    );
    both
}

#[test]
fn ours_run_under_apptainer() {
    let (saved, both) = (saved(), both());
    let oci = format!("oci:{}", saved.path().join("layout").display());
    let docker = format!(
        "docker-archive:{}",
        saved.path().join("docker.tar").display()
    );
    let (bb, py, old) = (fixture("bb"), fixture("py.sif"), fixture("bb.sif"));
    let ext = both.place.file("ext.img");
    succeed(Command::new("truncate").args(["-s", "16M", &ext]));
    succeed(
        Command::new("/usr/sbin/mkfs.ext3")
            .args(["-q", "-F", "-d"])
            .arg(&bb)
            .arg(&ext),
    );
    let sources: [(&str, &[&str], &str); 7] = [
        ("oci.sif", &[], &oci),
        ("gzip.sif", &["--compression", "gzip"], &oci),
        ("docker.sif", &[], &docker),
        ("bb.sif", &[], bb.to_str().unwrap()),
        ("again.sif", &[], old.to_str().unwrap()),
        ("ext.sif", &[], &ext),
        ("py.sif", &[], py.to_str().unwrap()),
    ];
    for (name, flags, source) in sources {
        let output = both.place.file(name);
        let built = both.front(&[&["build"], flags, &[&output, source]].concat());
        assert_eq!(built.code, 0, "{name}: {built:?}");
        if name == "py.sif" {
            let sum = [
                "python3",
                "-c",
                "import numpy; print(numpy.arange(5).sum())",
            ];
            both.agree(name, &sum, "10\n");
        } else {
            both.agree(name, &["cat", "/etc/os-release"], "NAME=bb\n");
        }
        both.signed(name);
        both.starts_there(name);
    }
    // A directory made from one, and a SIF from that.
    let (sandbox, sif) = (both.place.file("sandbox"), both.place.file("back.sif"));
    let built = both.front(&["build", "--sandbox", &sandbox, &oci]);
    assert_eq!(built.code, 0, "{built:?}");
    assert_eq!(both.front(&["run", &sandbox]).stdout, "it's $HOME\n");
    assert_eq!(both.front(&["build", &sif, &sandbox]).code, 0);
    both.agree("back.sif", &["cat", "/etc/os-release"], "NAME=bb\n");
    let unpacked = both.place.file("unpacked");
    assert_eq!(both.front(&["build", "--sandbox", &unpacked, &sif]).code, 0);
    assert_eq!(both.front(&["run", &unpacked]).stdout, "it's $HOME\n");
}

#[test]
fn apptainers_run_under_ours() {
    let (saved, both) = (saved(), both());
    let copy = both.place.file("layout");
    succeed(
        Command::new("cp")
            .arg("-r")
            .arg(saved.path().join("layout"))
            .arg(&copy),
    );
    let (oci, sandbox) = (
        format!("oci:{}", both.place.there("layout")),
        both.place.there("sandbox"),
    );
    let sources: [(&str, &[&str], &str); 5] = [
        ("oci.sif", &[], &oci),
        ("zstd.sif", &["--mksquashfs-args", "-comp zstd"], &oci),
        ("xz.sif", &["--mksquashfs-args", "-comp xz"], &oci),
        ("sandbox", &["--sandbox"], &oci),
        ("from.sif", &[], &sandbox),
    ];
    for (name, flags, source) in sources {
        let output = both.place.there(name);
        let built = both.apptainer(&[&["build"], flags, &[&output, source]].concat());
        assert_eq!(built.code, 0, "{name}: {built:?}");
        if name == "sandbox" {
            let here = both.place.file(name);
            assert_eq!(
                both.front(&["exec", &here, "cat", "/etc/os-release"])
                    .stdout,
                "NAME=bb\n"
            );
            continue;
        }
        both.agree(name, &["cat", "/etc/os-release"], "NAME=bb\n");
        // Signed by Apptainer, then by both. Both find a change.
        let (here, there) = (both.place.file(name), both.place.there(name));
        assert_eq!(both.apptainer(&["sign", &there]).code, 0);
        let (ours, theirs) = (
            both.front(&["verify", &here]),
            both.apptainer(&["verify", &there]),
        );
        assert_eq!(
            (ours.code, theirs.code),
            (0, 0),
            "{name}: {ours:?} {theirs:?}"
        );
        assert_eq!(ours.stdout, theirs.stdout, "{name}");
        assert!(
            ours.stdout.contains("Theirs <them@example.org>"),
            "{ours:?}"
        );
        let json = |outcome: Outcome| -> serde_json::Value {
            serde_json::from_str(&outcome.stdout).unwrap()
        };
        assert_eq!(
            json(both.front(&["verify", "-j", &here])),
            json(both.apptainer(&["verify", "-j", &there]))
        );
        let mut bytes = fs::read(&here).unwrap();
        bytes[40_000] ^= 1;
        fs::write(&here, &bytes).unwrap();
        let (ours, theirs) = (
            both.front(&["verify", &here]),
            both.apptainer(&["verify", &there]),
        );
        assert_eq!(
            (ours.code, theirs.code),
            (255, 255),
            "{name}: {ours:?} {theirs:?}"
        );
        assert!(
            ours.stderr.contains("was changed after it was signed"),
            "{ours:?}"
        );
    }
}

#[test]
fn a_signature_is_believed_only_for_what_it_says() {
    let both = both();
    let sif = both.place.file("bb.sif");
    fs::copy(fixture("bb.sif"), &sif).unwrap();
    fs::set_permissions(&sif, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert_eq!(both.front(&["sign", &sif]).code, 0);
    let original = fs::read(&sif).unwrap();
    let refused = |what: &str, words: &str| {
        let outcome = both.front(&["verify", &sif]);
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (255, 1),
            "{what}: {outcome:?}"
        );
        assert!(outcome.stderr.contains(words), "{what}: {outcome:?}");
    };
    // One more object in the group, which nobody has signed.
    fs::write(both.place.file("more"), "more").unwrap();
    let more = both.place.file("more");
    succeed(&mut both.place.front(&[
        "sif",
        "add",
        "--datatype",
        "7",
        "--groupid",
        "1",
        &sif,
        &more,
    ]));
    refused("an object more", "was changed after it was signed");
    fs::write(&sif, &original).unwrap();
    // One less.
    succeed(&mut both.place.front(&["sif", "del", "2", &sif]));
    refused("an object less", "was changed after it was signed");
    // The identity of another image.
    let mut other = original.clone();
    other[50] ^= 1;
    fs::write(&sif, &other).unwrap();
    refused("another identity", "the header was changed");
    // Another descriptor: the partition's architecture.
    let mut other = original.clone();
    let place = 4096 + 2 * 585 + 209;
    other[place + 1] ^= 1;
    fs::write(&sif, &other).unwrap();
    refused("another descriptor", "object 3 was changed");
    // Two objects with the same number, one of which nobody looks at.
    let mut other = original.clone();
    other[4096 + 585 + 5] = 3;
    fs::write(&sif, &other).unwrap();
    refused("a number twice", "several objects of id 3");
    // A second primary partition, which is in no group, in front of the signed one.
    let mut other = original.clone();
    let (first, third) = (4096, 4096 + 2 * 585);
    let spare = 4096 + 10 * 585;
    other.copy_within(first..first + 585, spare);
    other.copy_within(third..third + 585, first);
    other[first + 5] = 9;
    other[first + 9..first + 13].copy_from_slice(&[0, 0, 0, 0xf0]);
    fs::write(&sif, &other).unwrap();
    refused("a second primary", "one primary partition");
    // A changed text.
    let at = original
        .windows(8)
        .rposition(|part| part == b"sha256:3")
        .or_else(|| original.windows(7).rposition(|part| part == b"sha256:"));
    let mut other = original.clone();
    other[at.unwrap() + 8] ^= 1;
    fs::write(&sif, &other).unwrap();
    refused("another text", "did not sign this text");
    // A key that nobody knows.
    fs::write(&sif, &original).unwrap();
    assert_eq!(
        both.front(&["key", "remove", "--both", &fingerprint(&both)])
            .code,
        0
    );
    refused("a key that is gone", "front key import");
}

fn fingerprint(both: &Both) -> String {
    let listed = both.front(&["key", "list", "--secret"]).stdout;
    let line = listed
        .lines()
        .find(|line| line.contains("Fingerprint"))
        .unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

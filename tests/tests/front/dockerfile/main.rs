//! Images from Dockerfiles: those of `front`, as an ordinary user without helper programs, are compared
//! to those of buildah.

mod faults;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::{Outcome, open_directory, run, saved, succeed, user_shell};

const CASES: &str = include_str!("cases.txt");

/// The commands that make the context.
const CONTEXT: &str = "umask 022; mkdir -p sub/d links ignored/keep; echo a > a.txt; echo b > b.txt; echo c > sub/c; \
    echo e > sub/d/e; echo blank > 'with blank'; printf '#!/bin/sh\\n' > exec.sh; chmod 755 exec.sh; chmod 750 sub/d; \
    ln -s ../a.txt links/up; echo l > links/l; ln -s l links/a.txt; ln -s /etc/passwd links/out; \
    touch ignored/x.log ignored/keep/y ignored/keep.log ignored/z; \
    printf '*.log\\n**/*.log\\n!ignored/keep.log\\nignored/z\\n' > .dockerignore; \
    tar czf t.tgz a.txt sub; tar cf t.tar b.txt links";

/// Files that only `front` adds, and those of a running container.
const OWN: [&str; 12] = [
    ".singularity.d",
    "environment",
    "singularity",
    ".exec",
    ".run",
    ".shell",
    ".test",
    "dev",
    "proc",
    "sys",
    "etc/hostname",
    "run",
];

struct Case {
    name: &'static str,
    args: &'static str,
    /// The contents of files, if buildah is not asked.
    expected: BTreeMap<String, String>,
    text: String,
}

fn cases() -> impl Iterator<Item = Case> {
    CASES.split("\n=== ").skip(1).map(|part| {
        let (name, mut text) = part.split_once('\n').unwrap();
        let mut take = |word: &str| {
            let (line, rest) = text.strip_prefix(word)?.split_once('\n')?;
            text = rest;
            Some(line)
        };
        let args = take("args: ").unwrap_or_default();
        let expected = serde_json::from_str(take("expect: ").unwrap_or("{}")).unwrap();
        Case {
            name,
            args,
            expected,
            text: format!("{}\n", text.trim_end()),
        }
    })
}

/// Directories of each image, and files in them, that one without a base lacks.
const BARE: [&str; 8] = [
    "home",
    "root",
    "var",
    "var/tmp",
    "tmp",
    "etc",
    "etc/hosts",
    "etc/resolv.conf",
];

/// Makes a context, with a Dockerfile whose base is an archive.
pub(crate) fn context(text: &str, archive: &Path) -> tempfile::TempDir {
    let place = open_directory();
    let mut shell = Command::new("sh");
    succeed(shell.args(["-c", CONTEXT]).current_dir(place.path()));
    succeed(
        Command::new("chown")
            .arg("-R")
            .arg(tests::TESTER)
            .arg(place.path()),
    );
    let base = format!("oci-archive:{}", archive.display());
    std::fs::write(place.path().join("Dockerfile"), text.replace("BASE", &base)).unwrap();
    place
}

/// Builds with `front` as the ordinary user, to the directory `made`.
pub(crate) fn front(place: &tempfile::TempDir, args: &str) -> Outcome {
    let made = open_directory();
    let to = made.path().join("made").display().to_string();
    let words = format!(
        "$front -q build -s {args} {to} Dockerfile; code=$?; [ $code = 0 ] || exit $code; echo {to}"
    );
    // tar unpacks archives.
    let outcome = run(user_shell(place, &words).env("PATH", "/usr/bin:/bin"));
    let _ = made.keep();
    outcome
}

/// Returns a tree's files: modes, sizes of files, names, targets of links.
fn listed(tree: &Path) -> BTreeSet<String> {
    let mut find = Command::new("find");
    find.arg(tree).args([
        "-type",
        "f",
        "-printf",
        "%M %s %P\n",
        "-o",
        "-printf",
        "%M %P %l\n",
    ]);
    let text = succeed(&mut find);
    let lines = text.lines().filter(|line| {
        !OWN.iter().any(|own| {
            line.split(' ')
                .any(|word| word == *own || word.starts_with(&format!("{own}/")))
        })
    });
    lines.map(str::to_owned).collect()
}

fn remove(made: &Path) {
    let above = made.parent().unwrap();
    assert!(above.starts_with("/var/tmp/"));
    succeed(Command::new("rm").arg("-rf").arg(above));
}

/// buildah, with a storage of its own.
struct Buildah(tempfile::TempDir);

impl Buildah {
    fn run(&self, place: &Path, args: &[&str]) -> Outcome {
        let mut buildah = Command::new("buildah");
        let at = |name: &str| self.0.path().join(name).display().to_string();
        buildah
            .args([
                "--root",
                &at("storage"),
                "--runroot",
                &at("run"),
                "--storage-driver",
                "vfs",
            ])
            .args(args)
            .current_dir(place)
            .stdin(Stdio::null());
        run(&mut buildah)
    }

    /// Builds an image. Returns its directory, variables and labels.
    fn build(&self, place: &Path, args: &str) -> Result<(PathBuf, Vec<String>), Outcome> {
        let mut words = vec!["bud", "--isolation", "chroot", "-q", "-t", "made"];
        words.extend(args.split_whitespace());
        words.push(".");
        let built = self.run(place, &words);
        if built.code != 0 {
            return Err(built);
        }
        let container = self.run(place, &["from", "localhost/made"]).stdout;
        let container = container.trim();
        let tree = self.run(place, &["mount", container]).stdout;
        let told = self.run(place, &["inspect", container]).stdout;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let config = &told["OCIv1"]["config"];
        let env = config["Env"].as_array().into_iter().flatten();
        let env = env.map(|one| one.as_str().unwrap().to_owned());
        let labels = config["Labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(name, value)| format!("{name}: {}", value.as_str().unwrap()));
        Ok((
            tree.trim().into(),
            env.chain(labels.filter(|one| !one.starts_with("io.buildah")))
                .collect(),
        ))
    }
}

#[test]
fn images_are_those_of_buildah() {
    let saved = saved();
    let archive = saved.path().join("oci.tar");
    let mut wrong = String::new();
    let mut count = 0;
    for Case {
        name,
        args,
        expected,
        text,
    } in cases()
    {
        count += 1;
        let place = context(&text, &archive);
        let buildah = Buildah(tempfile::tempdir_in("/var/tmp").unwrap());
        let ours = front(&place, args);
        if !expected.is_empty() {
            assert_eq!(ours.code, 0, "{name}: {ours:?}");
            let made = PathBuf::from(ours.stdout.lines().last().unwrap());
            for (path, content) in expected {
                let seen = std::fs::read_to_string(made.join(&path)).unwrap_or_default();
                assert_eq!(seen, content, "{name}: {path}");
            }
            remove(&made);
            continue;
        }
        let theirs = buildah.build(place.path(), args);
        let (tree, told) = match theirs {
            Ok(theirs) if ours.code == 0 => theirs,
            theirs => {
                let _ = writeln!(wrong, "=== {name}\nbuildah: {theirs:?}\nfront: {ours:?}");
                continue;
            }
        };
        let made = PathBuf::from(ours.stdout.lines().last().unwrap());
        let (expected, seen) = (listed(&tree), listed(&made));
        for line in expected.symmetric_difference(&seen) {
            let is_bare = |line: &str| {
                line.split(' ')
                    .any(|word| word.is_empty() || BARE.contains(&word))
            };
            if name == "scratch" && is_bare(line) {
                continue;
            }
            let of = if seen.contains(line) {
                "front"
            } else {
                "buildah"
            };
            let _ = writeln!(wrong, "=== {name}\n{of} has {line}");
        }
        for line in expected.iter().filter(|line| line.starts_with('-')) {
            let path = line.splitn(3, ' ').nth(2).unwrap();
            let read = |tree: &Path| std::fs::read(tree.join(path)).unwrap_or_default();
            if read(&tree) != read(&made) {
                let text = String::from_utf8_lossy(&read(&made)).into_owned();
                let _ = writeln!(wrong, "=== {name}\n{path} has {text:?}");
            }
        }
        let shown = made.display();
        let words = format!("$front exec --cleanenv {shown} env; $front inspect {shown}");
        let seen = run(&mut user_shell(&place, &words)).stdout;
        for line in told {
            // front adds the usual directories at the end.
            let is_there =
                |own: &str| own == line || line.starts_with("PATH=") && own.starts_with(&line);
            if !name.starts_with("scratch") && !seen.lines().any(is_there) {
                let _ = writeln!(wrong, "=== {name}\n{line} is not in {seen}");
            }
        }
        remove(&made);
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 30, "{count}");
}

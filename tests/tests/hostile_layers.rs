//! Layers that nobody of good will would make: they are unpacked safely, or refused in one line.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::{Member, Outcome, front, layer, layout, run, succeed};

/// A place with something outside of what is unpacked, which nothing may change.
struct Place {
    home: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "as it was").unwrap();
        let mut place = Self {
            home,
            before: BTreeMap::new(),
        };
        succeed(
            Command::new("chmod")
                .args(["-R", "a+rwX"])
                .arg(place.file("outside")),
        );
        place.before = place.outside();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn outside(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.file("outside")];
        while let Some(path) = open.pop() {
            let stat = path.symlink_metadata().unwrap();
            let content = fs::read_to_string(&path).unwrap_or_default();
            found.insert(
                path.clone(),
                format!("{:o} {} {content}", stat.mode(), stat.nlink()),
            );
            if stat.is_dir() {
                open.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
        }
        found
    }

    fn image(&self, layers: &[Vec<Member>]) {
        let files: Vec<PathBuf> = (0..layers.len())
            .map(|number| self.file(&format!("layer{number}")))
            .collect();
        for (file, members) in files.iter().zip(layers) {
            fs::write(file, layer(members)).unwrap();
        }
        let _ = fs::remove_dir_all(self.file("image"));
        let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        layout(&self.file("image"), &paths);
    }

    fn build(&self, flags: &[&str]) -> Outcome {
        let (output, source) = (
            self.file("out"),
            format!("oci:{}", self.file("image").display()),
        );
        let _ = Command::new("chmod")
            .args(["-R", "u+rwx"])
            .arg(&output)
            .stderr(Stdio::null())
            .status();
        let _ = fs::remove_dir_all(&output);
        let _ = fs::remove_file(&output);
        let mut command = front(["-q", "build"]);
        command.args(flags).arg(output).arg(source);
        command.env("FRONT_CACHEDIR", self.file("cache"));
        run(&mut command)
    }

    /// It is unpacked, or refused in one line; nothing outside changes, and nothing is left.
    fn is_safe(&self, what: &str) {
        for flags in [&[][..], &["--sandbox"], &["--sandbox", "--fix-perms"]] {
            let outcome = self.build(flags);
            assert!(!outcome.stderr.contains("panick"), "{what}: {outcome:?}");
            match outcome.code {
                0 => assert!(self.file("out").exists(), "{what}"),
                255 => {
                    assert_eq!(outcome.stderr.lines().count(), 1, "{what}: {outcome:?}");
                    assert!(
                        self.file("out").symlink_metadata().is_err(),
                        "{what}: half of it"
                    );
                }
                _ => panic!("{what}: {outcome:?}"),
            }
            assert_eq!(self.outside(), self.before, "{what} {flags:?}");
        }
        let mut left: Vec<_> = fs::read_dir(self.home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        left.sort();
        assert_eq!(left, [""; 0], "{what}");
    }
}

#[test]
fn no_name_and_no_link_leads_outside() {
    let place = Place::new();
    let outside = place.file("outside");
    let outside = outside.as_os_str().as_encoded_bytes();
    let at = |name: &[u8]| [outside, b"/", name].concat();
    let up = |name: &[u8]| [&b"../".repeat(40), name].concat();
    let secret = |prefix: &[u8]| [prefix, &outside[1..], b"/secret"].concat();
    let file = |name: &[u8]| Member::file(name, b"changed");
    let cases: Vec<(&str, Vec<Vec<Member>>)> = vec![
        ("a parent", vec![vec![file(b"../outside/secret")]]),
        ("many parents", vec![vec![file(&secret(&up(b"")))]]),
        (
            "a parent in the middle",
            vec![vec![file(b"a/b/../../../outside/secret")]],
        ),
        ("an absolute name", vec![vec![file(&at(b"secret"))]]),
        (
            "a link to a directory outside, and a file in it",
            vec![vec![
                Member::link(b'2', b"a", outside),
                file(b"a/secret"),
                file(b"a/new"),
            ]],
        ),
        (
            "the same in two layers",
            vec![
                vec![Member::link(b'2', b"a", outside)],
                vec![file(b"a/secret"), file(b"a/new")],
            ],
        ),
        (
            "links through links",
            vec![vec![
                Member::link(b'2', b"a", b".."),
                Member::link(b'2', b"b", b"a/.."),
                Member::link(b'2', b"c", b"b/../../../../../../../../../.."),
                file(&[b"c/", &outside[1..], b"/secret"].concat()),
            ]],
        ),
        (
            "a link that is a file's own name",
            vec![vec![Member::link(b'2', b"a", &at(b"secret")), file(b"a")]],
        ),
        (
            "the same in two layers, as a file",
            vec![
                vec![Member::link(b'2', b"a", &at(b"secret"))],
                vec![file(b"a")],
            ],
        ),
        (
            "a hard link outside",
            vec![vec![Member::link(b'1', b"a", &at(b"secret")), file(b"a")]],
        ),
        (
            "a hard link by parents",
            vec![vec![
                Member::link(b'1', b"a", b"../outside/secret"),
                file(b"a"),
            ]],
        ),
        (
            "a hard link to a link outside",
            vec![vec![
                Member::link(b'2', b"s", &at(b"secret")),
                Member::link(b'1', b"a", b"s"),
                file(b"a"),
            ]],
        ),
        (
            "a hard link through a link",
            vec![vec![
                Member::link(b'2', b"s", outside),
                Member::link(b'1', b"a", b"s/secret"),
                file(b"a"),
            ]],
        ),
        (
            "a whiteout of a parent",
            vec![
                vec![file(b"x")],
                vec![
                    file(b"../outside/.wh.secret"),
                    file(b".wh..."),
                    file(b".wh.."),
                    file(b"a/.wh..wh..opq"),
                ],
            ],
        ),
        (
            "a whiteout through a link",
            vec![
                vec![Member::link(b'2', b"a", outside)],
                vec![file(b"a/.wh.secret"), file(b"a/.wh..wh..opq")],
            ],
        ),
        (
            "devices",
            vec![vec![
                Member {
                    kind: b'3',
                    ..file(b"null")
                },
                Member {
                    kind: b'4',
                    ..file(b"sda")
                },
                Member::link(b'1', b"a", b"null"),
                file(b"null/x"),
                Member {
                    kind: b'6',
                    ..file(b"fifo")
                },
            ]],
        ),
        (
            "a directory that is a link's",
            vec![
                vec![Member::link(b'2', b"a", outside)],
                vec![
                    Member {
                        kind: b'5',
                        mode: 0o777,
                        ..file(b"a")
                    },
                    file(b"a/secret"),
                ],
            ],
        ),
        (
            "the root itself",
            vec![vec![
                Member {
                    kind: b'5',
                    mode: 0,
                    ..file(b"./")
                },
                Member::link(b'2', b".", outside),
                file(b"/"),
                file(b""),
            ]],
        ),
        (
            "Singularity's own place",
            vec![vec![
                Member::link(b'2', b".singularity.d", outside),
                Member::link(b'2', b"environment", &at(b"secret")),
                Member::link(b'2', b"singularity", &at(b"secret")),
                Member::link(b'2', b"etc", outside),
            ]],
        ),
    ];
    for (what, layers) in cases {
        place.image(&layers);
        place.is_safe(what);
    }
}

#[test]
fn names_may_be_any_bytes() {
    let place = Place::new();
    let long = b"x".repeat(255);
    let deep = b"d/".repeat(600);
    let names: Vec<Vec<u8>> = vec![
        b"new\nline".to_vec(),
        b"\xff\xfe invalid".to_vec(),
        b"\x1b[31mred".to_vec(),
        b"-rf".to_vec(),
        b"a b".to_vec(),
        b"'\"$(id)`id`\\".to_vec(),
        long,
    ];
    let members: Vec<Member> = names.iter().map(|name| Member::file(name, name)).collect();
    place.image(std::slice::from_ref(&members));
    let outcome = place.build(&["--sandbox"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for name in &names {
        use std::os::unix::ffi::OsStrExt;
        let path = place.file("out").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), *name, "{}", path.display());
    }
    place.is_safe("odd names");
    for name in [
        [deep.as_slice(), b"file"].concat(),
        b"y".repeat(300),
        b"a\0b".to_vec(),
    ] {
        place.image(&[vec![Member::file(&name, b"x")]]);
        place.is_safe("a name that no file system takes");
    }
}

#[test]
fn a_name_of_megabytes_is_refused_before_it_is_read() {
    let place = Place::new();
    let long = Member {
        kind: b'L',
        ..Member::file(b"././@LongLink", &[b'a'; 10_000_000])
    };
    place.image(&[vec![long, Member::file(b"a", b"x")]]);
    let outcome = place.build(&[]);
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert!(
        outcome.stderr.contains("more than four mebibytes"),
        "{outcome:?}"
    );
    place.image(&[vec![Member::file(&b"a/".repeat(100_000), b"x")]]);
    place.is_safe("a hundred thousand directories deep");
}

#[test]
fn set_id_bits_and_closed_directories_do_no_harm() {
    let place = Place::new();
    let closed = Member {
        kind: b'5',
        mode: 0,
        ..Member::file(b"closed", b"")
    };
    let setuid = Member {
        mode: 0o6755,
        ..Member::file(b"closed/su", b"x")
    };
    place.image(&[vec![closed, setuid]]);
    place.is_safe("a closed directory");
    let outcome = place.build(&["--sandbox", "--fix-perms"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let mode = fs::metadata(place.file("out/closed/su")).unwrap().mode();
    assert_eq!(mode & 0o6000, 0, "{mode:o}");
}

#[test]
fn a_bomb_of_a_billion_zeros_takes_little() {
    let place = Place::new();
    let file = place.file("layer0");
    // A tar of one file of a billion zeros, packed by gzip to a megabyte.
    let script = format!(
        "truncate -s 1000000000 zeros && tar -c zeros | gzip -1 >{} && rm zeros",
        file.display()
    );
    succeed(
        Command::new("sh")
            .args(["-c", &script])
            .current_dir(place.home.path()),
    );
    layout(&place.file("image"), &[&file]);
    let outcome = place.build(&[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let size = fs::metadata(place.file("out")).unwrap().len();
    assert!(size < 1_000_000, "{size}");
    // A sparse file of an exbibyte in two blocks: there is no end to it.
    let mut sparse = Member {
        kind: b'S',
        ..Member::file(b"sparse", b"")
    };
    sparse.name.resize(100, 0);
    let mut tar = Vec::new();
    sparse.write(&mut tar);
    tar[257..265].copy_from_slice(b"ustar  \0");
    for (at, number) in [(386, 1_u64 << 60), (398, 0), (483, 1 << 60)] {
        let mut field = [0_u8; 12];
        field[0] = 0x80;
        field[4..].copy_from_slice(&number.to_be_bytes());
        tar[at..at + 12].copy_from_slice(&field);
    }
    tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend([0; 1024]);
    fs::write(&file, tar).unwrap();
    fs::remove_dir_all(place.file("image")).unwrap();
    layout(&place.file("image"), &[&file]);
    let outcome = place.build(&[]);
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert!(
        outcome.stderr.contains("more than a tebibyte"),
        "{outcome:?}"
    );
}

#[test]
fn a_million_tiny_files_are_packed() {
    let place = Place::new();
    let file = place.file("layer0");
    let mut tar = std::io::BufWriter::new(fs::File::create(&file).unwrap());
    for number in 0..1_000_000 {
        let name = format!("{}/{}/{number}", number / 10_000, number / 100 % 100);
        Member::file(name.as_bytes(), b"x").write(&mut tar);
    }
    tar.write_all(&[0; 1024]).unwrap();
    drop(tar);
    layout(&place.file("image"), &[&file]);
    let outcome = place.build(&[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let sif = place.file("out");
    let mut find = front(["exec"]);
    find.arg(&sif).args(["/nosuch"]);
    let outcome = run(&mut find);
    assert_eq!(
        outcome.code, 255,
        "it opens, and has no program: {outcome:?}"
    );
}

#[test]
fn what_is_no_layer_is_refused() {
    let place = Place::new();
    let contents: [(&str, Vec<u8>); 4] = [
        (
            "noise",
            (0..5000_u32)
                .map(|number| ((number * 7919) >> 3) as u8)
                .collect(),
        ),
        (
            "a gzip that ends",
            vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3],
        ),
        (
            "a zstd that ends",
            vec![0x28, 0xb5, 0x2f, 0xfd, 0x24, 0xff, 1, 2],
        ),
        (
            "a tar that ends",
            layer(&[Member::file(b"a", &[7; 5000])])[..2000].to_vec(),
        ),
    ];
    for (what, content) in contents {
        let file = place.file("layer0");
        fs::write(&file, content).unwrap();
        let _ = fs::remove_dir_all(place.file("image"));
        layout(&place.file("image"), &[&file]);
        let outcome = place.build(&[]);
        assert_eq!(outcome.code, 255, "{what}: {outcome:?}");
        place.is_safe(what);
    }
}

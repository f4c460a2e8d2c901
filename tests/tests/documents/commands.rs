//! The blocks of commands in the pages, typed line by line by somebody who has what they name.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tests::{
    Cluster, Registry, TESTER, TestDirectory, as_tester, fixture, release_file, run, saved,
    succeed, tester,
};

use super::{documents, top};

/// A block of code: its language, and its lines.
struct Block {
    language: String,
    lines: Vec<String>,
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    lines: Vec::new(),
                });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.lines.push(line.to_owned());
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block has no end", page.display());
    blocks
}

/// Returns the commands of a page.
fn commands(page: &str) -> Vec<String> {
    let blocks = blocks(&top().join(page)).into_iter();
    let commands: Vec<String> = blocks
        .filter(|block| block.language == "sh")
        .flat_map(|block| block.lines)
        .collect();
    assert!(!commands.is_empty(), "{page}");
    commands
}

#[test]
fn each_block_has_a_language() {
    for page in documents(&top()) {
        for block in blocks(&page) {
            let known = ["sh", "text", "toml"].contains(&block.language.as_str());
            assert!(known, "{}: {:?}", page.display(), block.lines);
        }
    }
}

/// The things that the pages name: images, programs, sources, a directory for the host's data, a cluster.
struct Newcomer {
    place: TestDirectory,
    cluster: Cluster,
    _registry: Registry,
}

impl Newcomer {
    fn new() -> Self {
        let (place, registry) = (TestDirectory::new(), Registry::start());
        registry.push(&saved().path().join("layout"), "library/alpine:latest");
        let site = format!(
            "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"localhost:{}\"\n",
            registry.port()
        );
        let definition = "Bootstrap: docker\nFrom: alpine\n%arguments\n    VERSION=1.0\n%post\n    echo {{ VERSION }} > /version\n";
        for (name, text) in [
            ("front.toml", site.as_str()),
            ("train.py", "print('trained')\n"),
            ("python", "#!/bin/sh\nexec python3 \"$@\"\n"),
            ("app.def", definition),
            ("Dockerfile", "FROM alpine\nRUN echo 1 > /version\n"),
            ("DIRECTORY/Dockerfile", "FROM alpine\nCOPY file /\n"),
            ("DIRECTORY/file", ""),
        ] {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let tarball = release_file("-linux.tar.gz");
        fs::copy(&tarball, place.path().join(tarball.file_name().unwrap())).unwrap();
        // The image of a site, with Open MPI, Python and an application.
        symlink(fixture("ompi"), place.path().join("img.sif")).unwrap();
        fs::copy(
            fixture("ompi").join("usr/bin/hello"),
            place.path().join("app"),
        )
        .unwrap();
        fs::create_dir_all("/lus").unwrap();
        Self {
            place,
            cluster: Cluster::own(),
            _registry: registry,
        }
    }

    /// Types the commands of a page, with these binds, and returns what they printed.
    fn types(&self, page: &str, binds: &str) -> String {
        let home = self.place.path().display().to_string();
        let mpi = fixture("mpi").join("openmpi/bin");
        let mut seen = String::new();
        for line in commands(page) {
            let mut shell = as_tester("/bin/sh");
            shell
                .args(["-euc", &line])
                .current_dir(&home)
                .env("HOME", &home)
                .env(
                    "PATH",
                    format!("{home}/.local/bin:{}:/usr/bin:/bin", mpi.display()),
                )
                .env("FRONT_CONFIG", self.place.file("front.toml"))
                .env("SLURM_CONF", self.cluster.conf())
                .env("APPTAINER_BIND", binds)
                // The machine may have fewer processors than the job has ranks.
                .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
            let outcome = run(&mut shell);
            assert_eq!(outcome.code, 0, "{page}: {line}: {outcome:#?}");
            seen += &outcome.stdout;
        }
        seen
    }
}

#[test]
fn a_newcomer_types_what_the_pages_say() {
    let newcomer = Newcomer::new();
    newcomer.types("README.md", "");
    let home = newcomer.place.path().display();
    let of_site = format!("{home}/app:/usr/local/bin/app,{home}/python:/usr/local/bin/python");
    let seen = newcomer.types("docs/user/quick-start.md", &of_site);
    for (words, count) in [
        ("NAME=bb\n", 1),
        ("trained\n", 1),
        (" of 4, sum 6", 4),
        (" of 1, sum 0", 1),
    ] {
        assert_eq!(seen.matches(words).count(), count, "{words}: {seen}");
    }
    newcomer.types("docs/user/building.md", "");
    newcomer.types("docs/user/mpi.md", "");
    let front = newcomer.place.file(".local/bin/front");
    for (image, path, version) in [
        ("app.sif", "/version", "1.0\n"),
        ("app-1.2.sif", "/version", "1.2\n"),
        ("tool.sif", "/version", "1\n"),
        ("other.sif", "/file", ""),
    ] {
        let mut cat = as_tester(&front);
        cat.args(["exec", &newcomer.place.file(image), "cat", path]);
        assert_eq!(succeed(&mut cat), version, "{image}");
    }
}

#[test]
fn an_administrator_types_what_the_page_says() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = place.path().join("root");
    succeed(
        Command::new("cp")
            .arg("-a")
            .arg(fixture("bare").join("trixie"))
            .arg(&root),
    );
    let mut tar = Command::new("tar");
    tar.arg("xzf")
        .arg(release_file("-linux.tar.gz"))
        .arg("--strip-components=1")
        .arg("-C")
        .arg(root.join("srv"));
    succeed(&mut tar);
    let script = format!(
        "cd /srv\n{}\nls -l /usr/local/bin/singularity",
        commands("docs/admin/install.md").join("\n")
    );
    let enter = |uid: u32, script: &str| {
        let mut enter = Command::new(env!("CARGO_BIN_EXE_enter"));
        enter
            .arg(&root)
            .arg(uid.to_string())
            .args(["/usr/bin/env", &format!("HOME=/home/{TESTER}")]);
        succeed(enter.args([
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "/bin/sh",
            "-euc",
            script,
        ]))
    };
    let seen = enter(0, &script);
    assert!(seen.contains("removed from /opt/slipway/0.1.0"), "{seen}");
    assert!(enter(tester(), "singularity --version").starts_with("apptainer version"));
}

//! The files of a release, where a user or an administrator would install them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tests::{fixture, release_file, run, succeed, tester};

/// A directory for all, which roots see at `/tmp/host`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self(place)
    }

    /// Copies a file into it.
    fn with(self, path: &Path) -> Self {
        let name = path.file_name().unwrap();
        fs::copy(path, self.0.path().join(name)).unwrap();
        self
    }

    fn inside(&self) -> String {
        format!(
            "/tmp/host/{}",
            self.0.path().file_name().unwrap().to_string_lossy()
        )
    }
}

/// Runs a script in a root as a user. `$T` is the place.
fn there(root: &Path, user: u32, place: &Place, script: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
    command.arg(root).arg(user.to_string()).arg("/usr/bin/env");
    let place = place.inside();
    command
        .arg(format!("T={place}"))
        .arg(format!("HOME={place}"));
    succeed(command.args(["/bin/sh", "-euc", script]))
}

/// Copies a bare root, so that it can be changed.
fn copy_of_root(suite: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(fixture("bare").join(suite));
    succeed(copy.arg(directory.path().join("root")));
    directory
}

#[test]
fn an_ordinary_user_needs_nothing_but_the_tarball() {
    for suite in ["bookworm", "trixie", "sid"] {
        let place = Place::new()
            .with(&release_file("-linux.tar.gz"))
            .with(&fixture("bb.sif"));
        let script = "cd $T; tar xzf slipway-*.tar.gz; cd slipway-*-linux; ./install.sh --names
            export PATH=$T/.local/bin:$PATH
            front run
            front exec $T/bb.sif echo from a SIF
            apptainer exec $T/bb.sif echo from its other name
            slipway features >/dev/null
            front --version; apptainer --version; slipway --version
            ls $HOME/.local/share/man/man1/front-exec.1.gz $HOME/.local/share/man/man8/slipway.8.gz
            ls $HOME/.local/share/doc/slipway/licences/glibc.txt
            ./install.sh --prefix $HOME/.local >/dev/null
            ./install.sh --uninstall
            find $HOME/.local ! -type d; find $HOME/.local -name '*slipway*'; echo over";
        let seen = there(&fixture("bare").join(suite), tester(), &place, script);
        for words in [
            "from a SIF\n",
            "from its other name\n",
            "front version 0.1.0",
            "apptainer version 1.4.5+front.0.1.0\n",
            "\nspec: ",
        ] {
            assert!(seen.contains(words), "{suite}: {words}: {seen}");
        }
        let left = seen.split("removed from ").nth(1).unwrap();
        let left: Vec<&str> = left.lines().skip(1).collect();
        assert_eq!(left, ["over"], "{suite}");
    }
}

#[test]
fn a_debian_package_is_installed_and_removed() {
    for suite in ["bookworm", "trixie", "sid"] {
        let root = copy_of_root(suite);
        let root = root.path().join("root");
        let place = Place::new()
            .with(&release_file(".deb"))
            .with(&fixture("bb.sif"));
        let seen = there(
            &root,
            0,
            &place,
            "dpkg -i $T/slipway_*.deb; dpkg -s slipway | grep Status",
        );
        assert!(seen.contains("install ok installed"), "{seen}");
        let seen = there(
            &root,
            tester(),
            &place,
            "front exec $T/bb.sif echo from a SIF; ls /etc/apparmor.d/slipway",
        );
        assert!(seen.contains("from a SIF\n"), "{seen}");
        let script = "dpkg -P slipway >/dev/null; find /usr /etc /var/lib/dpkg/info -name '*slipway*' -o -name front -o -name 'front-*' -o -name 'front.*'; echo over";
        assert_eq!(there(&root, 0, &place, script), "over\n", "{suite}");
    }
}

#[test]
fn an_rpm_package_is_installed_and_removed() {
    let root = copy_of_root("trixie");
    let root = root.path().join("root");
    let rpm = |args: &[&str]| {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(&root).args(args);
        succeed(&mut rpm)
    };
    let package = release_file(".rpm").display().to_string();
    rpm(&["-i", "--nodeps", &package]);
    let listed = rpm(&["-ql", "slipway"]);
    assert!(
        listed.contains("/usr/libexec/slipway/slipway-hook"),
        "{listed}"
    );
    let place = Place::new().with(&fixture("bb.sif"));
    let seen = there(
        &root,
        tester(),
        &place,
        "front exec $T/bb.sif echo from a SIF",
    );
    assert!(seen.contains("from a SIF\n"), "{seen}");
    rpm(&["-e", "slipway"]);
    let script = "find /usr /etc -name '*slipway*' -o -name front -o -name 'front-*' -o -name 'front.*'; echo over";
    assert_eq!(there(&root, 0, &place, script), "over\n");
}

#[test]
fn an_mpi_of_the_host_starts_two_ranks() {
    fs::create_dir_all(fixture("ompi").join("tmp/host")).unwrap();
    let place = Place::new().with(&release_file("-linux.tar.gz"));
    let script =
        "cd $T; tar xzf slipway-*.tar.gz; slipway-*-linux/install.sh --prefix $T/opt >/dev/null
        mpirun --oversubscribe -np 2 $T/opt/bin/front exec / hello";
    let seen = there(&fixture("ompi"), tester(), &place, script);
    assert!(seen.matches(" of 2, sum 1").count() == 2, "{seen}");
}

#[test]
fn a_module_makes_the_programs_known() {
    let place = Place::new().with(&release_file("-linux.tar.gz"));
    let path = place.0.path().display();
    let unpack = format!(
        "cd {path}; tar xzf slipway-*.tar.gz; slipway-*-linux/install.sh --prefix {path}/opt"
    );
    succeed(Command::new("sh").args(["-euc", &unpack]));
    let script = format!(
        ". /usr/share/modules/init/bash; module use {path}/opt/share/modulefiles; module load slipway; command -v front; \
         man -w front-exec; module unload slipway; command -v front || echo gone"
    );
    let seen = run(Command::new("bash").args(["-c", &script])).stdout;
    let expected =
        format!("{path}/opt/bin/front\n{path}/opt/share/man/man1/front-exec.1.gz\ngone\n");
    assert_eq!(seen, expected);
}

#[test]
fn what_travels_with_static_programs_is_there() {
    let bill: serde_json::Value =
        serde_json::from_slice(&fs::read(release_file(".cdx.json")).unwrap()).unwrap();
    let names: Vec<&str> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| component["name"].as_str().unwrap())
        .collect();
    for name in ["libcontainer", "clap", "libseccomp", "glibc"] {
        assert!(names.contains(&name), "{name}");
    }
    let listed = succeed(
        Command::new("tar")
            .arg("tzf")
            .arg(release_file("-linux.tar.gz")),
    );
    for name in [
        "licences/libseccomp.txt",
        "licences/libcontainer-",
        "LICENSE",
    ] {
        assert!(listed.contains(name), "{name}");
    }
    let directory = release_file("SHA256SUMS");
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--quiet", "SHA256SUMS"]);
    succeed(check.current_dir(directory.parent().unwrap()));
}

#[test]
fn the_installer_says_what_it_cannot_do() {
    let place = Place::new().with(&release_file("-linux.tar.gz"));
    let script = "cd $T; tar xzf slipway-*.tar.gz; cd slipway-*-linux
        for args in '--prefix' '--nonsense' '--prefix /usr/x' '--uninstall --prefix /nowhere'; do
          ./install.sh $args 2>&1 | head -n 1; done";
    let seen = there(&fixture("bare").join("trixie"), tester(), &place, script);
    for words in [
        "--prefix needs a directory",
        "--nonsense is not one of its options",
        "/usr/x",
        "nothing of Slipway is installed in /nowhere",
    ] {
        assert!(seen.contains(words), "{words}: {seen}");
    }
}

//! An image saved in files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{archive, succeed};

/// Returns a directory with one image in the three forms that podman saves, `layout`, `oci.tar` and
/// `docker.tar`. Everybody may read them.
///
/// # Panics
///
/// Panics when podman fails.
#[must_use]
pub fn saved() -> tempfile::TempDir {
    // The peers' root shows the host's /tmp.
    let home = tempfile::tempdir_in("/tmp").expect("the directory can be written");
    let file = |name: &str| home.path().join(name).display().to_string();
    let podman = |args: &[&str]| {
        let mut podman = Command::new("podman");
        podman
            .args(["--root", &file("storage"), "--runroot", &file("run")])
            .args(["--storage-driver", "vfs"])
            .args(args)
            .stderr(Stdio::null());
        succeed(&mut podman);
    };
    let tar = archive(home.path()).display().to_string();
    let changes = [
        "ENTRYPOINT [\"echo\", \"it's\"]",
        "CMD [\"$HOME\"]",
        "ENV TOLD=a\\ \\\"b\\\"",
        "LABEL org.example.of=us",
    ];
    let mut import = vec!["import", "-q"];
    import.extend(changes.iter().flat_map(|change| ["--change", change]));
    import.extend([&tar, "localhost/bb:1"]);
    podman(&import);
    for (format, name) in [
        ("oci-dir", "layout"),
        ("oci-archive", "oci.tar"),
        ("docker-archive", "docker.tar"),
    ] {
        podman(&[
            "save",
            "-q",
            "--format",
            format,
            "-o",
            &file(name),
            "localhost/bb:1",
        ]);
    }
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .expect("the directory can be written")
    };
    chmod(home.path(), 0o777);
    succeed(Command::new("chmod").args([
        "-R",
        "a+rX",
        &file("layout"),
        &file("oci.tar"),
        &file("docker.tar"),
    ]));
    home
}

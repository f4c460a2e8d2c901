use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn names(path: &Path) -> Vec<OsString> {
    Directory::open_root(path)
        .unwrap()
        .list(Path::new("/"))
        .unwrap()
}

#[test]
fn patterns_are_those_of_a_shell() {
    let (host, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["a.c", "b.c", ".c", "d.h"] {
        fs::write(host.path().join(name), name).unwrap();
    }
    let (root, tree) = (
        Directory::open_root(Path::new("/")).unwrap(),
        Directory::open_root(image.path()).unwrap(),
    );
    let source = Source::host(&root, host.path());
    source.copy("*.c", "/opt/", &tree).unwrap();
    assert_eq!(names(&image.path().join("opt")), ["a.c", "b.c"]);
    source.copy("{a.c,d.h}", "/src/", &tree).unwrap();
    assert_eq!(names(&image.path().join("src")), ["a.c", "d.h"]);
    source.copy("d.h", "/x/y", &tree).unwrap();
    assert_eq!(fs::read_to_string(image.path().join("x/y")).unwrap(), "d.h");
    // The same path as on the host, or below the root.
    let absolute = host.path().join("d.h").display().to_string();
    source.copy(&absolute, "", &tree).unwrap();
    let same = image.path().join(host.path().strip_prefix("/").unwrap());
    assert_eq!(names(&same), ["d.h"]);
    source.copy("a.c", "", &tree).unwrap();
    assert!(image.path().join("a.c").exists());
    let error = source.copy("*.none", "/", &tree).unwrap_err();
    assert_eq!(error.to_string(), "*.none: no file matches");
    assert!(source.copy("none", "/", &tree).is_err());
    assert!(source.copy(&"{a,b}".repeat(20), "/", &tree).is_err());
}

#[test]
fn a_directory_becomes_the_target_or_goes_into_it() {
    let (host, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(host.path().join("d/e")).unwrap();
    fs::write(host.path().join("d/e/f"), "").unwrap();
    fs::set_permissions(
        host.path().join("d/e/f"),
        fs::Permissions::from_mode(0o4777),
    )
    .unwrap();
    symlink("e/f", host.path().join("d/link")).unwrap();
    let (root, tree) = (
        Directory::open_root(Path::new("/")).unwrap(),
        Directory::open_root(image.path()).unwrap(),
    );
    let source = Source::host(&root, host.path());
    source.copy("d", "/new", &tree).unwrap();
    source.copy("d", "/new", &tree).unwrap();
    assert_eq!(names(&image.path().join("new")), ["d", "e", "link"]);
    assert!(!image.path().join("new/link").is_symlink());
    let mode = image
        .path()
        .join("new/e/f")
        .metadata()
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o7777, 0o775);
    symlink("..", host.path().join("d/loop")).unwrap();
    let error = source.copy("d", "/loop", &tree).unwrap_err();
    assert!(format!("{error:#}").contains("into itself"), "{error:#}");
}

#[test]
fn files_of_a_stage_are_copied_as_they_are() {
    let (stage, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(stage.path().join("opt/real")).unwrap();
    fs::write(stage.path().join("opt/real/f"), "").unwrap();
    symlink("/opt/real", stage.path().join("opt/view")).unwrap();
    symlink("/etc/passwd", stage.path().join("opt/real/out")).unwrap();
    let (root, tree) = (
        Directory::open_root(stage.path()).unwrap(),
        Directory::open_root(image.path()).unwrap(),
    );
    let source = Source::stage(&root);
    source.copy("/opt/view", "/opt/", &tree).unwrap();
    let copied = image.path().join("opt/view");
    assert!(copied.is_dir() && !copied.is_symlink());
    assert_eq!(
        fs::read_link(copied.join("out")).unwrap(),
        Path::new("/etc/passwd")
    );
    // A link that leads out of the stage leads nowhere.
    assert!(source.copy("/opt/real/out", "/passwd", &tree).is_err());
}

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootfs::Directory;
use sha2::{Digest, Sha256};

use crate::{Index, apply};

fn open(path: &Path) -> Directory {
    Directory::open_root(path).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Describes all files of a tree: names, modes, times, links and contents.
fn described(tree: &Path) -> BTreeMap<PathBuf, String> {
    let root = open(tree);
    let index = Index::read(&root).unwrap();
    let one = |(path, state): (&PathBuf, &crate::index::State)| {
        let whole = tree.join(path.strip_prefix("/").unwrap());
        let content = match fs::read_link(&whole) {
            Ok(target) => target.display().to_string(),
            Err(_) if whole.is_file() => fs::read_to_string(&whole).unwrap_or_default(),
            Err(_) => String::new(),
        };
        // The size of a directory depends on its history.
        let size = if whole.is_dir() { 0 } else { state.size };
        let links = if whole.is_dir() { 0 } else { state.links };
        let text = format!(
            "{:o} {:?} {links} {size} {:?} {content}",
            state.mode, state.owner, state.modified
        );
        (path.clone(), text)
    };
    index.entries.iter().map(one).collect()
}

fn base(tree: &Path) {
    for directory in ["closed", "gone/below", "stays", "becomes"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    for file in [
        "a",
        "b",
        "closed/file",
        "gone/below/file",
        "becomes/file",
        "stays/x",
    ] {
        fs::write(tree.join(file), file).unwrap();
    }
    symlink("a", tree.join("link")).unwrap();
    set_mode(&tree.join("closed"), 0o555);
}

fn change(tree: &Path) {
    fs::write(tree.join("a"), "changed in place").unwrap();
    fs::hard_link(tree.join("b"), tree.join("stays/c")).unwrap();
    fs::remove_dir_all(tree.join("gone")).unwrap();
    fs::remove_dir_all(tree.join("becomes")).unwrap();
    symlink("/etc", tree.join("becomes")).unwrap();
    fs::remove_file(tree.join("link")).unwrap();
    fs::create_dir_all(tree.join("link/new")).unwrap();
    set_mode(&tree.join("closed"), 0o755);
    fs::write(tree.join("closed/file"), "other").unwrap();
    set_mode(&tree.join("closed/file"), 0o4710);
    set_mode(&tree.join("closed"), 0o555);
    fs::write(tree.join("secret"), "x").unwrap();
    set_mode(&tree.join("secret"), 0);
    fs::create_dir(tree.join("shut")).unwrap();
    fs::write(tree.join("shut/in"), "y").unwrap();
    set_mode(&tree.join("shut"), 0);
    // No process listens to a socket of another time.
    drop(UnixListener::bind(tree.join("socket")).unwrap());
    let fifo = Command::new("mkfifo")
        .args(["-m", "666"])
        .arg(tree.join("fifo"))
        .status();
    assert!(fifo.unwrap().success());
}

/// Makes two equal trees, times included, and changes one.
fn two() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| place.path().join(name));
    fs::create_dir(&first).unwrap();
    base(&first);
    let copied = Command::new("cp")
        .arg("-a")
        .args([&first, &second])
        .status();
    assert!(copied.unwrap().success());
    (place, first, second)
}

#[test]
fn a_layer_makes_the_same_changes_again() {
    let (_place, first, second) = two();
    let before = Index::read(&open(&first)).unwrap();
    change(&first);
    let after = Index::read(&open(&first)).unwrap();
    let mut layer = Vec::new();
    after
        .since(&before)
        .write(&open(&first), &mut layer)
        .unwrap();
    apply(layer.as_slice(), &open(&second)).unwrap();
    let (mut wanted, got) = (described(&first), described(&second));
    wanted.remove(Path::new("/socket")).unwrap();
    for (path, text) in &wanted {
        assert_eq!(got.get(path), Some(text), "{}", path.display());
    }
    assert_eq!(wanted.len(), got.len());
    let numbers =
        |tree: &Path| ["b", "stays/c"].map(|name| fs::metadata(tree.join(name)).unwrap().ino());
    assert_eq!(numbers(&second)[0], numbers(&second)[1], "one file");
    // Files that did not change are not in it.
    let mut archive = tar::Archive::new(layer.as_slice());
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|one| one.unwrap().path().unwrap().into_owned())
        .collect();
    assert!(!names.contains(&PathBuf::from("stays/x")), "{names:?}");
    assert!(names.contains(&PathBuf::from(".wh.gone")), "{names:?}");
    let _ = rootfs::remove(&first);
}

#[test]
fn each_change_is_seen_even_within_a_tick() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    for number in 0..20 {
        fs::write(&file, format!("{number:04}")).unwrap();
        let before = Index::read(&open(place.path())).unwrap();
        fs::write(&file, format!("{:04}", number + 1)).unwrap();
        let after = Index::read(&open(place.path())).unwrap();
        assert_eq!(after.since(&before).changed.len(), 1);
    }
}

#[test]
fn the_digest_is_that_of_the_content() {
    let digest = |text: &str, mode: u32| {
        let place = tempfile::tempdir().unwrap();
        let root = open(place.path());
        let before = Index::read(&root).unwrap();
        fs::write(place.path().join("file"), text).unwrap();
        set_mode(&place.path().join("file"), mode);
        let after = Index::read(&root).unwrap();
        let mut hash = Sha256::new();
        after.since(&before).hash(&root, &mut hash).unwrap();
        hash.finalize()
    };
    let one = digest("a", 0o644);
    assert_eq!(one, digest("a", 0o644));
    assert_ne!(one, digest("b", 0o644));
    assert_ne!(one, digest("a", 0o600));
}

#[test]
fn no_layer_leads_out_of_the_tree() {
    let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), place.path().join("out")).unwrap();
    for name in ["out/file", "../file", "x/../../file"] {
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        let bytes = name.as_bytes();
        header.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        header.set_cksum();
        layer.append(&header, b"x".as_slice()).unwrap();
        let layer = layer.into_inner().unwrap();
        assert!(
            apply(layer.as_slice(), &open(place.path())).is_err(),
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(!place.path().with_file_name("file").exists());
}

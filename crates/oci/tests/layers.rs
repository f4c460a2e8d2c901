//! Layouts made blob by blob: the trees that their layers make, and the errors of invalid ones.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use oci::{Archive, Digest, Flat, Image, Layout, Merged, Platform};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// An entry of a layer: its kind, its name, and its content or target.
type Entry<'a> = (EntryType, &'a [u8], &'a [u8]);

const FILE: EntryType = EntryType::Regular;
const DIRECTORY: EntryType = EntryType::Directory;

/// Makes a tar with exactly these names. A library would not write the invalid ones.
fn layer(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(1234);
        let is_link = kind.is_symlink() || kind.is_hard_link();
        if is_link {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
        }
        let content = if is_link { &[] } else { *content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn put(directory: &Path, content: &[u8]) -> (Digest, u64) {
    let digest = Digest::of(content);
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(digest.hex()), content).unwrap();
    (digest, content.len() as u64)
}

/// Writes a layout of one image for amd64. The layers are stored as they are given.
fn layout(directory: &Path, layers: &[Vec<u8>]) {
    odd_layout(directory, layers, "", &|_| {});
}

/// Writes a layout in which one document is changed: `config`, `manifest` or `index`.
fn odd_layout(directory: &Path, layers: &[Vec<u8>], which: &str, change: &dyn Fn(&mut Value)) {
    let document = |name: &str, mut value: Value| {
        if name == which {
            change(&mut value);
        }
        value.to_string()
    };
    let described = |kind: &str, content: &[u8]| {
        let (digest, size) = put(directory, content);
        json!({"mediaType": kind, "digest": digest.to_string(), "size": size})
    };
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| described(&kind("layer.v1.tar"), layer))
        .collect();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = document("config", config);
    let config = described(&kind("config.v1+json"), config.as_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let manifest = document("manifest", manifest);
    let manifest = described(&kind("manifest.v1+json"), manifest.as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(directory.join("index.json"), document("index", index)).unwrap();
}

fn platform() -> Platform {
    Platform {
        architecture: "amd64".to_owned(),
        variants: Vec::new(),
    }
}

fn open(directory: &Path) -> (Image, Layout) {
    let layout = Layout::open(directory).unwrap();
    (layout.image(None, &platform()).unwrap(), layout)
}

/// Merges layers. Returns the names, and the kind or content of each.
fn merge(layers: &[Vec<u8>]) -> Result<BTreeMap<String, String>, String> {
    let directory = tempfile::tempdir().unwrap();
    layout(directory.path(), layers);
    let (image, blobs) = open(directory.path());
    let merged = Merged::new(&image, &blobs).map_err(|error| error.to_string())?;
    let mut tar = Vec::new();
    merged
        .write(&image, &blobs, &[], Flat::default(), &mut tar)
        .map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().uid().unwrap(), 0);
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry
            .link_name_bytes()
            .map(|link| String::from_utf8_lossy(&link).into_owned());
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let shown = match entry.header().entry_type() {
            EntryType::Symlink => format!("-> {}", link.unwrap()),
            EntryType::Link => format!("= {}", link.unwrap()),
            EntryType::Directory => "directory".to_owned(),
            _ => content,
        };
        found.insert(name.trim_end_matches('/').to_owned(), shown);
    }
    Ok(found)
}

fn shown(found: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    found
        .iter()
        .map(|(name, what)| (name.as_str(), what.as_str()))
        .collect()
}

#[test]
fn the_upper_layer_wins() {
    let lower = layer(&[
        (DIRECTORY, b"etc/", b""),
        (FILE, b"./etc/a", b"old"),
        (FILE, b"etc/b", b"b"),
    ]);
    let upper = layer(&[
        (FILE, b"etc/a", b"new"),
        (FILE, b"etc/.wh.b", b""),
        (FILE, b"usr/c", b"c"),
    ]);
    let found = merge(&[lower, upper]).unwrap();
    let expected = [
        ("etc", "directory"),
        ("etc/a", "new"),
        ("usr", "directory"),
        ("usr/c", "c"),
    ];
    assert_eq!(shown(&found), expected);
}

#[test]
fn a_hard_link_keeps_its_content_when_its_file_goes() {
    let lower = layer(&[
        (FILE, b"a", b"content"),
        (EntryType::Link, b"b", b"a"),
        (EntryType::Link, b"c", b"b"),
    ]);
    let found = merge(std::slice::from_ref(&lower)).unwrap();
    assert_eq!(
        shown(&found),
        [("a", "content"), ("b", "= a"), ("c", "= a")]
    );
    let gone = layer(&[(FILE, b".wh.a", b"")]);
    let found = merge(&[lower.clone(), gone]).unwrap();
    assert_eq!(shown(&found), [("b", "content"), ("c", "= b")]);
    let other = layer(&[(FILE, b"a", b"other")]);
    let found = merge(&[lower, other]).unwrap();
    assert_eq!(
        shown(&found),
        [("a", "other"), ("b", "content"), ("c", "= b")]
    );
}

#[test]
fn packed_layers_are_unpacked_by_what_they_are() {
    let plain = layer(&[(FILE, b"a", b"content")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for packed in [plain, gzip, zstd] {
        assert_eq!(shown(&merge(&[packed]).unwrap()), [("a", "content")]);
    }
}

#[test]
fn nothing_leads_out() {
    let rows: [(&str, &[Entry]); 6] = [
        ("leads out", &[(FILE, b"../a", b"")]),
        ("leads out", &[(FILE, b"a/../../b", b"")]),
        ("leads out", &[(EntryType::Link, b"a", b"../../etc/passwd")]),
        (
            "link to nothing",
            &[(EntryType::Link, b"a", b"/etc/passwd")],
        ),
        (
            "link to nothing",
            &[(DIRECTORY, b"d", b""), (EntryType::Link, b"a", b"d")],
        ),
        ("leads out", &[(DIRECTORY, b"..", b"")]),
    ];
    for (words, entries) in rows {
        let error = merge(&[layer(entries)]).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    // A link to a directory of the host, and then a file in it: the directory is made in the image.
    let link = layer(&[(EntryType::Symlink, b"a", b"/etc")]);
    let through = layer(&[(FILE, b"a/passwd", b"mine")]);
    let found = merge(&[link, through]).unwrap();
    assert_eq!(shown(&found), [("a", "directory"), ("a/passwd", "mine")]);
}

#[test]
fn odd_names_are_names() {
    let found = merge(&[layer(&[(FILE, b"a\nb", b"1"), (FILE, b"/c\xff", b"2")])]).unwrap();
    assert_eq!(shown(&found), [("a\nb", "1"), ("c\u{fffd}", "2")]);
}

/// podman 4.3 accepts each of these images.
#[test]
fn charliecloud_1805_documents_that_say_less_than_they_should() {
    let without = |place: &'static str, name: &'static str| {
        move |value: &mut Value| {
            let object = value.pointer_mut(place).unwrap().as_object_mut().unwrap();
            object.remove(name);
        }
    };
    let with = |place: &'static str, said: Value| {
        move |value: &mut Value| {
            let (parent, name) = place.rsplit_once('/').unwrap();
            value.pointer_mut(parent).unwrap()[name] = said.clone();
        }
    };
    type Change = Box<dyn Fn(&mut Value)>;
    let cases: [(&str, Change); 18] = [
        ("config", Box::new(without("", "architecture"))),
        ("config", Box::new(without("", "os"))),
        ("config", Box::new(without("", "rootfs"))),
        ("config", Box::new(with("/rootfs/diff_ids", Value::Null))),
        ("config", Box::new(with("/config", Value::Null))),
        (
            "config",
            Box::new(with("/config", json!({"Labels": {"a": null}}))),
        ),
        ("config", Box::new(with("/history", Value::Null))),
        ("manifest", Box::new(without("", "schemaVersion"))),
        ("manifest", Box::new(without("/layers/0", "mediaType"))),
        ("manifest", Box::new(without("/layers/0", "size"))),
        ("manifest", Box::new(with("/annotations", Value::Null))),
        ("index", Box::new(without("", "schemaVersion"))),
        ("index", Box::new(without("/manifests/0", "mediaType"))),
        ("index", Box::new(without("/manifests/0", "size"))),
        ("index", Box::new(with("/manifests/0/size", json!(-1)))),
        (
            "index",
            Box::new(with("/manifests/0/annotations", Value::Null)),
        ),
        (
            "index",
            Box::new(with("/manifests/0/platform", Value::Null)),
        ),
        (
            "index",
            Box::new(with(
                "/manifests/0/platform",
                json!({"architecture": "amd64"}),
            )),
        ),
    ];
    for (number, (which, change)) in cases.iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        odd_layout(
            directory.path(),
            &[layer(&[(FILE, b"a", b"")])],
            which,
            change,
        );
        let layout = Layout::open(directory.path()).unwrap();
        let image = layout.image(None, &platform());
        let image = image.unwrap_or_else(|error| panic!("{which} {number}: {error}"));
        let merged = Merged::new(&image, &layout).unwrap();
        assert!(merged.place("a").unwrap().is_there, "{which} {number}");
    }
}

#[test]
fn devices_are_left_out_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let devices = [
        (EntryType::Char, &b"dev/null"[..], &b""[..]),
        (EntryType::Block, b"dev/sda", b""),
    ];
    layout(directory.path(), &[layer(&devices)]);
    let (image, blobs) = open(directory.path());
    let merged = Merged::new(&image, &blobs).unwrap();
    assert_eq!(
        merged.notes().unwrap(),
        "dev/null and 1 more are devices, and were left out"
    );
    assert!(!merged.place("dev/null").unwrap().is_there);
}

#[test]
fn damage_is_told_by_the_layer() {
    let directory = tempfile::tempdir().unwrap();
    let good = layer(&[(FILE, b"a", &[7; 100_000])]);
    layout(directory.path(), std::slice::from_ref(&good));
    let blob = directory
        .path()
        .join("blobs/sha256")
        .join(Digest::of(&good).hex());
    let (image, blobs) = open(directory.path());
    let error = || Merged::new(&image, &blobs).unwrap_err().to_string();
    let mut flipped = good.clone();
    flipped[50_000] ^= 1;
    fs::write(&blob, flipped).unwrap();
    assert!(error().contains("the content is another"), "{}", error());
    fs::write(&blob, &good[..60_000]).unwrap();
    assert!(error().contains("sha256:"), "{}", error());
    // Extra bytes behind the archive's end change the digest too.
    fs::write(&blob, [good, vec![0; 512]].concat()).unwrap();
    assert!(error().contains("the content is another"), "{}", error());
    fs::remove_file(&blob).unwrap();
    assert!(error().contains("is missing"), "{}", error());
}

#[test]
fn an_archive_is_read_where_it_lies() {
    let directory = tempfile::tempdir().unwrap();
    layout(directory.path(), &[layer(&[(FILE, b"a", b"content")])]);
    let path = directory.path().join("archive.tar.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = Builder::new(&mut gzip);
    tar.append_dir_all("blobs", directory.path().join("blobs"))
        .unwrap();
    tar.append_path_with_name(directory.path().join("index.json"), "./index.json")
        .unwrap();
    tar.finish().unwrap();
    drop(tar);
    fs::write(&path, gzip.finish().unwrap()).unwrap();
    let mut archive = Archive::open(&path, directory.path()).unwrap();
    let image = archive.image(None, &platform()).unwrap();
    let merged = Merged::new(&image, &archive).unwrap();
    assert!(merged.place("a").unwrap().is_there);
    let error = archive.image(Some("nosuch"), &platform()).unwrap_err();
    assert!(error.to_string().contains("no image nosuch"), "{error}");
    fs::write(&path, b"no tar at all").unwrap();
    assert!(
        Archive::open(&path, directory.path())
            .and_then(|mut archive| archive.image(None, &platform()))
            .is_err()
    );
}

#[test]
fn skopeo_2782_an_archive_of_nothing_known_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive.tar");
    fs::write(&path, layer(&[(FILE, b"repositories", b"{}")])).unwrap();
    let mut archive = Archive::open(&path, directory.path()).unwrap();
    let error = archive.image(None, &platform()).unwrap_err().to_string();
    assert!(
        error.contains("neither docker's manifest.json nor OCI's index.json"),
        "{error}"
    );
}

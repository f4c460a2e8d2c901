//! Signatures that are made and checked on SIFs in memory, and the files of the keyring.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};

use sif::{DataType, Link, NewObject, Sif};
use signing::{Algorithm, Error, Key, Keyring, Scope, Secret, sign, verify};

/// The time of all signatures, in seconds since 1970.
const NOW: i64 = 1_700_000_000;

/// Returns a SIF with two objects in group 1 and one in group 2.
fn image() -> (File, Sif) {
    let file = tempfile::tempfile().unwrap();
    let mut sif = Sif::create(&file, "#!/bin/sh\n", [7; 16], NOW).unwrap();
    for (group, content) in [(1, "first"), (1, "second"), (2, "third")] {
        let object = NewObject {
            data: DataType::Definition,
            group: Some(group),
            link: None,
            name: content.to_owned(),
        };
        sif.add(&file, object, &mut content.as_bytes(), NOW)
            .unwrap();
    }
    (file, sif)
}

fn key(password: &str) -> Secret {
    Secret::generate("Ada <ada@example.org>", Algorithm::Ed25519, password).unwrap()
}

fn signed(scope: Scope) -> (File, Sif, Secret) {
    let (file, mut sif) = image();
    let key = key("");
    sign(&file, &mut sif, scope, &key, "", NOW).unwrap();
    let sif = Sif::read(&file).unwrap();
    (file, sif, key)
}

fn refusal(file: &File, scope: Scope, keys: &[Key]) -> String {
    let sif = Sif::read(file).unwrap();
    verify(file, &sif, scope, keys).unwrap_err().to_string()
}

#[test]
fn a_signature_covers_what_its_scope_names() {
    let cases: [(Scope, &[&[u32]]); 4] = [
        (Scope::All, &[&[1, 2], &[3]]),
        (Scope::Group(1), &[&[1, 2]]),
        (Scope::Object(2), &[&[2]]),
        (Scope::Object(3), &[&[3]]),
    ];
    for (scope, covered) in cases {
        let (file, sif, key) = signed(scope);
        let verified = verify(&file, &sif, scope, &[key.public()]).unwrap();
        let objects: Vec<&[u32]> = verified.iter().map(|one| one.objects.as_slice()).collect();
        assert_eq!(objects, covered, "{scope:?}");
        for one in verified {
            assert_eq!(one.key.fingerprint(), key.public().fingerprint());
        }
    }
}

#[test]
fn each_group_needs_a_signature() {
    let (file, _, key) = signed(Scope::Group(1));
    let keys = [key.public()];
    assert_eq!(
        refusal(&file, Scope::All, &keys),
        "object group 2 is not signed"
    );
    assert_eq!(
        refusal(&file, Scope::Object(1), &keys),
        "object 1 is not signed"
    );
    assert_eq!(
        refusal(&file, Scope::Group(3), &keys),
        "there is no group 3 in the SIF"
    );
}

#[test]
fn a_change_is_found_and_named() {
    type Change = fn(&File, &mut Sif);
    let cases: [(&str, Change); 4] = [
        ("object 2 was changed", |file, sif| {
            let object = &sif.descriptors[1];
            file.write_all_at(b"SECOND", object.offset).unwrap();
        }),
        ("the header was changed", |file, _| {
            file.write_all_at(b"#!/bin/no", 0).unwrap();
        }),
        ("that there is object 2 was changed", |file, sif| {
            // An object of equal size takes the place of the one that is deleted.
            sif.delete(file, 2, NOW).unwrap();
            add(file, sif, 1);
        }),
        ("how many objects there are was changed", |file, sif| {
            add(file, sif, 1);
        }),
    ];
    for (expected, change) in cases {
        let (file, mut sif, key) = signed(Scope::Group(1));
        change(&file, &mut sif);
        let found = refusal(&file, Scope::Group(1), &[key.public()]);
        assert!(found.contains(expected), "{found} should say: {expected}");
    }
}

fn add(file: &File, sif: &mut Sif, group: u32) {
    let object = NewObject {
        data: DataType::Definition,
        group: Some(group),
        link: None,
        name: "more".to_owned(),
    };
    sif.add(file, object, &mut &b"more"[..], NOW).unwrap();
}

#[test]
fn only_the_keys_of_the_keyring_count() {
    let (file, _, signer) = signed(Scope::All);
    let other = key("");
    let found = refusal(&file, Scope::All, &[other.public()]);
    let unknown = format!("is by key {}", signer.public().fingerprint());
    assert!(found.contains(&unknown), "{found}");
    assert!(found.contains("not in the keyring"), "{found}");

    // The signature of one key, under the name of another.
    let text = signature_of(&file);
    let (forged, mut sif) = image();
    sign(&forged, &mut sif, Scope::Group(1), &other, "", NOW).unwrap();
    let own = sif.descriptors.last().unwrap().clone();
    sif.delete(&forged, own.id, NOW).unwrap();
    let object = NewObject {
        data: own.data,
        group: None,
        link: own.link,
        name: String::new(),
    };
    sif.add(&forged, object, &mut text.as_slice(), NOW).unwrap();
    let found = refusal(&forged, Scope::Group(1), &[signer.public(), other.public()]);
    assert!(found.contains("did not sign this text"), "{found}");
}

/// Returns the text of the signature of group 1.
fn signature_of(file: &File) -> Vec<u8> {
    let sif = Sif::read(file).unwrap();
    let mut all = sif.descriptors.iter();
    let signature = all.find(|one| one.link == Some(Link::Group(1))).unwrap();
    let mut text = vec![0; usize::try_from(signature.size).unwrap()];
    file.read_exact_at(&mut text, signature.offset).unwrap();
    text
}

#[test]
fn a_locked_key_needs_its_password() {
    let key = key("secret");
    assert!(key.is_locked());
    let (file, mut sif) = image();
    let error = sign(&file, &mut sif, Scope::All, &key, "wrong", NOW).unwrap_err();
    assert!(matches!(error, Error::Key { .. }), "{error}");
    assert_eq!(
        Sif::read(&file).unwrap().descriptors.len(),
        3,
        "no half of the signatures is written"
    );
    sign(&file, &mut sif, Scope::All, &key, "secret", NOW).unwrap();
    verify(&file, &sif, Scope::All, &[key.public()]).unwrap();
}

#[test]
fn the_keyring_keeps_keys_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = Keyring::new(directory.path().join("keys"));
    assert!(keyring.public().unwrap().is_empty());
    let key = key("");
    keyring.add(&key).unwrap();
    keyring.add(&key).unwrap();
    assert_eq!(keyring.public().unwrap().len(), 1);
    assert_eq!(keyring.secret().unwrap().len(), 1);
    for file in [keyring.public_file(), keyring.secret_file()] {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let fingerprint = key.public().fingerprint();
    assert_eq!(keyring.remove(&fingerprint, true, false).unwrap(), 1);
    assert!(keyring.public().unwrap().is_empty());
    assert_eq!(keyring.secret().unwrap().len(), 1);
}

#[test]
fn keys_are_imported_from_armor_and_from_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let key = key("");
    let public = key.public();
    let forms: [(Vec<u8>, usize); 4] = [
        (public.armored().unwrap().into_bytes(), 0),
        (public.bytes().unwrap(), 0),
        (key.armored().unwrap().into_bytes(), 1),
        (key.bytes().unwrap(), 1),
    ];
    for (number, (content, secret)) in forms.into_iter().enumerate() {
        let keyring = Keyring::new(directory.path().join(number.to_string()));
        std::fs::write(&file, content).unwrap();
        let new = keyring.import(&file).unwrap();
        assert_eq!(new[0].fingerprint(), public.fingerprint());
        assert_eq!(keyring.secret().unwrap().len(), secret);
        assert!(keyring.import(&file).unwrap().is_empty(), "it is there");
    }
    std::fs::write(&file, "no key").unwrap();
    let keyring = Keyring::new(directory.path().join("none"));
    let error = keyring.import(&file).unwrap_err().to_string();
    assert!(error.starts_with(&file.display().to_string()), "{error}");
}

//! Making and verifying signatures.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use pgp::composed::CleartextSignedMessage;
use sif::{DataType, Descriptor, Link, NewObject, Sif, Signature};

use crate::key::digits;
use crate::statement::Statement;
use crate::{Error, Key, Scope, Secret};

/// A valid signature.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The key that made the signature.
    pub key: Key,
    /// The ids of the signed objects.
    pub objects: Vec<u32>,
}

/// The code of SHA-256 in the descriptor of a signature.
const SHA256: u32 = 1;
/// Largest signature that is read, in bytes. The signature of a full table takes some ten thousand
/// bytes.
const LONGEST: u64 = 1 << 20;

/// Adds signatures to a SIF: one for each group, or one for the group or object in `scope`. `now`
/// is in seconds since 1970.
///
/// # Errors
///
/// Fails when there is nothing to sign, the key cannot be unlocked, or the file cannot be written.
pub fn sign(
    file: &File,
    sif: &mut Sif,
    scope: Scope,
    key: &Secret,
    password: &str,
    now: i64,
) -> Result<(), Error> {
    let mut texts = Vec::new();
    for (link, objects, least) in wanted(sif, scope)? {
        let statement = Statement::of(file, sif, &objects, least)?;
        let text = serde_json::to_string(&statement).map_err(|error| Error::Key {
            key: key.public().fingerprint(),
            reason: error.to_string(),
        })?;
        // All signatures are made before the first is written.
        texts.push((link, key.sign(&format!("{text}\n"), password)?));
    }
    for (link, text) in texts {
        let object = NewObject {
            data: DataType::Signature(Signature {
                hash: SHA256,
                fingerprint: key.public().entity(),
            }),
            group: None,
            link: Some(link),
            name: String::new(),
        };
        sif.add(file, object, &mut text.trim_end().as_bytes(), now)?;
    }
    Ok(())
}

/// Checks the signatures of a SIF. Each group, or the group or object in `scope`, must have a
/// signature. All existing signatures must be valid and cover the whole group or object.
///
/// # Errors
///
/// Fails when something is not signed, a key is unknown, or a signature is invalid.
pub fn verify(file: &File, sif: &Sif, scope: Scope, keys: &[Key]) -> Result<Vec<Verified>, Error> {
    let mut verified = Vec::new();
    let all = wanted(sif, scope)?;
    if let (Scope::All, Some((primary, _))) = (scope, sif.primary())
        && !all
            .iter()
            .any(|(_, objects, _)| objects.iter().any(|one| one.id == primary.id))
    {
        // The primary partition holds the programs that run, but is in no group to be signed.
        return Err(Error::Unsigned(format!(
            "the primary partition, object {},",
            primary.id
        )));
    }
    for (link, objects, least) in all {
        let signatures = signatures_of(sif, link);
        if signatures.is_empty() {
            return Err(Error::Unsigned(told(link)));
        }
        for (descriptor, signature) in signatures {
            let key = check(file, sif, descriptor, &signature, &objects, least, keys)?;
            verified.push(Verified {
                key,
                objects: objects.iter().map(|object| object.id).collect(),
            });
        }
    }
    Ok(verified)
}

fn check(
    file: &File,
    sif: &Sif,
    descriptor: &Descriptor,
    signature: &Signature,
    objects: &[&Descriptor],
    least: u32,
    keys: &[Key],
) -> Result<Key, Error> {
    let id = descriptor.id;
    let format = |reason: String| Error::Format { id, reason };
    let size = usize::try_from(descriptor.size.min(LONGEST)).unwrap_or_default();
    let mut text = vec![0; size];
    file.read_exact_at(&mut text, descriptor.offset)
        .map_err(|source| Error::Object { id, source })?;
    let text = String::from_utf8(text).map_err(|_| format("it is no text".to_owned()))?;
    let (message, _) = CleartextSignedMessage::from_string(&text).map_err(|_| {
        format("it is not made by OpenPGP; signatures by X.509 are not supported".to_owned())
    })?;
    let fingerprint = digits(&signature.fingerprint);
    let key = keys
        .iter()
        .find(|key| key.entity() == signature.fingerprint);
    let Some(key) = key else {
        return Err(Error::UnknownKey { id, fingerprint });
    };
    key.check(&message).map_err(|reason| Error::BadKey {
        id,
        fingerprint,
        reason,
    })?;
    let said: Statement = serde_json::from_str(message.signed_text().trim())
        .map_err(|_| format("what is signed is not in the form of SIF".to_owned()))?;
    let now = Statement::of(file, sif, objects, least)?;
    let ids = |statement: &Statement| -> BTreeSet<u32> {
        statement
            .objects
            .iter()
            .map(|one| one.relative_id)
            .collect()
    };
    if said.objects.len() != now.objects.len() {
        let what = "how many objects there are".to_owned();
        return Err(Error::Changed { id, what });
    }
    if let Some(other) = ids(&said).symmetric_difference(&ids(&now)).next() {
        return Err(Error::Changed {
            id,
            what: format!("that there is object {}", other.saturating_add(least)),
        });
    }
    match said.differs_from(&now, least) {
        Some(what) => Err(Error::Changed { id, what }),
        None => Ok(key.clone()),
    }
}

/// The link of a signature, the signed objects, and the lowest id of their group.
type Wanted<'a> = (Link, Vec<&'a Descriptor>, u32);

fn wanted(sif: &Sif, scope: Scope) -> Result<Vec<Wanted<'_>>, Error> {
    let of_group = |group: u32| -> Vec<&Descriptor> {
        let all = sif.descriptors.iter();
        let mut all: Vec<_> = all.filter(|one| one.group == Some(group)).collect();
        all.sort_by_key(|one| one.id);
        all
    };
    let whole = |group: u32| -> Option<Wanted<'_>> {
        let objects = of_group(group);
        let least = objects.first()?.id;
        Some((Link::Group(group), objects, least))
    };
    match scope {
        Scope::All => {
            let groups: BTreeSet<u32> =
                sif.descriptors.iter().filter_map(|one| one.group).collect();
            let all: Vec<Wanted<'_>> = groups.into_iter().filter_map(whole).collect();
            match all.is_empty() {
                true => Err(Error::Nothing("group of objects".to_owned())),
                false => Ok(all),
            }
        }
        Scope::Group(group) => {
            let found = whole(group).ok_or_else(|| Error::Nothing(format!("group {group}")))?;
            Ok(vec![found])
        }
        Scope::Object(id) => {
            let found = sif.descriptors.iter().find(|one| one.id == id);
            let found = found.ok_or_else(|| Error::Nothing(format!("object {id}")))?;
            let least = found
                .group
                .and_then(|group| of_group(group).first().map(|one| one.id))
                .unwrap_or(id);
            Ok(vec![(Link::Object(id), vec![found], least)])
        }
    }
}

fn signatures_of(sif: &Sif, link: Link) -> Vec<(&Descriptor, Signature)> {
    let all = sif.descriptors.iter().filter(|one| one.link == Some(link));
    all.filter_map(|one| match &one.data {
        DataType::Signature(signature) => Some((one, *signature)),
        _ => None,
    })
    .collect()
}

fn told(link: Link) -> String {
    match link {
        Link::Group(group) => format!("object group {group}"),
        Link::Object(id) => format!("object {id}"),
    }
}

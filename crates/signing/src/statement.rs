//! The signed content about a SIF: digests of its header, of each object and of each descriptor.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use oci::Hasher;
use serde::{Deserialize, Serialize};
use sif::{Descriptor, Sif};

use crate::Error;

/// The text that is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    version: u32,
    header: Header,
    pub(crate) objects: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    digest: String,
}

/// The digests of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Object {
    /// The object's id, counted from the lowest id of the group.
    pub(crate) relative_id: u32,
    descriptor_digest: String,
    object_digest: String,
}

const VERSION: u32 = 1;
/// Number of bytes that are read at a time.
const CHUNK: usize = 1 << 20;

impl Statement {
    /// Makes a statement about the present content of objects. `least` is the lowest id of their
    /// group.
    pub(crate) fn of(
        file: &File,
        sif: &Sif,
        objects: &[&Descriptor],
        least: u32,
    ) -> Result<Self, Error> {
        let objects = objects.iter().map(|object| {
            let relative_id = object.id.saturating_sub(least);
            Ok(Object {
                relative_id,
                descriptor_digest: digest(&object.signed_bytes(relative_id)),
                object_digest: of_object(file, object)?,
            })
        });
        Ok(Self {
            version: VERSION,
            header: Header {
                digest: digest(&sif.header.signed_bytes()),
            },
            objects: objects.collect::<Result<_, Error>>()?,
        })
    }

    /// Returns the first part that differs from `now`, or `None` when all parts are equal.
    pub(crate) fn differs_from(&self, now: &Self, least: u32) -> Option<String> {
        if self.version != now.version {
            return Some(format!("its version {}", self.version));
        }
        if self.header != now.header {
            return Some("the header".to_owned());
        }
        let pairs = self.objects.iter().zip(&now.objects);
        pairs
            .filter(|(said, is)| said != is)
            .map(|(said, _)| format!("object {}", said.relative_id.saturating_add(least)))
            .next()
    }
}

fn digest(bytes: &[u8]) -> String {
    oci::Digest::of(bytes).to_string()
}

fn of_object(file: &File, object: &Descriptor) -> Result<String, Error> {
    let failed = |source| Error::Object {
        id: object.id,
        source,
    };
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; CHUNK];
    let (mut at, end) = (object.offset, object.offset + object.size);
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get_mut(..length).unwrap_or_default();
        match file.read_at(part, at).map_err(failed)? {
            0 => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
            count => {
                hasher.update(part.get(..count).unwrap_or_default());
                at += count as u64;
            }
        }
    }
    Ok(hasher.digest().to_string())
}

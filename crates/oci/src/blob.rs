//! Blobs: content that is named by its digest.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::{Error, Layer};

/// The SHA-256 of some content: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

const PREFIX: &str = "sha256:";

impl Digest {
    /// Returns the digits without the prefix.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or_default()
    }

    /// Returns the digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(content))
    }

    /// Checks that this is the digest of `content`.
    ///
    /// # Errors
    ///
    /// Fails when it is not.
    pub fn check(&self, content: &[u8]) -> Result<(), Error> {
        let mut hasher = Hasher::default();
        hasher.update(content);
        hasher.check(self)
    }

    fn from_hash(hash: Sha256) -> Self {
        let digits: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self(format!("{PREFIX}{digits}"))
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Accepts only hexadecimal digits, because a digest becomes part of a path.
    fn from_str(text: &str) -> Result<Self, Error> {
        let is_digest = text.strip_prefix(PREFIX).is_some_and(|digits| {
            digits.len() == 64
                && digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
        if is_digest {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::BadDigest(text.to_owned()))
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of content that arrives in pieces.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// Returns the digest of all pieces.
    #[must_use]
    pub fn digest(self) -> Digest {
        Digest::from_hash(self.0)
    }

    /// Checks that the pieces have the expected digest.
    ///
    /// # Errors
    ///
    /// Fails when they have another.
    pub fn check(self, expected: &Digest) -> Result<(), Error> {
        let found = self.digest();
        if found == *expected {
            return Ok(());
        }
        Err(Error::Digest {
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }
}

/// A place that blobs are read from.
pub trait Blobs {
    /// Opens a blob. The caller has to check its digest.
    ///
    /// # Errors
    ///
    /// Fails when there is no such blob.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Error>;

    /// Opens a manifest, which a registry keeps apart from its blobs.
    ///
    /// # Errors
    ///
    /// As for [`Blobs::open`].
    fn manifest(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Error> {
        self.open(digest)
    }

    /// Fetches layers together, before they are opened one by one.
    ///
    /// # Errors
    ///
    /// Fails when a layer cannot be fetched.
    fn prepare(&self, layers: &[Layer]) -> Result<(), Error> {
        let _ = layers;
        Ok(())
    }
}

/// Largest document (manifest, index or configuration) that is read, in bytes.
pub const LONGEST_DOCUMENT: u64 = 16 << 20;

/// Reads a whole document and checks its digest.
pub(crate) fn document(blob: Box<dyn Read + '_>, digest: &Digest) -> Result<Vec<u8>, Error> {
    // The digest is checked at the end of the blob. A document that was cut off at the limit would
    // never reach it, so a longer one is an error.
    let blob = Checked::new(blob, digest.clone());
    sys::read_at_most(blob, LONGEST_DOCUMENT).map_err(|error| Error::Document {
        what: digest.to_string(),
        reason: text::message(&error),
    })
}

/// A reader that returns an error at its end unless the content has the expected digest.
pub(crate) struct Checked<R> {
    inner: R,
    hash: Option<Hasher>,
    expected: Digest,
}

impl<R: Read> Checked<R> {
    pub(crate) fn new(inner: R, expected: Digest) -> Self {
        Self {
            inner,
            hash: Some(Hasher::default()),
            expected,
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            if let Some(hash) = &mut self.hash {
                hash.update(buffer.get(..count).unwrap_or_default());
            }
            return Ok(count);
        }
        match self.hash.take() {
            Some(hash) => hash
                .check(&self.expected)
                .map(|()| 0)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            None => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_digits_and_no_path() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
        let zeros = "0".repeat(62);
        for text in [
            "",
            "sha256:",
            "sha512:00",
            &format!("sha256:../{zeros}"),
            &format!("sha256:{zeros}AA"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn another_content_is_an_error_at_its_end() {
        let read = |content: &[u8]| {
            let mut text = String::new();
            Checked::new(content, Digest::of(b"right")).read_to_string(&mut text)
        };
        assert!(read(b"right").is_ok());
        for wrong in [&b"wrong"[..], b"righ", b"right!", b""] {
            let error = read(wrong).unwrap_err();
            assert!(
                error.to_string().contains("the content is another"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_document_is_checked_however_long_it_is() {
        let longest = usize::try_from(LONGEST_DOCUMENT).unwrap();
        let text = vec![b' '; longest + 1];
        let read = |text: &[u8], of: &[u8]| {
            let blob: Box<dyn Read> = Box::new(io::Cursor::new(text.to_vec()));
            document(blob, &Digest::of(of))
        };
        let whole = text.get(..longest).unwrap();
        assert_eq!(read(whole, whole).unwrap().len(), longest);
        assert!(read(whole, b"another").is_err());
        let error = read(&text, b"another").unwrap_err().to_string();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
        assert!(read(&text, &text).is_err());
    }
}

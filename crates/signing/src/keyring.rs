//! The user's keys in Apptainer's own files, `pgp-public` and `pgp-secret`. Each file is a sequence
//! of keys.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, Key, Secret};

/// Largest key file that is read, in bytes: it has room for thousands of keys.
const LONGEST: u64 = 16 << 20;

/// A directory with the user's keys.
#[derive(Debug, Clone)]
pub struct Keyring {
    directory: PathBuf,
}

impl Keyring {
    /// Returns the keyring in a directory, which is created when it is needed.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns the path of the public keys' file.
    #[must_use]
    pub fn public_file(&self) -> PathBuf {
        self.directory.join("pgp-public")
    }

    /// Returns the path of the secret keys' file.
    #[must_use]
    pub fn secret_file(&self) -> PathBuf {
        self.directory.join("pgp-secret")
    }

    /// Returns the public keys.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read.
    pub fn public(&self) -> Result<Vec<Key>, Error> {
        let path = self.public_file();
        Key::read(&content(&path)?).map_err(|reason| Error::Keyring { path, reason })
    }

    /// Returns the secret keys.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read.
    pub fn secret(&self) -> Result<Vec<Secret>, Error> {
        let path = self.secret_file();
        Secret::read(&content(&path)?).map_err(|reason| Error::Keyring { path, reason })
    }

    /// Adds a new key to both files.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read or written.
    pub fn add(&self, key: &Secret) -> Result<(), Error> {
        self.add_secret(key)?;
        self.add_public(&key.public()).map(drop)
    }

    fn add_secret(&self, key: &Secret) -> Result<bool, Error> {
        let mut all = self.secret()?;
        let fingerprint = key.public().fingerprint();
        if all
            .iter()
            .any(|one| one.public().fingerprint() == fingerprint)
        {
            return Ok(false);
        }
        all.push(key.clone());
        self.write_secret(&all)?;
        Ok(true)
    }

    /// Adds a public key. Returns `false` when the keyring has it already.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read or written.
    pub fn add_public(&self, key: &Key) -> Result<bool, Error> {
        let mut all = self.public()?;
        if all.iter().any(|one| one.fingerprint() == key.fingerprint()) {
            return Ok(false);
        }
        all.push(key.clone());
        self.write_public(&all)?;
        Ok(true)
    }

    /// Adds the keys of a file, in ASCII armor or in binary form. Returns the new ones.
    ///
    /// # Errors
    ///
    /// Fails when the file has no keys, or a file cannot be read or written.
    pub fn import(&self, path: &Path) -> Result<Vec<Key>, Error> {
        let failed = |reason: String| Error::Keyring {
            path: path.to_owned(),
            reason,
        };
        // The path may be a pipe.
        let read = fs::File::open(path).and_then(|file| sys::read_at_most(file, LONGEST));
        let bytes = read.map_err(|error| failed(text::message(&error)))?;
        let mut new = Vec::new();
        let secret = Secret::read(&bytes).unwrap_or_default();
        for key in &secret {
            if self.add_secret(key)? {
                new.push(key.public());
            }
        }
        if !secret.is_empty() {
            return Ok(new);
        }
        let public = Key::read(&bytes).map_err(failed)?;
        if public.is_empty() {
            return Err(failed("there is no key in it".to_owned()));
        }
        for key in public {
            if self.add_public(&key)? {
                new.push(key);
            }
        }
        Ok(new)
    }

    /// Removes public keys, secret keys, or both. Returns the number of removed keys.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read or written.
    pub fn remove(&self, fingerprint: &str, public: bool, secret: bool) -> Result<usize, Error> {
        let mut gone = 0;
        if public {
            let mut all = self.public()?;
            let before = all.len();
            all.retain(|key| !key.is(fingerprint));
            gone += before - all.len();
            if all.len() < before {
                self.write_public(&all)?;
            }
        }
        if secret {
            let mut all = self.secret()?;
            let before = all.len();
            all.retain(|key| !key.public().is(fingerprint));
            gone += before - all.len();
            if all.len() < before {
                self.write_secret(&all)?;
            }
        }
        Ok(gone)
    }

    fn write_public(&self, keys: &[Key]) -> Result<(), Error> {
        let bytes: Result<Vec<Vec<u8>>, Error> = keys.iter().map(Key::bytes).collect();
        self.write(self.public_file(), &bytes?.concat())
    }

    fn write_secret(&self, keys: &[Secret]) -> Result<(), Error> {
        let bytes: Result<Vec<Vec<u8>>, Error> = keys.iter().map(Secret::bytes).collect();
        self.write(self.secret_file(), &bytes?.concat())
    }

    /// Replaces the file as a whole. Only its owner can read it.
    fn write(&self, path: PathBuf, bytes: &[u8]) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| Error::Keyring {
            path: path.clone(),
            reason: text::message(&error),
        })
    }
}

fn content(path: &Path) -> Result<Vec<u8>, Error> {
    match sys::read_file(path, LONGEST) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::Keyring {
            path: path.to_owned(),
            reason: text::message(&error),
        }),
    }
}

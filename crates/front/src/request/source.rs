//! The source of a container's root.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::caller::Caller;
use crate::flags::{RegistryFlags, RegistryOptions};
use crate::hints;

/// The source of a container's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An absolute path.
    Path(PathBuf),
    /// A source from which a SIF has to be made first.
    Foreign(pull::Source),
    /// A running instance, by name.
    Instance(String),
    /// The built-in image.
    Embedded,
}

impl Source {
    /// Parses the user's word for an image. A path becomes absolute.
    ///
    /// # Errors
    ///
    /// Fails on a word that looks like a source and is not one, and when the path is relative to a
    /// directory that no longer exists.
    pub fn parse(image: &OsStr, caller: &Caller) -> Result<Self> {
        let word = image.to_string_lossy();
        if let Some(name) = word.strip_prefix("instance://") {
            return Ok(Self::Instance(name.to_owned()));
        }
        if let Some(source) = pull::Source::parse(&word)? {
            return Ok(Self::Foreign(source));
        }
        let path = caller.absolute(Path::new(image))?;
        let found = path.metadata();
        if found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            && let Some(hint) = hints::of_missing_image(&word)
        {
            bail!(
                "could not open image {}: no such file or directory; {hint}",
                path.display()
            );
        }
        Ok(Self::Path(path))
    }

    /// Returns the access to the source. Returns `None` for a file, or an image that is here
    /// already.
    ///
    /// # Errors
    ///
    /// Fails on invalid flags, variables and site configurations.
    pub fn registry_options(
        &self,
        flags: &RegistryFlags,
        caller: &Caller,
    ) -> Result<Option<RegistryOptions>> {
        match self {
            Self::Foreign(_) => flags.resolve(caller).map(Some),
            _ => Ok(None),
        }
    }
}

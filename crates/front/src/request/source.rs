//! Where a container's root comes from.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::caller::Caller;
use crate::flags::{Network, NetworkFlags};
use crate::hints;

/// Where the root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An absolute path.
    Path(PathBuf),
    /// What a SIF has to be made of first.
    Foreign(image::Source),
    /// A running instance, by name.
    Instance(String),
    /// The image that is built in.
    Embedded,
}

impl Source {
    /// Makes an image's path absolute.
    ///
    /// # Errors
    ///
    /// Fails on a word that looks like a source and is none, and when the path is relative to a directory
    /// that is gone.
    pub fn parse(image: &OsStr, caller: &Caller) -> Result<Self> {
        let word = image.to_string_lossy();
        if let Some(name) = word.strip_prefix("instance://") {
            return Ok(Self::Instance(name.to_owned()));
        }
        if let Some(source) = image::Source::parse(&word)? {
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

    /// Returns how it is reached; `None` for what is a file, or here already.
    ///
    /// # Errors
    ///
    /// Fails on flags, variables and a site configuration that have no meaning.
    pub fn network(&self, flags: &NetworkFlags, caller: &Caller) -> Result<Option<Network>> {
        match self {
            Self::Foreign(_) => flags.resolve(caller).map(Some),
            _ => Ok(None),
        }
    }
}

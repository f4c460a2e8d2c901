//! The setting that apt(8) needs if root is the only user: scripts may clean the environment, which
//! has it too.

use std::path::Path;

use anyhow::{Context, Result};
use rootfs::{Directory, Entry, Files};

const DIRECTORY: &str = "/etc/apt/apt.conf.d";
const FILE: &str = "/etc/apt/apt.conf.d/zz-front-build";

/// The setting in an image, as long as a script runs.
pub struct AptSettings(Option<Directory>);

impl AptSettings {
    /// Adds the setting to an image that has apt.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be written.
    pub fn add(tree: &Path) -> Result<Self> {
        if session::has_other_users() {
            return Ok(Self(None));
        }
        let root = Directory::open_root(tree)?;
        if root.entry(Path::new(DIRECTORY))? != Some(Entry::Directory) {
            return Ok(Self(None));
        }
        root.unlink(Path::new(FILE)).context(FILE)?;
        let text = b"APT::Sandbox::User \"root\";\n";
        root.write(Path::new(FILE), 0o644, text).context(FILE)?;
        Ok(Self(Some(root)))
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be written.
    pub fn remove(self) -> Result<()> {
        match self.0 {
            Some(root) => root.unlink(Path::new(FILE)).context(FILE),
            None => Ok(()),
        }
    }
}

//! The image's environment scripts, `/.singularity.d/env/*.sh`.
//!
//! Most only set variables to plain values; those are read here, without starting anything
//! ([`plain`]). Any other is run by the image's own shell ([`shell`]), as are overrides that ask
//! for it.

mod plain;
mod shell;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use image::RootFs;
use tree::Files as _;

use crate::environment::Set;

/// Where the scripts are.
const DIRECTORY: &str = "/.singularity.d/env";

/// Scripts that come with every image and are the runtime's own business: the base settings, the
/// apps (none is active), and the paths.
const OWN: [&str; 5] = [
    "01-base.sh",
    "94-appsbase.sh",
    "95-apps.sh",
    "99-base.sh",
    "99-runtimevars.sh",
];

/// How much of a script is read, in bytes.
const LIMIT: usize = 1 << 20;

/// The scripts of an image, in the order they are sourced.
#[derive(Debug, Clone, Default)]
pub struct Scripts {
    paths: Vec<OsString>,
    texts: Vec<Vec<u8>>,
}

/// What the scripts and overrides come to.
#[derive(Debug)]
pub enum Outcome {
    /// These variables.
    Variables {
        /// What the scripts exported.
        image: Set,
        /// The overrides, their values worked out.
        overrides: Set,
    },
    /// A script ended the run, with this code.
    Exit(u8),
}

impl Scripts {
    /// Finds the scripts of an image that do something.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read.
    pub fn find(root: &RootFs) -> io::Result<Self> {
        let mut scripts = Self::default();
        for name in root.list(Path::new(DIRECTORY))? {
            if !name.as_bytes().ends_with(b".sh") || OWN.iter().any(|own| name == *own) {
                continue;
            }
            let path = Path::new(DIRECTORY).join(&name);
            let Some(text) = root.read(&path, LIMIT)? else {
                continue;
            };
            if !plain::is_idle(&text) {
                scripts.paths.push(path.into());
                scripts.texts.push(text);
            }
        }
        Ok(scripts)
    }

    /// Works out scripts and overrides without starting anything, from the variables in `base`;
    /// `None` when that takes a shell.
    pub fn evaluate_plainly<'a>(
        &self,
        base: &Set,
        overrides: impl Iterator<Item = &'a (OsString, OsString)>,
    ) -> Option<(Set, Set)> {
        let mut set = base.clone();
        for text in &self.texts {
            plain::evaluate(text, &mut set)?;
        }
        let overrides: Set = overrides.cloned().collect();
        let literal = overrides.values().all(|value| !plain::wants_a_shell(value));
        literal.then_some((set, overrides))
    }

    /// Has the image's shell work them out. The calling process must be in the container.
    ///
    /// # Errors
    ///
    /// Fails when there is no shell, and when it does not answer.
    pub fn evaluate_by_shell<'a>(
        &self,
        base: &Set,
        overrides: impl Iterator<Item = &'a (OsString, OsString)>,
    ) -> io::Result<Outcome> {
        shell::evaluate(&self.paths, base, overrides)
    }
}

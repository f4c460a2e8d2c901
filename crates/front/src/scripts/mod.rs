//! The image's environment scripts, `/.singularity.d/env/*.sh`.
//!
//! Most of them only set variables to plain values. These are read here, and no process is started
//! ([`plain`]). The image's own shell runs any other script ([`shell`]), and evaluates the
//! overrides that need a shell.

pub mod files;
mod plain;
mod shell;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use image::RootFs;
use rootfs::Files as _;

use crate::variables::Set;

/// Directory of the scripts.
const DIRECTORY: &str = "/.singularity.d/env";

/// Scripts that come with every image, and whose task the runtime does itself: the base settings and
/// the paths.
const OWN: [&str; 3] = ["01-base.sh", "99-base.sh", "99-runtimevars.sh"];

/// The script that activates an application. It has no effect if there is none.
const APPLICATION: &str = "95-apps.sh";

/// Largest total size of the scripts that are read here, in bytes. If they are larger, the shell
/// runs them.
const LIMIT: usize = 1 << 20;

/// Largest total length of the scripts' paths, in bytes. The shell gets them in one argument
/// (MAX_ARG_STRLEN, execve(2)), together with the user's overrides.
const NAMES: usize = 64 << 10;

/// The scripts of an image, in the order in which they are sourced.
#[derive(Debug, Clone, Default)]
pub struct Scripts {
    paths: Vec<OsString>,
    texts: Vec<Vec<u8>>,
    /// Whether the scripts are larger than is read here.
    is_large: bool,
}

/// The result of the scripts and the overrides.
#[derive(Debug)]
pub enum Outcome {
    /// These variables.
    Variables {
        /// The variables that the scripts exported.
        image: Set,
        /// The overrides, with their final values.
        overrides: Set,
        /// The scripts that the shell could not run to their end.
        lost: Vec<OsString>,
    },
    /// A script ended the run, with this exit code.
    Exit(u8),
}

impl Scripts {
    /// Finds the scripts of an image that have an effect, in an application or without one.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read.
    pub fn find(root: &RootFs, in_application: bool) -> io::Result<Self> {
        let mut scripts = Self::default();
        let (mut left, mut names) = (LIMIT, NAMES);
        for name in root.list(Path::new(DIRECTORY))? {
            let is_idle =
                OWN.iter().any(|own| name == *own) || name == APPLICATION && !in_application;
            if !name.as_bytes().ends_with(b".sh") || is_idle {
                continue;
            }
            let path = Path::new(DIRECTORY).join(&name);
            names = names
                .checked_sub(path.as_os_str().len())
                .ok_or_else(too_many)?;
            let Some(text) = root.read(&path, left.saturating_add(1))? else {
                continue;
            };
            let rest = left.checked_sub(text.len());
            left = rest.unwrap_or_default();
            scripts.is_large |= rest.is_none();
            if rest.is_none() {
                scripts.paths.push(path.into());
            } else if !plain::is_idle(&text) {
                scripts.paths.push(path.into());
                scripts.texts.push(text);
            }
        }
        Ok(scripts)
    }

    /// Evaluates scripts and overrides without starting a process, from the variables in `base`.
    /// Returns `None` if this needs a shell. The overrides may be `literal`.
    pub fn evaluate_plainly<'a>(
        &self,
        base: &Set,
        overrides: impl Iterator<Item = &'a (OsString, OsString)>,
        literal: bool,
    ) -> Option<(Set, Set)> {
        if self.is_large {
            return None;
        }
        let (mut set, mut left) = (base.clone(), plain::Left::default());
        for text in &self.texts {
            plain::evaluate(text, &mut set, &mut left)?;
        }
        let overrides: Set = overrides.cloned().collect();
        let literal = literal || overrides.values().all(|value| !plain::wants_a_shell(value));
        literal.then_some((set, overrides))
    }

    /// Evaluates scripts and overrides with the image's shell. The calling process must be in the
    /// container, which may be `contained`.
    ///
    /// # Errors
    ///
    /// Fails when there is no shell, and when it does not answer.
    pub fn evaluate_by_shell<'a>(
        &self,
        base: &Set,
        overrides: impl Iterator<Item = &'a (OsString, OsString)>,
        contained: bool,
    ) -> io::Result<Outcome> {
        shell::evaluate(&self.paths, base, overrides, contained)
    }
}

fn too_many() -> io::Error {
    io::Error::other(format!(
        "{DIRECTORY}: the script names exceed 64 KiB in total; merge some scripts"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the scripts of an image with these files: names and contents.
    fn found(files: impl Iterator<Item = (String, String)>) -> io::Result<Scripts> {
        let home = tempfile::tempdir().unwrap();
        let env = home.path().join(".singularity.d/env");
        std::fs::create_dir_all(&env).unwrap();
        for (name, text) in files {
            std::fs::write(env.join(name), text).unwrap();
        }
        Scripts::find(&image::Image::open(home.path()).unwrap().root, false)
    }

    #[test]
    fn more_than_is_read_is_the_shells() {
        let named = |number| format!("{number:04}.sh");
        let script = format!("A=b\n#{}\n", "x".repeat(100 << 10));
        let many = found((0..40).map(|number| (named(number), script.clone()))).unwrap();
        assert_eq!(many.paths.len(), 40);
        let read: usize = many.texts.iter().map(Vec::len).sum();
        assert!(read <= LIMIT, "{read}");
        assert!(
            many.evaluate_plainly(&Set::new(), [].iter(), false)
                .is_none()
        );
        // A script that is cut off would have another meaning.
        let long = format!("A=b\n#{}\nexport A=c\n", "x".repeat(LIMIT));
        let long = found([(named(1), long)].into_iter()).unwrap();
        assert!(
            long.evaluate_plainly(&Set::new(), [].iter(), false)
                .is_none()
        );
        let few = found((0..9).map(|number| (named(number), script.clone()))).unwrap();
        assert!(
            few.evaluate_plainly(&Set::new(), [].iter(), false)
                .is_some()
        );
        let countless = found((0..3000).map(|number| (named(number), String::new())));
        let error = countless.unwrap_err().to_string();
        assert!(error.contains("exceed 64 KiB"), "{error}");
    }
}

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

/// How much of all scripts is read, in bytes. The shell reads the rest.
const LIMIT: usize = 1 << 20;

/// How many bytes the scripts' paths may have together: the shell is told them in one argument
/// (MAX_ARG_STRLEN, execve(2)), and the user's overrides beside them.
const NAMES: usize = 64 << 10;

/// The scripts of an image, in the order they are sourced.
#[derive(Debug, Clone, Default)]
pub struct Scripts {
    paths: Vec<OsString>,
    texts: Vec<Vec<u8>>,
    /// Whether there is more than is read here.
    is_large: bool,
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
        /// The scripts that the shell could not run to their end.
        lost: Vec<OsString>,
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
        let (mut left, mut names) = (LIMIT, NAMES);
        for name in root.list(Path::new(DIRECTORY))? {
            if !name.as_bytes().ends_with(b".sh") || OWN.iter().any(|own| name == *own) {
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

    /// Works out scripts and overrides without starting anything, from the variables in `base`;
    /// `None` when that takes a shell.
    pub fn evaluate_plainly<'a>(
        &self,
        base: &Set,
        overrides: impl Iterator<Item = &'a (OsString, OsString)>,
    ) -> Option<(Set, Set)> {
        if self.is_large {
            return None;
        }
        let (mut set, mut left) = (base.clone(), plain::Left::default());
        for text in &self.texts {
            plain::evaluate(text, &mut set, &mut left)?;
        }
        let overrides: Set = overrides.cloned().collect();
        let literal = overrides.values().all(|value| !plain::wants_a_shell(value));
        literal.then_some((set, overrides))
    }

    /// Has the image's shell work them out. The calling process must be in the container, which may be `contained`.
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
        "{DIRECTORY}: the names of its scripts take more than 64 KiB; put the scripts together"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scripts of an image that has files of these names and contents.
    fn found(files: impl Iterator<Item = (String, String)>) -> io::Result<Scripts> {
        let home = tempfile::tempdir().unwrap();
        let env = home.path().join(".singularity.d/env");
        std::fs::create_dir_all(&env).unwrap();
        for (name, text) in files {
            std::fs::write(env.join(name), text).unwrap();
        }
        Scripts::find(&image::Image::open(home.path()).unwrap().root)
    }

    #[test]
    fn more_than_is_read_is_the_shells() {
        let named = |number| format!("{number:04}.sh");
        let script = format!("A=b\n#{}\n", "x".repeat(100 << 10));
        let many = found((0..40).map(|number| (named(number), script.clone()))).unwrap();
        assert_eq!(many.paths.len(), 40);
        let read: usize = many.texts.iter().map(Vec::len).sum();
        assert!(read <= LIMIT, "{read}");
        assert!(many.evaluate_plainly(&Set::new(), [].iter()).is_none());
        // A script that is cut off would say something else.
        let long = format!("A=b\n#{}\nexport A=c\n", "x".repeat(LIMIT));
        let long = found([(named(1), long)].into_iter()).unwrap();
        assert!(long.evaluate_plainly(&Set::new(), [].iter()).is_none());
        let few = found((0..9).map(|number| (named(number), script.clone()))).unwrap();
        assert!(few.evaluate_plainly(&Set::new(), [].iter()).is_some());
        let countless = found((0..3000).map(|number| (named(number), String::new())));
        let error = countless.unwrap_err().to_string();
        assert!(error.contains("more than 64 KiB"), "{error}");
    }
}

//! Compiled filters, cached in the state root: engines give each container the same profile.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::compile::instructions;
use crate::shadow_bundle::{scratch, write_whole};

/// Largest number of cached filters. Engines have one or two profiles; tests have more.
const MOST: usize = 64;

/// Changes when a profile is compiled to another program.
const FORMAT: u32 = 2;

/// The file that caches the filter of one profile: the profile's text, a zero byte, and the
/// program. The text is compared because two profiles might have the same file name. A file of
/// another version does not match.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    text: Vec<u8>,
}

impl Cache {
    pub(super) fn new(root: &Path, text: &str) -> Self {
        let text = format!("{} {FORMAT} {text}\0", env!("CARGO_PKG_VERSION"));
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self {
            path: scratch(root, "seccomp", &format!("{:016x}", hasher.finish())),
            text: text.into_bytes(),
        }
    }

    pub(super) fn read(&self) -> Option<Vec<u64>> {
        let bytes = read_own(&self.path)?;
        let program = instructions(bytes.strip_prefix(self.text.as_slice())?);
        (!program.is_empty()).then_some(program)
    }

    /// A filter that cannot be cached is compiled again next time.
    pub(super) fn write(&self, program: &[u64]) {
        let Some(directory) = self.path.parent() else {
            return;
        };
        if fs::read_dir(directory).is_ok_and(|kept| kept.count() >= MOST) {
            let _ = fs::remove_dir_all(directory);
        }
        let mut bytes = self.text.clone();
        bytes.extend(program.iter().flat_map(|one| one.to_ne_bytes()));
        let mut private = fs::DirBuilder::new();
        let written = private
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(crate::Error::state("create", directory))
            .and_then(|()| write_whole(&self.path, &bytes));
        if let Err(error) = written {
            tracing::debug!("{}", text::one_line(&error));
        }
    }
}

/// Reads a file that nobody else can have written.
fn read_own(path: &Path) -> Option<Vec<u8>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = fs::File::options()
        .read(true)
        .custom_flags(flags)
        .open(path);
    let mut file = file.ok()?;
    let found = file.metadata().ok()?;
    let is_own = found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0;
    let mut bytes = Vec::new();
    (is_own && found.is_file() && file.read_to_end(&mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path(), "{}");
        assert_eq!(cache.read(), None);
        cache.write(&[1, 2, 3]);
        assert_eq!(cache.read(), Some(vec![1, 2, 3]));
        let path = cache.path.clone();
        let other = Cache {
            path,
            ..Cache::new(root.path(), "{ }")
        };
        assert_eq!(
            other.read(),
            None,
            "the name is the same, the profile another"
        );
    }

    #[test]
    fn a_file_that_others_may_write_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path(), "{}");
        cache.write(&[1, 2, 3]);
        let directory = cache.path.parent().unwrap();
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o077, 0);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&cache.path, open).unwrap();
        assert_eq!(cache.read(), None);
    }

    #[test]
    fn there_is_an_end_to_keeping() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..3 * MOST {
            Cache::new(root.path(), &number.to_string()).write(&[7]);
        }
        let directory = scratch(root.path(), "seccomp", "");
        assert!(fs::read_dir(directory).unwrap().count() <= MOST);
    }
}

//! Where a program is looked for by its name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directories in which programs are looked for when nothing else is said: runc's and
/// Apptainer's `PATH`.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the paths at which a program without a slash in its name is looked for, in this order: in
/// each directory of a `PATH`. An empty directory is the working directory (execvp(3)).
pub fn candidates<'a>(path: &'a OsStr, name: &'a OsStr) -> impl Iterator<Item = PathBuf> + 'a {
    let directories = path.as_bytes().split(|byte| *byte == b':');
    let directories = directories.map(|directory| match directory {
        b"" => Path::new("."),
        directory => Path::new(OsStr::from_bytes(directory)),
    });
    directories.map(move |directory| directory.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_the_working_directory() {
        let found = candidates(OsStr::new("/bin::sub"), OsStr::new("a"));
        let expected = ["/bin/a", "./a", "sub/a"].map(PathBuf::from);
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

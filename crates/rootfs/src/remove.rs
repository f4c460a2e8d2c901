//! Removing a file tree that may come from an image.

use std::fs;
use std::io;
use std::path::Path;

/// Removes a file, or a directory with everything in it, even directories that their owner may not
/// enter.
///
/// # Errors
///
/// Fails when the file system refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => remove_tree(path),
        false => fs::remove_file(path),
    }
}

/// Removes a directory tree. Directories of an image may be closed to their owner.
fn remove_tree(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path)
}

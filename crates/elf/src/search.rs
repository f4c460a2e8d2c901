//! The directories that loaders search.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rootfs::Files;

use crate::object::{Class, Object};

/// Largest number of directories in a search path.
pub(crate) const MOST_DIRECTORIES: usize = 64;

/// Largest part of a path file that is read, in bytes.
const LIMIT: usize = 64 << 10;

/// Returns the directories of a search path. `$ORIGIN`, `$LIB` and `$PLATFORM` are replaced as the
/// loader does; `origin` is the directory of the object, if it is known. Empty and relative entries
/// depend on the working directory, and are left out.
pub(crate) fn expand(path: &OsStr, machine: Object, origin: Option<&Path>) -> Vec<PathBuf> {
    let origin = origin.map(|origin| origin.to_string_lossy().into_owned());
    let library = match machine.class {
        Class::Elf64 => "lib64",
        Class::Elf32 => "lib",
    };
    let platform = if machine.machine == 62 { "x86_64" } else { "" };
    let tokens = [
        ("ORIGIN", origin.as_deref().unwrap_or_default()),
        ("LIB", library),
        ("PLATFORM", platform),
    ];
    let text = path.to_string_lossy();
    let known = |directory: &&str| origin.is_some() || !directory.contains("ORIGIN");
    let directories = text.split(':').filter(known).map(|directory| {
        tokens
            .iter()
            .fold(directory.to_owned(), |text, (token, value)| {
                let braced = text.replace(&format!("${{{token}}}"), value);
                braced.replace(&format!("${token}"), value)
            })
    });
    let whole = directories.filter(|text| text.starts_with('/'));
    whole.take(MOST_DIRECTORIES).map(PathBuf::from).collect()
}

/// Returns the directories that glibc searches by default. They differ between distributions.
pub(crate) fn system_directories(machine: &Object) -> Vec<PathBuf> {
    let triplet = match (machine.class, machine.machine) {
        (Class::Elf64, 62) => Some("x86_64-linux-gnu"),
        (Class::Elf32, 3) => Some("i386-linux-gnu"),
        (Class::Elf64, 183) => Some("aarch64-linux-gnu"),
        (Class::Elf64, 21) => Some("powerpc64le-linux-gnu"),
        (Class::Elf64, 22) => Some("s390x-linux-gnu"),
        _ => None,
    };
    let debian = triplet.map(|triplet| [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")]);
    let wide: &[&str] = match machine.class {
        Class::Elf64 => &["/lib64", "/usr/lib64"],
        Class::Elf32 => &[],
    };
    let common = wide.iter().chain(&["/lib", "/usr/lib"]);
    debian
        .into_iter()
        .flatten()
        .chain(common.map(|path| (*path).to_owned()))
        .map(PathBuf::from)
        .collect()
}

/// Returns the name of musl's loader, which is also its C library: `ld-musl-x86_64`.
pub(crate) fn musl_name(root: &dyn Files, machine: &Object) -> io::Result<Option<String>> {
    for name in root.list(Path::new("/lib"))? {
        let Some(name) = name.to_str() else { continue };
        let Some(stem) = name
            .strip_suffix(".so.1")
            .filter(|stem| stem.starts_with("ld-musl-"))
        else {
            continue;
        };
        let head = root.read(&Path::new("/lib").join(name), Object::HEAD)?;
        let object = head.and_then(|head| Object::parse(&head).ok());
        if object.as_ref() == Some(machine) {
            return Ok(Some(stem.to_owned()));
        }
    }
    Ok(None)
}

/// Returns the directories that musl searches: those of its path file, or its defaults.
pub(crate) fn musl_directories(root: &dyn Files, name: &str) -> io::Result<Vec<PathBuf>> {
    let file = root.read(&Path::new("/etc").join(format!("{name}.path")), LIMIT)?;
    let text = file.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_else(|| "/lib:/usr/local/lib:/usr/lib".to_owned());
    let directories = text.split([':', '\n']).filter(|path| path.starts_with('/'));
    Ok(directories.map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_put_in() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let machine = Object::parse(&own).unwrap();
        let path = OsStr::new("$ORIGIN/../y::relative:${ORIGIN}:/z");
        let expected = ["/opt/x/lib/../y", "/opt/x/lib", "/z"].map(PathBuf::from);
        let origin = Path::new("/opt/x/lib");
        assert_eq!(expand(path, machine, Some(origin)), expected);
        let path = OsStr::new("$ORIGIN/y:${ORIGIN}:/z");
        assert_eq!(expand(path, machine, None), [PathBuf::from("/z")]);
    }
}

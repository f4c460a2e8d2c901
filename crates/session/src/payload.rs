//! Becoming the payload: the last steps of the calling process, inside the container.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use caps::CapsHashSet;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use crate::execute::execute;

/// The program to become.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The program's name and arguments; at least the name.
    pub args: Vec<OsString>,
    /// The environment. Its `PATH` decides where a bare name is found.
    pub env: Vec<(OsString, OsString)>,
    /// Whether the payload must not reach the program that starts it.
    pub contained: bool,
}

/// Why a program could not be started. The texts are those that users of Singularity know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// There is no command at all.
    #[error("no command given")]
    Empty,
    /// A bare name is in none of the directories.
    #[error("{0:?}: executable file not found in $PATH")]
    NotInPath(OsString),
    /// A path does not exist.
    #[error("stat {}: no such file or directory", .0.display())]
    Missing(PathBuf),
    /// A path leads to a directory.
    #[error("{}: is a directory", .0.display())]
    IsDirectory(PathBuf),
    /// The file may not be executed.
    #[error("{}: permission denied", .0.display())]
    PermissionDenied(PathBuf),
    /// The file exists, but the loader or interpreter that it names does not.
    #[error("exec {} failed: its {what} is missing in the image", path.display())]
    InterpreterMissing {
        /// The program.
        path: PathBuf,
        /// The missing loader or interpreter.
        what: String,
    },
    /// A script's first line ends as lines do in Windows.
    #[error("exec {} failed: it has Windows line endings (CR LF), also after the interpreter's name; convert it with `dos2unix`", .0.display())]
    OfWindows(PathBuf),
    /// The kernel refused.
    #[error("exec {} failed", path.display())]
    Exec {
        /// The program.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An argument or variable holds a NUL byte.
    #[error("an argument contains a NUL byte")]
    Nul,
    /// The capabilities could not be dropped.
    #[error("drop capabilities")]
    Privileges(#[source] io::Error),
    /// The namespace for a contained program with capabilities could not be made.
    #[error("create a user namespace for a contained program with capabilities")]
    Nested(#[source] io::Error),
    /// The filter for root could not be loaded.
    #[error("load the filter of system calls for --fakeroot")]
    Filter(#[source] io::Error),
    /// The session keyring could not be made.
    #[error("create a session keyring")]
    Keyring(#[source] io::Error),
    /// The terminal cannot be protected.
    #[error("deny the container access to the terminal's input and the caller's keys")]
    Terminal(#[source] io::Error),
    /// The directory cannot be entered.
    #[error("chdir {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Keeps only some of the calling process's capabilities, also for programs that it executes. With
/// `for_good`, no exec gains others either: an unprivileged caller's payload gets this state.
///
/// # Errors
///
/// Fails when the kernel refuses; the payload must not be started then.
pub fn limit_privileges(kept: &CapsHashSet, for_good: bool) -> Result<(), ExecError> {
    limit(kept, for_good).map_err(|errno| ExecError::Privileges(errno.into()))
}

/// Drops every capability, and the right to gain any by a later exec.
pub(crate) fn drop_privileges() -> Result<(), ExecError> {
    limit_privileges(&CapsHashSet::new(), true)
}

fn limit(kept: &CapsHashSet, for_good: bool) -> rustix::io::Result<()> {
    let bits = kept.iter().map(caps::Capability::bitmask);
    let kept = CapabilitySet::from_bits_retain(bits.fold(0, |all, one| all | one));
    clear_ambient_capability_set()?;
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // The kernel has no further capabilities.
            Err(rustix::io::Errno::INVAL) => break,
            dropped => dropped?,
        }
    }
    let held = capabilities(None)?.permitted & kept;
    let sets = CapabilitySets {
        effective: held,
        permitted: held,
        inheritable: held,
    };
    set_capabilities(None, sets)?;
    // Users other than root lose their capabilities by an exec otherwise.
    for capability in held.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    if for_good {
        set_no_new_privs(true)?;
    }
    Ok(())
}

/// The name of the session keyring of a contained session's members.
const KEYRING: &CStr = c"front";

/// Separates a contained payload from things other than files that it shares with its caller: the
/// caller's keys, and the terminal's input. The privileges must have been
/// [limited](limit_privileges).
///
/// # Errors
///
/// Fails when the kernel refuses; the payload must not be started then.
pub fn isolate() -> Result<(), ExecError> {
    // Real root has no user namespace for the session, so a named keyring would be shared by all
    // containers.
    let name = (!crate::is_privileged()).then_some(KEYRING);
    sys::new_session_keyring(name).map_err(|error| {
        let advice = "raise the limit with sysctl kernel.keys.maxkeys";
        ExecError::Keyring(text::with_advice(&error, advice))
    })?;
    sys::forbid_terminal_input_and_keys().map_err(ExecError::Terminal)?;
    Ok(())
}

/// Makes `path` the working directory.
///
/// # Errors
///
/// Fails when the directory does not exist or may not be entered. Also fails when it leads out of
/// the container, by a link to a descriptor that the caller has open (CVE-2024-21626).
pub fn enter_directory(path: &Path) -> Result<(), ExecError> {
    let failed = |source| ExecError::Directory {
        path: path.to_owned(),
        source,
    };
    std::env::set_current_dir(path).map_err(failed)?;
    // Asks the kernel directly: the C library may hide that the directory is "(unreachable)",
    // getcwd(3).
    match rustix::process::getcwd(Vec::new()) {
        Ok(found) if found.as_bytes().starts_with(b"/") => Ok(()),
        Err(errno) => Err(failed(errno.into())),
        Ok(_) => {
            std::env::set_current_dir("/").map_err(failed)?;
            Err(failed(io::Error::other("it is outside the container")))
        }
    }
}

/// Makes `path` the working directory, which outside is the directory with this device and inode. The
/// container may show another one there, without links or on the image's own mount. But a link in a
/// directory that the host shares may be an attacker's, and new: it must lead to the same directory.
///
/// # Errors
///
/// Fails when this is not so, and as [`enter_directory`]. The working directory is `/` then.
pub fn enter_same_directory(path: &Path, identity: (u64, u64)) -> Result<(), ExecError> {
    enter_directory(path)?;
    let entered = crate::identity(Path::new("."));
    let leads_there = |way: ResolveFlags| {
        let (flags, way) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT | way);
        let found = File::open("/").map(|root| openat2(&root, path, flags, Mode::empty(), way));
        let found = found
            .ok()
            .and_then(Result::ok)
            .and_then(|found| fstat(found).ok());
        found.map(|found| (found.st_dev, found.st_ino)) == entered
    };
    if entered == Some(identity)
        || leads_there(ResolveFlags::NO_SYMLINKS)
        || leads_there(ResolveFlags::NO_XDEV)
    {
        return Ok(());
    }
    let failed = |source| ExecError::Directory {
        path: path.to_owned(),
        source,
    };
    std::env::set_current_dir("/").map_err(failed)?;
    Err(failed(io::Error::other(
        "a link leads to another directory",
    )))
}

/// Returns the program that a command's name stands for, as execvp(3) would find it.
///
/// # Errors
///
/// Returns the reason why the name does not stand for an executable file.
pub fn find_program(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, ExecError> {
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return check(&path).map(|()| path);
    }
    if name.is_empty() {
        return Err(ExecError::NotInPath(name.to_owned()));
    }
    let mut denied = None;
    for candidate in rootfs::candidates(path.unwrap_or_default(), name) {
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(ExecError::PermissionDenied(path)) => {
                denied.get_or_insert(path);
            }
            Err(_) => {}
        }
    }
    Err(denied.map_or_else(
        || ExecError::NotInPath(name.to_owned()),
        ExecError::PermissionDenied,
    ))
}

fn check(path: &Path) -> Result<(), ExecError> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ExecError::PermissionDenied(path.to_owned()),
        _ => ExecError::Missing(path.to_owned()),
    })?;
    if metadata.is_dir() {
        return Err(ExecError::IsDirectory(path.to_owned()));
    }
    let executable = metadata.permissions().mode() & 0o111 != 0;
    if !executable || access(path, AccessFlags::X_OK).is_err() {
        return Err(ExecError::PermissionDenied(path.to_owned()));
    }
    Ok(())
}

/// Replaces this process by the payload. Returns only on failure.
///
/// # Errors
///
/// Returns the reason why the program could not be started.
pub fn exec(payload: &Payload) -> Result<Infallible, ExecError> {
    let name = payload.args.first().ok_or(ExecError::Empty)?;
    let search = payload
        .env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value);
    let program = find_program(name, search.map(OsString::as_os_str))?;
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| ExecError::Nul);
    let path = text(program.as_os_str().as_bytes())?;
    let args = payload
        .args
        .iter()
        .map(|arg| text(arg.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let env = payload
        .env
        .iter()
        .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<_>, _>>()?;
    sys::reset_broken_pipe();
    sys::restore_limits();
    match execute(&path, &args, &env, payload.contained) {
        // A script without a `#!` line is run by the shell, as every shell does.
        Errno::ENOEXEC => {
            let shell = text(b"/bin/sh")?;
            let rest = args.iter().skip(1).cloned();
            let args: Vec<_> = [shell.clone(), path].into_iter().chain(rest).collect();
            let errno = execute(&shell, &args, &env, payload.contained);
            Err(ExecError::Exec {
                path: program,
                source: errno.into(),
            })
        }
        Errno::ENOENT => Err(interpreter_missing(program)),
        Errno::EACCES => Err(ExecError::PermissionDenied(program)),
        errno => Err(ExecError::Exec {
            path: program,
            source: errno.into(),
        }),
    }
}

/// Returns the error for a file that exists, but whose interpreter or loader the kernel does not
/// find.
fn interpreter_missing(path: PathBuf) -> ExecError {
    let mut head = Vec::new();
    let read = fs::File::open(&path).and_then(|file| file.take(256).read_to_end(&mut head));
    let line = head.strip_prefix(b"#!").filter(|_| read.is_ok());
    let what = match line.and_then(|line| line.split(|byte| *byte == b'\n').next()) {
        Some(line) => {
            // To the kernel, the `\r` is a part of the name. A person does not see it.
            if line.ends_with(b"\r") {
                return ExecError::OfWindows(path);
            }
            let line = String::from_utf8_lossy(line);
            format!(
                "interpreter {}",
                line.split_whitespace().next().unwrap_or_default()
            )
        }
        None => "dynamic loader".to_owned(),
    };
    ExecError::InterpreterMissing { path, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_as_a_shell_would() {
        let path = Some(OsStr::new("/nonexistent:/bin:/usr/bin"));
        assert!(
            find_program(OsStr::new("sh"), path)
                .unwrap()
                .ends_with("sh")
        );
        let cases = [
            ("nosuch", "\"nosuch\": executable file not found in $PATH"),
            ("/bin/nosuch", "stat /bin/nosuch: no such file or directory"),
            ("/etc", "/etc: is a directory"),
            ("/etc/passwd", "/etc/passwd: permission denied"),
            ("", "\"\": executable file not found in $PATH"),
        ];
        for (name, message) in cases {
            assert_eq!(
                find_program(OsStr::new(name), path)
                    .unwrap_err()
                    .to_string(),
                message
            );
        }
    }
}

//! Executing a program that an image names, but never our own program.
//!
//! The kernel looks up the interpreter of a script while the process is still this program. With
//! `#!/proc/self/exe` it would run this program inside, where its file can be opened through
//! `/proc` and written to by its owner (the class of CVE-2019-5736). So the interpreters of a
//! contained payload are found here, without following such links. The kernel then gets a file that
//! is not a script, by a descriptor that is closed on exec. With such a descriptor it executes no
//! script, even if the file has changed meanwhile ([execveat(2)]).
//!
//! [execveat(2)]: https://man7.org/linux/man-pages/man2/execveat.2.html

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, access, execve, execveat, geteuid};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

/// Largest number of interpreters that are scripts of one another (`exec_binprm` of `fs/exec.c`).
const INTERPRETERS: usize = 5;

/// Number of bytes at a file's beginning that the kernel looks at: `BINPRM_BUF_SIZE` of
/// `linux/binfmts.h`.
const HEAD: usize = 256;

/// This process's own program.
const OWN: &str = "/proc/self/exe";

/// Replaces this process by a program. Returns only on failure.
pub(crate) fn execute(path: &CStr, args: &[CString], env: &[CString], contained: bool) -> Errno {
    if contained && is_exposed() {
        return execute_no_own(path, args, env);
    }
    let Err(errno) = execve(path, args, env);
    errno
}

/// Whether the caller could write to this program's file.
fn is_exposed() -> bool {
    let is_owner = fs::metadata(OWN).map_or(true, |stat| stat.uid() == geteuid().as_raw());
    is_owner || access(OWN, AccessFlags::W_OK).is_ok()
}

fn execute_no_own(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let (mut path, mut args) = (path.to_owned(), args.to_vec());
    for _ in 0..=INTERPRETERS {
        let file = match open(&path) {
            Ok(file) => file,
            Err(errno) => return errno,
        };
        let mut head = [0; HEAD];
        // A script that may not be read could not be run either.
        let length = rustix::io::pread(&file, &mut head[..], 0).unwrap_or(0);
        let line = match first_line(head.get(..length).unwrap_or_default()) {
            Ok(None) => {
                let number = Some(file.as_raw_fd());
                let Err(errno) = execveat(number, c"", &args, env, AtFlags::AT_EMPTY_PATH);
                return errno;
            }
            Ok(Some(line)) => line,
            Err(errno) => return errno,
        };
        if let Err(errno) = access(path.as_c_str(), AccessFlags::X_OK) {
            return errno;
        }
        let rest = args.into_iter().skip(1);
        let interpreter = line.interpreter;
        let before = [interpreter.clone()]
            .into_iter()
            .chain(line.argument)
            .chain([path]);
        args = before.chain(rest).collect();
        path = interpreter;
    }
    Errno::ELOOP
}

fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let open = |flags| openat2(CWD, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    // Opening a FIFO in its place must not block.
    let opened = match open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Err(rustix::io::Errno::ACCESS) => open(OFlags::PATH),
        opened => opened,
    };
    opened.map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

/// A script's first line.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    interpreter: CString,
    argument: Option<CString>,
}

/// Reads the first line of a file as the kernel does (`fs/binfmt_script.c`). Returns `None` if the
/// file is not a script.
fn first_line(head: &[u8]) -> Result<Option<Line>, Errno> {
    let Some(rest) = head.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let is_blank = |byte: &u8| b" \t".contains(byte);
    let end = rest.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let line = line.trim_ascii_start();
    let (name, argument) = match line.iter().position(is_blank) {
        Some(at) => line.split_at(at),
        // The name may continue beyond the bytes that are looked at.
        None if end.is_none() && head.len() == HEAD => return Err(Errno::ENOEXEC),
        None => (line, &[][..]),
    };
    let argument = argument.trim_ascii();
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::ENOEXEC);
    match Path::new(OsStr::from_bytes(name)).as_os_str().is_empty() {
        true => Err(Errno::ENOEXEC),
        false => Ok(Some(Line {
            interpreter: text(name)?,
            argument: (!argument.is_empty()).then(|| text(argument)).transpose()?,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_read_as_the_kernel_reads_them() {
        let line = |interpreter: &CStr, argument: Option<&CStr>| {
            let (interpreter, argument) = (interpreter.to_owned(), argument.map(CStr::to_owned));
            Ok(Some(Line {
                interpreter,
                argument,
            }))
        };
        assert_eq!(first_line(b"\x7fELF"), Ok(None));
        assert_eq!(first_line(b"#!/bin/sh\nx"), line(c"/bin/sh", None));
        assert_eq!(
            first_line(b"#! /bin/sh -e -x \t\n"),
            line(c"/bin/sh", Some(c"-e -x"))
        );
        assert_eq!(first_line(b"#!/bin/sh"), line(c"/bin/sh", None));
        assert_eq!(first_line(b"#!\n"), Err(Errno::ENOEXEC));
        assert_eq!(first_line(b"#!  "), Err(Errno::ENOEXEC));
        let long = [b"#!/", [b'x'; HEAD].as_slice()].concat();
        assert_eq!(first_line(&long[..HEAD]), Err(Errno::ENOEXEC));
    }
}

//! Scripts that need a shell: the image's own shell runs them, and its exports are read at the end.
//!
//! The exports are the environment of a program that the shell starts. The kernel shows it byte for
//! byte (`/proc/PID/environ`), however the shell would quote it. This program is a second shell,
//! which prints its process ID and waits.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::iter::successors;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, pidfd_open};
use session::Payload;
use sys::ProcessStat;

use super::Outcome;
use crate::variables::Set;

/// The shells that can be used, the best first. Scripts are written for bash, because Singularity
/// reads them so.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// The shell that shows the environment. Every image with scripts has it.
const SH: &str = "/bin/sh";

/// Exit status of shells that cannot read or continue a script (dash, busybox).
const SHELL_ERROR: i32 = 2;

/// Exit status of a process that did not become the shell.
const NOT_STARTED: i32 = 127;

/// First word from a process that did not become the shell. The reason follows.
const FAILED: &str = "failed";

/// Largest part of an environment that is read, in bytes: more than any environment can have.
const LIMIT: u64 = 16 << 20;

/// Largest length of other output of a shell, in bytes.
const MOST_WORDS: usize = 1 << 20;

/// Number of times that a shell shows its environment: after the scripts, and after the overrides.
const SHOWN: usize = 2;

/// Greatest number of processes from the one that shows a shell's environment up to the shell.
/// `/bin/sh` may be a script that starts another program.
const DEPTH: usize = 4;

/// A shell's task.
struct Task<'a> {
    shell: &'static str,
    scripts: Vec<&'a OsStr>,
    overrides: Vec<&'a (OsString, OsString)>,
    base: &'a Set,
    contained: bool,
}

/// The result of a task.
struct Answer {
    /// Number of scripts that were run to their end.
    done: usize,
    /// The environment after the scripts, and after the overrides.
    environments: Vec<Set>,
    status: i32,
}

/// Runs the scripts, then the overrides, and collects the results of both. A script that the shell
/// cannot run to its end is left out.
pub fn evaluate<'a>(
    paths: &[OsString],
    base: &Set,
    overrides: impl Iterator<Item = &'a (OsString, OsString)>,
    contained: bool,
) -> io::Result<Outcome> {
    let is_there = |shell: &&str| session::find_program(OsStr::new(shell), None).is_ok();
    let Some(shell) = SHELLS.into_iter().find(is_there) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut task = Task {
        shell,
        scripts: paths.iter().map(OsString::as_os_str).collect(),
        overrides: overrides.collect(),
        base,
        contained,
    };
    let mut lost = Vec::new();
    loop {
        let answer = task.run()?;
        if let Ok([image, after]) = <[Set; 2]>::try_from(answer.environments) {
            return Ok(Outcome::Variables {
                overrides: overridden(&task.overrides, &after),
                image,
                lost,
            });
        }
        let is_done = answer.done >= task.scripts.len();
        match answer.status {
            0 if is_done => {
                return Err(io::Error::other(format!(
                    "{shell} did not report its environment; it may be too large"
                )));
            }
            SHELL_ERROR if !is_done => lost.push(task.scripts.remove(answer.done).to_owned()),
            status => return Ok(Outcome::Exit(u8::try_from(status).unwrap_or(u8::MAX))),
        }
    }
}

/// Returns the overrides with their values in an environment. A name that a shell cannot set keeps
/// the value that the user gave, because no shell exports it.
fn overridden(overrides: &[&(OsString, OsString)], environment: &Set) -> Set {
    let value = |(name, value): &&(OsString, OsString)| {
        let value = match is_identifier(name) {
            true => environment.get(name)?,
            false => value,
        };
        Some((name.clone(), value.clone()))
    };
    overrides.iter().filter_map(value).collect()
}

impl Task<'_> {
    fn run(&self) -> io::Result<Answer> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (go_read, go) = pipe_with(PipeFlags::CLOEXEC)?;
        let words = self.words(&write, &go_read);
        let payload = Payload {
            args: [OsStr::new(self.shell), OsStr::new("-c"), &words]
                .map(OsStr::to_owned)
                .into(),
            env: self.base.clone().into_iter().collect(),
            contained: self.contained,
        };
        let children = sys::heed_children();
        let this = Pid::this();
        let child = match sys::fork()? {
            sys::Fork::Child => {
                children.restore();
                let started =
                    end_with(this).and_then(|()| become_shell(&payload, &write, &go_read));
                if let Err(error) = started {
                    let told = format!("{FAILED} {}\n", text::one_line(&error));
                    let _ = rustix::io::write(&write, told.as_bytes());
                }
                sys::exit_at_once(NOT_STARTED)
            }
            sys::Fork::Parent(child) => child,
        };
        drop((write, go_read));
        let answers = read_answers(child, &read, &mut File::from(go));
        if answers.is_err() {
            // It may wait for its answers to be read.
            let _ = kill(child, Signal::SIGKILL);
        }
        let status = match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => code,
            WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
            _ => NOT_STARTED,
        };
        children.restore();
        let (done, environments) = answers?;
        Ok(Answer {
            done,
            environments,
            status,
        })
    }

    /// Returns the commands for the shell. They report each script that it has run, and show its
    /// environment.
    fn words(&self, answer: &OwnedFd, go: &OwnedFd) -> OsString {
        // By path, because a shell need not support descriptors above 9.
        let path = |file: &OwnedFd| format!("/proc/self/fd/{}", file.as_raw_fd());
        let (answer, go) = (path(answer), path(go));
        let tell = format!("{SH} -c 'echo environment $$ >{answer}; read x' <{go}\n");
        let mut words = Vec::new();
        for script in &self.scripts {
            words.extend(b". '");
            words.extend(between_quotes(script));
            words.extend(format!("'\necho done >{answer}\n").bytes());
        }
        words.extend(tell.bytes());
        for (name, value) in &self.overrides {
            if is_identifier(name) {
                words.extend(b"export ");
                words.extend(name.as_bytes());
                words.extend(b"=\"");
                words.extend(between_double_quotes(value));
                words.extend(b"\"\n");
            }
        }
        words.extend(tell.bytes());
        words.extend(b"exit 0\n");
        OsString::from_vec(words)
    }
}

/// Has the kernel kill this process when its parent ends: nobody would wait for the scripts then.
/// The kernel takes the end of the parent's thread for the parent's, and this program has one.
fn end_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Some(Signal::SIGKILL))?;
    match Pid::parent() == parent {
        true => Ok(()),
        false => Err(io::Error::other("front has ended")),
    }
}

fn become_shell(payload: &Payload, answer: &OwnedFd, go: &OwnedFd) -> io::Result<()> {
    let null = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    for inherited in [answer, go] {
        fcntl_setfd(inherited, FdFlags::empty())?;
    }
    match session::exec(payload) {
        Err(error) => Err(io::Error::other(error)),
        Ok(never) => match never {},
    }
}

/// Reads a shell's answers until it ends: the number of scripts that it has run, and the
/// environments that it shows. The end of the pipe is no sign of this: processes that the shell
/// started may still have the pipe.
fn read_answers(child: Pid, pipe: &OwnedFd, go: &mut File) -> io::Result<(usize, Vec<Set>)> {
    let process = rustix::process::Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(process, PidfdFlags::empty())?;
    let (mut done, mut shown, mut environments) = (0, 0, Vec::new());
    let mut said = Vec::new();
    loop {
        let both = [pipe.as_fd(), process.as_fd()];
        let mut fds = both.each_ref().map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        let [words, _end] = fds.map(|fd| !fd.revents().is_empty());
        let mut buffer = [0; 4096];
        let length = match words {
            true => rustix::io::read(pipe, &mut buffer)?,
            false => 0,
        };
        if length == 0 || said.len() > MOST_WORDS {
            return Ok((done, environments));
        }
        said.extend_from_slice(buffer.get(..length).unwrap_or_default());
        while let Some(end) = said.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = said.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().split_once(' ') {
                Some((FAILED, reason)) => return Err(io::Error::other(reason.to_owned())),
                Some(("environment", process)) => {
                    shown += 1;
                    if shown > SHOWN {
                        return Err(io::Error::other(
                            "a script writes to the pipe for the shell's environment",
                        ));
                    }
                    environments.extend(environment(child, process));
                    // Whoever wrote this need not wait for the answer.
                    let _ = go.write_all(b"\n");
                }
                _ => done += 1,
            }
        }
    }
}

/// Reads the environment of the shell or of a process that it has started. Returns `None` if there is
/// no such process: a script could name one of its user's whose environment the image must not learn.
fn environment(shell: Pid, process: &str) -> Option<Set> {
    let process: u32 = process.parse().ok()?;
    let mut text = Vec::new();
    let file = File::open(Path::new("/proc").join(process.to_string()).join("environ")).ok()?;
    // After the file was opened: the id may have been another process's until then.
    let parent = |pid: &u32| Some(ProcessStat::of(*pid).ok()?.parent);
    let mut line = successors(Some(process), parent).take(DEPTH);
    if !line.any(|pid| pid == shell.as_raw().cast_unsigned()) {
        return None;
    }
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    let mut set = parse(&text);
    set.retain(|name, _| {
        !["PWD", "OLDPWD", "SHLVL", "_"]
            .iter()
            .any(|own| name == own)
    });
    Some(set)
}

fn parse(text: &[u8]) -> Set {
    let pairs = text.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair
            .iter()
            .position(|byte| *byte == b'=')
            .filter(|at| *at > 0)?;
        let (name, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(name), text(value)))
    });
    pairs.collect()
}

/// Whether a shell can set a variable of this name.
fn is_identifier(name: &OsStr) -> bool {
    name.as_bytes().iter().enumerate().all(|(at, byte)| {
        *byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
    })
}

/// Ends and reopens single quotes around each single quote.
fn between_quotes(text: &OsStr) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len());
    for byte in text.as_bytes() {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted
}

/// Keeps a value from ending its double quotes. All other characters keep their meaning there.
fn between_double_quotes(text: &OsStr) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(next) => quoted.extend([b'\\', *next]),
                None => quoted.extend(b"\\\\"),
            },
            b'"' => quoted.extend(b"\\\""),
            byte => quoted.push(*byte),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_read_byte_for_byte() {
        let set = parse(b"A=x\0B=two\nlines\0C=\0D=a=b\0=x\0E\0F=\xff\xc3\xa4\0");
        let get = |name: &str| set.get(OsStr::new(name)).map(|value| value.as_bytes());
        assert_eq!(get("A"), Some(&b"x"[..]));
        assert_eq!(get("B"), Some(&b"two\nlines"[..]));
        assert_eq!(get("C"), Some(&b""[..]));
        assert_eq!(get("D"), Some(&b"a=b"[..]));
        assert_eq!(get("F"), Some(&b"\xff\xc3\xa4"[..]));
        assert_eq!(set.len(), 5);
    }

    #[test]
    fn no_value_ends_its_quotes() {
        let quoted =
            |text: &str| String::from_utf8(between_double_quotes(OsStr::new(text))).unwrap();
        for (text, expected) in [
            ("a\"b", "a\\\"b"),
            ("a\\\"b", "a\\\"b"),
            ("a\\", "a\\\\"),
            ("a\\\\", "a\\\\"),
            ("$HOME `x`", "$HOME `x`"),
        ] {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(between_quotes(OsStr::new("it's")), b"it'\\''s");
    }
}

//! Running programs in an image that is being built.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::apt::AptSettings;
use super::supervise::end_children;
use crate::caller::Caller;
use crate::clock::CHOSEN_TIME;
use crate::messages::Messages;

/// Variables of front's that its child keeps: those that the container of a script has use for.
const KEPT: [&str; 13] = [
    "DEBUG",
    "NV",
    "NVCCLI",
    "ROCM",
    "BIND",
    "BINDPATH",
    "MOUNT",
    "CACHEDIR",
    "CONFIGDIR",
    "CONFIG_FILE",
    "CONFIG",
    "TMPDIR",
    "NOCOLOR",
];
/// Beginnings of the names of launchers' variables. A build is no rank.
const LAUNCHERS: [&str; 8] = [
    "SLURM_", "PMI_", "PMIX_", "OMPI_", "PALS_", "FLUX_", "HYDRA_", "MPI_",
];

/// Mounts that the container of a script does not get: the host's home and temporary directories are not the
/// image's, and a script may remove all that it finds there.
const OTHERS: &str = "home,cwd,hostfs,bind-paths,tmp";
/// The host's names, which mirrors and proxies may have.
const HOSTS: &str = "/etc/hosts";

/// An image that is being built, as a container.
pub struct Container<'a> {
    /// The directory with the image's files.
    pub tree: &'a Path,
    /// Flags of `front exec`.
    pub flags: &'a [OsString],
    /// The working directory in the image.
    pub cwd: &'a str,
    /// The calling process.
    pub caller: &'a Caller,
    pub messages: &'a Messages,
}

/// The end of a script.
pub struct Ended {
    pub status: ExitStatus,
    /// The last command that the shell has traced, without its `+`.
    pub command: Option<String>,
}

impl Container<'_> {
    /// Runs a program of the image as root, with a writable image.
    ///
    /// # Errors
    ///
    /// Fails when the container cannot be started.
    pub fn run(&self, variables: &[(&str, &str)], words: &[&OsStr]) -> Result<Ended> {
        let apt = AptSettings::add(self.tree)?;
        let ended = self.execute("--writable", variables, words);
        apt.remove()?;
        ended
    }

    /// Runs a program as root. Only what is bound can be written to.
    ///
    /// # Errors
    ///
    /// Fails when the container cannot be started.
    pub fn run_beside(&self, variables: &[(&str, &str)], words: &[&OsStr]) -> Result<Ended> {
        // An installer may mount a proc of its own.
        self.execute("--pid", variables, words)
    }

    fn execute(&self, flag: &str, variables: &[(&str, &str)], words: &[&OsStr]) -> Result<Ended> {
        let mut command = self.front("exec");
        command.args([flag, "--cleanenv", "--no-eval", "--no-home"]);
        let others = match flag {
            "--writable" => OTHERS,
            // An installer is a program of the host's.
            _ => OTHERS.trim_end_matches(",tmp"),
        };
        command.args(["--no-mount", others]);
        let chosen = self.caller.variables.text(CHOSEN_TIME);
        let chosen = chosen.as_deref().map(|time| (CHOSEN_TIME, time));
        for (name, value) in variables.iter().copied().chain(chosen) {
            // Unlike the values of --env, these may have commas.
            command.env(format!("FRONTENV_{name}"), value);
        }
        self.finish(&mut command).args(words);
        self.wait(command)
    }

    /// Runs the image's test.
    ///
    /// # Errors
    ///
    /// Fails when the container cannot be started.
    pub fn test(&self, writable: bool) -> Result<Ended> {
        let mut command = self.front("test");
        command.args(["--no-home", "--no-mount", OTHERS]);
        command.args(["--scratch", "/tmp", "--scratch", "/var/tmp"]);
        if writable {
            command.arg("--writable-tmpfs");
        }
        self.finish(&mut command);
        self.wait(command)
    }

    fn front(&self, verb: &str) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("front").env_clear().current_dir("/");
        let kept = self
            .caller
            .variables
            .0
            .iter()
            .filter(|(name, _)| is_kept(name));
        command.envs(kept.map(|(name, value)| (name, value)));
        if session::has_other_users() && !session::is_privileged() {
            // The caller has another name and another home there.
            let account = self.caller.account();
            let cache = self.caller.cache(&account);
            command.env("FRONT_CACHEDIR", cache.parent().unwrap_or(&cache));
            command.env("FRONT_CONFIGDIR", self.caller.configuration(&account));
        }
        if !self.messages.is_debug() {
            command.arg("--quiet");
        }
        command.arg(verb).args(["--no-share", "--pwd", self.cwd]);
        command
    }

    fn finish<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if !session::is_privileged() {
            command.arg("--fakeroot");
            if !session::has_other_users() {
                command.arg("--ignore-subuid");
            }
        }
        if Path::new(HOSTS).is_file() {
            command.args(["--bind", HOSTS]);
        }
        command.args(self.flags).arg("--").arg(self.tree)
    }

    /// Waits for the end of the script, and ends what it has left. Hands on the error output, and keeps
    /// the last traced command.
    fn wait(&self, mut command: Command) -> Result<Ended> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start a container")?;
        let words = child.stderr.take();
        let told = words.map(|words| std::thread::spawn(move || hand_on(words)));
        let status = child.wait();
        // A daemon holds the pipe open.
        end_children();
        let status = status.context("wait for the container")?;
        let command = told.and_then(|told| told.join().ok().flatten());
        Ok(Ended { status, command })
    }
}

/// Largest part of a line that is kept, in bytes.
const LINE: usize = 4096;
/// Time for which the beginning of a line is kept back: what a script writes to its standard output
/// must not come between the parts of a line.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Writes what a script writes to its error output to ours. Returns the last command that a shell has
/// traced.
fn hand_on(mut words: ChildStderr) -> Option<String> {
    let (mut traced, mut line, mut pending) = (None, Vec::new(), Vec::new());
    let mut block = [0; 8192];
    loop {
        let is_late = !pending.is_empty() && !has_more(&words);
        if is_late || pending.len() > LINE {
            let _ = std::io::stderr().write_all(&pending);
            pending.clear();
        }
        let count = match words.read(&mut block) {
            Ok(count) if count > 0 => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            _ => break,
        };
        for byte in block.get(..count).unwrap_or_default() {
            pending.push(*byte);
            match byte {
                b'\n' => {
                    if let Some(command) = line.strip_prefix(b"+ ") {
                        traced = Some(String::from_utf8_lossy(command).into_owned());
                    }
                    line.clear();
                    let _ = std::io::stderr().write_all(&pending);
                    pending.clear();
                }
                byte if line.len() < LINE => line.push(*byte),
                _ => {}
            }
        }
    }
    let _ = std::io::stderr().write_all(&pending);
    traced
}

/// Whether there is more to read soon.
fn has_more(words: &ChildStderr) -> bool {
    let mut fds = [PollFd::new(words, PollFlags::IN)];
    poll(&mut fds, Some(&PAUSE)).is_ok_and(|count| count > 0)
}

fn is_kept(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let own = ["FRONT_", "APPTAINER_", "SINGULARITY_"];
    match own.iter().find_map(|family| name.strip_prefix(family)) {
        Some(rest) => KEPT.contains(&rest),
        None => !LAUNCHERS.iter().any(|start| name.starts_with(start)),
    }
}

/// Returns the words that run a script: a shell that stops at the first failure and prints each
/// command, or what `-c` names (Apptainer, `getSectionScriptArgs`).
///
/// # Errors
///
/// Fails on `-c` without words.
pub fn shell_words(section: &str, arguments: &str, script: &Path) -> Result<Vec<OsString>> {
    let mut words: Vec<OsString> = vec!["/bin/sh".into(), "-ex".into()];
    let given: Vec<&str> = arguments.split_whitespace().collect();
    match given.iter().position(|word| *word == "-c") {
        Some(at) => {
            let (before, after) = given.split_at(at);
            let after = after.get(1..).unwrap_or_default();
            if after.is_empty() {
                anyhow::bail!("bad {section} section '-c' parameter: missing arguments");
            }
            words.extend(before.iter().map(OsString::from));
            words.push("-c".into());
            let mut line = OsString::from(after.join(" "));
            line.push(" ");
            line.push(script);
            words.push(line);
        }
        None => {
            words.extend(given.iter().map(OsString::from));
            words.push(PathBuf::from(script).into());
        }
    }
    Ok(words)
}

/// Describes the end of a script that failed, as Go does, whose words clients look for.
pub fn described(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_after_c_run_the_script() {
        let words = |arguments| shell_words("post", arguments, Path::new("/s")).unwrap();
        assert_eq!(words(""), ["/bin/sh", "-ex", "/s"]);
        assert_eq!(words("-u"), ["/bin/sh", "-ex", "-u", "/s"]);
        assert_eq!(
            words("-c /bin/bash -e"),
            ["/bin/sh", "-ex", "-c", "/bin/bash -e /s"]
        );
        assert!(shell_words("post", "-c", Path::new("/s")).is_err());
    }

    #[test]
    fn a_build_is_no_rank() {
        let kept = |name: &str| is_kept(OsStr::new(name));
        assert!(kept("PATH") && kept("APPTAINER_NV") && kept("SINGULARITY_BINDPATH"));
        assert!(!kept("SLURM_JOB_ID") && !kept("APPTAINER_WRITABLE") && !kept("FRONT_PID"));
    }
}

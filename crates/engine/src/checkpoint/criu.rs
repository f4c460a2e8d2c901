//! The CRIU program, its flags and its failures.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::CriuOptions;
use crate::Error;

/// One run of CRIU.
#[derive(Debug)]
pub(super) struct Criu {
    /// The program with its arguments.
    pub(super) command: Command,
    verb: &'static str,
    log: PathBuf,
}

impl Criu {
    /// Prepares a run. `verb` is CRIU's command: `dump`, `pre-dump` or `restore`.
    pub(super) fn new(verb: &'static str, options: &CriuOptions) -> Result<Self, Error> {
        let log = format!("{}.log", verb.trim_start_matches("pre-"));
        let work = options.work.as_ref().unwrap_or(&options.images);
        for directory in [&options.images, work] {
            fs::create_dir_all(directory).map_err(Error::state("create", directory))?;
        }
        let work = fs::canonicalize(work).map_err(Error::state("open", work))?;
        let mut command = Command::new(&options.program);
        command
            .arg(verb)
            .arg("--images-dir")
            .arg(&options.images)
            .arg("--work-dir")
            .arg(&work)
            .args(["-v4", "--log-file", &log])
            .stdin(Stdio::inherit());
        let flags = [
            (options.tcp_established, "--tcp-established"),
            (options.external_sockets, "--ext-unix-sk"),
            (options.shell_job, "--shell-job"),
            (options.file_locks, "--file-locks"),
            (options.lazy_pages, "--lazy-pages"),
            (options.auto_dedup, "--auto-dedup"),
        ];
        command.args(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag));
        let mode = options.manage_cgroups.as_deref().unwrap_or("soft");
        command.arg(format!("--manage-cgroups={mode}"));
        if options.empty_network {
            command.args(["--empty-ns", "net"]);
        }
        let log = work.join(log);
        Ok(Self { command, verb, log })
    }

    /// Runs CRIU to its end.
    pub(super) fn run(mut self) -> Result<(), Error> {
        match self.command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(self.failure()),
            Err(source) => Err(self.missing(source)),
        }
    }

    /// Returns the error for a program that could not be started.
    pub(super) fn missing(&self, source: io::Error) -> Error {
        let program = self.command.get_program().to_string_lossy().into_owned();
        if source.kind() == io::ErrorKind::NotFound {
            return Error::Criu(format!(
                "{program} is not installed; it is what saves and restores processes"
            ));
        }
        Error::Criu(format!("{program}: {}", text::message(&source)))
    }

    /// Returns the error that CRIU's log gives as the cause, without its time and place.
    pub(super) fn failure(&self) -> Error {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut errors = text.lines().filter_map(|line| {
            let (_, error) = line.split_once(") Error (")?;
            error.split_once("): ").map(|(_, error)| error)
        });
        // The first error is the cause. Errors about CRIU's own limits are harmless: it tries to
        // change them even where it may not.
        let cause = errors
            .find(|error| !error.starts_with("rlimit:"))
            .unwrap_or("it says no more");
        Error::Criu(format!(
            "criu {} failed: {cause} (all of it is in {})",
            self.verb,
            self.log.display()
        ))
    }
}

//! The state of a stage: all that its instructions have set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use definition::dockerfile::Command;
use oci::Config;

/// All that the instructions of a stage have set.
#[derive(Clone)]
pub(super) struct State {
    pub(super) config: Config,
    /// The values of `ARG`s.
    pub(super) arguments: BTreeMap<String, String>,
    pub(super) shell: Vec<String>,
    pub(super) has_command: bool,
}

/// The shell of commands that are lines.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

impl State {
    /// Returns the state at the beginning of a stage.
    pub(super) fn of(config: Config) -> Self {
        Self {
            config,
            arguments: BTreeMap::new(),
            shell: SHELL.map(str::to_owned).to_vec(),
            has_command: false,
        }
    }

    /// Returns the value of a variable. Those of `ENV` beat those of `ARG`.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let pairs = self
            .config
            .execution
            .env
            .iter()
            .filter_map(|pair| pair.split_once('='));
        let mut own = pairs.filter(|(own, _)| *own == name);
        own.next_back()
            .map(|(_, value)| value.to_owned())
            .or_else(|| self.arguments.get(name).cloned())
    }

    /// Returns a path without `.` and `..`. A relative one refers to the working directory.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        let whole = Path::new("/")
            .join(&self.config.execution.working_dir)
            .join(path);
        rootfs::plain(&whole)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        let env = &mut self.config.execution.env;
        let pair = format!("{name}={value}");
        let is_it = |one: &&mut String| one.split_once('=').is_some_and(|(own, _)| own == name);
        match env.iter_mut().find(is_it) {
            Some(there) => *there = pair,
            None => env.push(pair),
        }
    }

    /// Returns the words of a command.
    pub(super) fn words(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => self.shell.iter().chain([line]).cloned().collect(),
        }
    }
}

//! `RUN`.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use definition::dockerfile::{Command, HereDocument, Instruction};
use rootfs::Directory;

use super::super::LONG;
use super::super::build_cache::BuildCache;
use super::super::container::{Container, described};
use super::{DockerBuild, State, Work, mounts};

/// Arguments that need no `ARG`.
pub const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];
/// A script of a here-document in the image.
const SCRIPT: &str = "/.run.script";

impl DockerBuild<'_> {
    /// Runs a command in the image.
    pub(super) fn execute(
        &self,
        instruction: &Instruction,
        command: &Command,
        documents: &[HereDocument],
        state: &State,
        work: &Work<'_>,
        cache: &mut BuildCache<'_>,
    ) -> Result<()> {
        let root = Directory::open_root(work.tree)?;
        let mut flags = self.options.container.clone();
        let mut made = Vec::new();
        for (name, value) in &instruction.flags {
            match (name.as_str(), value.as_str()) {
                ("mount", spec) => {
                    let places = mounts::Places {
                        root: &root,
                        context: self.context,
                        ignored: self.ignored,
                        absolute: &|path: &str| state.absolute(path),
                        stage: &|word: &str| self.tree_of(word, work),
                        workplace: work.workplace,
                        secrets: &self.options.secrets,
                    };
                    let spec = self.words(spec, &|name| state.value(name))?;
                    let mount = mounts::mount(&spec, &places)?;
                    flags.extend(mount.flags.iter().cloned());
                    made.push(mount);
                }
                ("network", "none") => flags.push("--net".into()),
                ("network", "default" | "host") | ("security", "sandbox") => {}
                (name, value) => bail!("RUN --{name}={value} is not supported"),
            }
        }
        let words = script_words(command, documents, state, &root)?;
        let execution = &state.config.execution;
        let variables = self.variables(state);
        let container = Container {
            tree: work.tree,
            flags: &flags,
            cwd: match execution.working_dir.as_str() {
                "" => "/",
                path => path,
            },
            caller: self.caller,
            messages: self.messages,
        };
        let bound = made.iter().filter_map(|mount| mount.source.as_deref());
        let bound = cache.contents(bound);
        let settings = format!("{words:?} {documents:?} {variables:?} {}", container.cwd);
        let inputs = format!("{:?} {bound:?}", instruction.flags);
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let done = cache.step(&["run", &settings, &inputs], || {
            let began = Instant::now();
            let ended = container.run(&variables, &words)?;
            if !ended.status.success() {
                bail!("RUN: {}", described(ended.status));
            }
            let took = began.elapsed().as_secs();
            if took >= LONG {
                self.messages.info(format_args!("RUN took {took} s"));
            }
            Ok(())
        });
        root.unlink(Path::new(SCRIPT))?;
        for mount in made {
            mount.remove(&root)?;
        }
        cache.forget();
        done
    }

    /// Returns the variables of a command: those of `ENV` beat those of `ARG`.
    fn variables<'a>(&'a self, state: &'a State) -> Vec<(&'a str, &'a str)> {
        fn pair<'a>((name, value): (&'a String, &'a String)) -> (&'a str, &'a str) {
            (name, value)
        }
        let given = self.options.arguments.iter();
        let predefined = given.filter(|(name, _)| PREDEFINED.contains(&name.as_str()));
        let own = state.config.execution.env.iter();
        let own = own.filter_map(|pair| pair.split_once('='));
        let arguments = state.arguments.iter().map(pair);
        arguments.chain(predefined.map(pair)).chain(own).collect()
    }
}

/// Returns the words of a command with its here-documents.
fn script_words(
    command: &Command,
    documents: &[HereDocument],
    state: &State,
    root: &Directory,
) -> Result<Vec<String>> {
    let mut words = state.words(command);
    if let (Command::Shell(line), [document]) = (command, documents)
        && line.trim() == line.split_whitespace().next().unwrap_or_default()
    {
        // The document is the whole script.
        words = match document.text.starts_with("#!") {
            true => {
                root.unlink(Path::new(SCRIPT))?;
                root.write(Path::new(SCRIPT), 0o755, document.text.as_bytes())?;
                vec![SCRIPT.to_owned()]
            }
            false => state.words(&Command::Shell(document.text.clone())),
        };
    } else if let (Some(line), [_, ..]) = (words.last_mut(), documents) {
        line.push('\n');
        for document in documents {
            line.push_str(&document.source);
        }
    }
    Ok(words)
}

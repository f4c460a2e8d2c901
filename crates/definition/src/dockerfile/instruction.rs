//! Instructions and their arguments.

use super::HereDocument;
use super::expand::split_words;
use super::lines::Logical;
use crate::Error;

/// An instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Its first line, counted from 1.
    pub line: usize,
    /// The flags: names without `--`, and values.
    pub flags: Vec<(String, String)>,
    /// Its effect.
    pub kind: Kind,
    /// The text as it is written, without flags, for messages.
    pub text: String,
}

/// The effect of an instruction. Variables in words are not replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `ARG`: names, and defaults.
    Arg(Vec<(String, Option<String>)>),
    /// `ENV`.
    Env(Vec<(String, String)>),
    /// `LABEL`.
    Label(Vec<(String, String)>),
    /// `RUN`.
    Run(Command, Vec<HereDocument>),
    /// `COPY` and `ADD`.
    Copy {
        /// The sources.
        sources: Vec<String>,
        /// The files that are given as here-documents, by their places in `sources`.
        documents: Vec<HereDocument>,
        /// The path in the image.
        target: String,
        /// Whether it is `ADD`, which unpacks archives and fetches addresses.
        is_add: bool,
    },
    /// `WORKDIR`.
    Workdir(String),
    /// `USER`.
    User(String),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `CMD`.
    Cmd(Command),
    /// An instruction without a meaning for a SIF: `EXPOSE`, `VOLUME`, `STOPSIGNAL`, `HEALTHCHECK`,
    /// `MAINTAINER`, and `ONBUILD`.
    Other,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A line for a shell.
    Shell(String),
}

/// Flags: names without `--`, and values.
pub(super) type Flags = Vec<(String, String)>;

/// Splits the flags from a line.
pub(super) fn flags(line: &Logical) -> Result<(Flags, &str), Error> {
    let mut flags = Vec::new();
    let mut rest = line.rest.as_str();
    while let Some(start) = rest.strip_prefix("--") {
        let (flag, after) = start.split_once(char::is_whitespace).unwrap_or((start, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, "true"));
        flags.push((name.to_owned(), value.to_owned()));
        rest = after.trim_start();
    }
    let known: &[&str] = match line.keyword.as_str() {
        "FROM" => &["platform"],
        "RUN" => &["mount", "network", "security"],
        "COPY" => &["from", "chown", "chmod", "link", "parents", "exclude"],
        "ADD" => &[
            "chown",
            "chmod",
            "link",
            "checksum",
            "keep-git-dir",
            "exclude",
            "unpack",
        ],
        "HEALTHCHECK" => &[
            "interval",
            "timeout",
            "start-period",
            "start-interval",
            "retries",
        ],
        _ => return Ok((Vec::new(), &line.rest)),
    };
    if let Some((name, _)) = flags
        .iter()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        let near = crate::error::suggestion(name, known, "--");
        let message = format!("{}: unknown flag: --{name}{near}", line.keyword);
        return Err(Error::new(line.number, 1, message));
    }
    Ok((flags, rest))
}

/// Reads an instruction.
pub(super) fn read(line: &Logical, escape: char) -> Result<Instruction, Error> {
    let (flags, rest) = flags(line)?;
    let fault = |words: &str| Error::new(line.number, 1, format!("{} {words}", line.keyword));
    if rest.is_empty() && line.keyword != "CMD" && line.keyword != "ENTRYPOINT" {
        return Err(fault("requires at least one argument"));
    }
    let pairs = || {
        let words = split_words(rest, escape);
        // The old form: a name, and the rest of the line.
        if !words.first().is_some_and(|word| word.contains('=')) {
            let (name, value) = rest.split_once(char::is_whitespace)?;
            return Some(vec![(name.to_owned(), value.trim().to_owned())]);
        }
        let pairs = words.iter().map(|word| {
            let (name, value) = word.split_once('=')?;
            (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
        });
        pairs.collect()
    };
    let pairs = || pairs().ok_or_else(|| fault("expects NAME=VALUE pairs"));
    let kind = match line.keyword.as_str() {
        "ARG" => {
            let words = split_words(rest, escape);
            let arguments = words.iter().map(|word| match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            });
            Kind::Arg(arguments.collect())
        }
        "ENV" => Kind::Env(pairs()?),
        "LABEL" => Kind::Label(pairs()?),
        "RUN" => Kind::Run(command(rest), line.documents.clone()),
        "COPY" | "ADD" => {
            let words = match array(rest) {
                Some(words) => words,
                None => rest.split_whitespace().map(str::to_owned).collect(),
            };
            let Some((target, sources)) = words.split_last().filter(|(_, all)| !all.is_empty())
            else {
                return Err(fault(
                    "requires at least two arguments: sources, and a target",
                ));
            };
            Kind::Copy {
                sources: sources.to_vec(),
                documents: line.documents.clone(),
                target: target.clone(),
                is_add: line.keyword == "ADD",
            }
        }
        "WORKDIR" => Kind::Workdir(rest.to_owned()),
        "USER" => Kind::User(rest.to_owned()),
        "SHELL" => match array(rest) {
            Some(words) if !words.is_empty() => Kind::Shell(words),
            _ => return Err(fault("expects a JSON array")),
        },
        "ENTRYPOINT" => Kind::Entrypoint(command(rest)),
        "CMD" => Kind::Cmd(command(rest)),
        _ => Kind::Other,
    };
    Ok(Instruction {
        line: line.number,
        flags,
        kind,
        text: format!("{} {}", line.keyword, line.rest),
    })
}

fn array(text: &str) -> Option<Vec<String>> {
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())?
}

/// Reads a command. An array that is no JSON is a line for a shell, as in docker.
fn command(text: &str) -> Command {
    match array(text) {
        Some(words) => Command::Exec(words),
        None => Command::Shell(text.to_owned()),
    }
}

//! Definition files, from which Singularity and Apptainer build images, and Dockerfiles. This crate
//! reads them and does nothing else. The format of definition files is Apptainer's ([documentation], and its parser of version 1.5).
//!
//! [documentation]: https://apptainer.org/docs/user/latest/definition_files.html

#![forbid(unsafe_code)]

pub mod dockerfile;
mod error;
mod header;
mod sections;
mod stages;
mod variables;
mod words;

use std::collections::BTreeMap;

pub use error::Error;
pub use header::Header;

/// A definition file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The text, with the values of variables.
    pub text: String,
    /// The stages, in the order in which they are built. There is at least one.
    pub stages: Vec<Stage>,
    /// The given arguments that no variable uses.
    pub unused: Vec<String>,
}

/// A stage: one image that is built. The last one is the result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stage {
    /// The line at which it begins, counted from 1.
    pub line: usize,
    /// The base of the image.
    pub header: Header,
    /// `%pre`, run on the host before there is an image.
    pub pre: Option<Script>,
    /// `%setup`, run on the host.
    pub setup: Option<Script>,
    /// `%files` and `%files from`.
    pub files: Vec<Transfer>,
    /// `%post`, run in the image.
    pub post: Option<Script>,
    /// `%environment`.
    pub environment: Option<Script>,
    /// `%runscript`.
    pub runscript: Option<Script>,
    /// `%startscript`.
    pub startscript: Option<Script>,
    /// `%test`.
    pub test: Option<Script>,
    /// `%help`.
    pub help: Option<Script>,
    /// `%labels`.
    pub labels: Vec<(String, String)>,
    /// The applications (SCIF), in the order of their first sections.
    pub apps: Vec<App>,
}

/// The text of a section, which is a script for most of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// The lines below the section's name.
    pub text: String,
    /// The number of each of these lines, counted from 1.
    pub numbers: Vec<usize>,
    /// The words after the section's name, without a comment.
    pub arguments: String,
    /// The line of the section's name, counted from 1.
    pub line: usize,
}

/// A line of `%files`: a file or directory that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The stage whose file it is, or the host's.
    pub from: Option<String>,
    /// The pattern of the sources.
    pub source: String,
    /// The path in the image; the same as that of the source if it is empty.
    pub target: String,
    /// The line in the definition file, counted from 1.
    pub line: usize,
}

/// An application of the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: String,
    /// `%appinstall`.
    pub install: Option<Script>,
    /// `%appfiles`.
    pub files: Vec<Transfer>,
    /// `%appenv`.
    pub environment: Option<Script>,
    /// `%apprun`.
    pub runscript: Option<Script>,
    /// `%appstart`.
    pub startscript: Option<Script>,
    /// `%apptest`.
    pub test: Option<Script>,
    /// `%apphelp`.
    pub help: Option<Script>,
    /// `%applabels`.
    pub labels: Option<Vec<(String, String)>>,
}

/// Reads a definition file. `arguments` are values for its variables; they beat those of
/// `%arguments`.
///
/// # Errors
///
/// Fails on anything that Apptainer refuses: an unknown keyword or section, a variable without a
/// value, a file without a section.
pub fn parse(text: &str, arguments: &BTreeMap<String, String>) -> Result<Definition, Error> {
    let mut used = std::collections::BTreeSet::new();
    let mut whole = String::new();
    let mut stages = Vec::new();
    for lines in stages::split(text) {
        let defaults = sections::arguments(&lines);
        let lines = variables::replace(&lines, arguments, &defaults, &mut used)?;
        if let Some(stage) = sections::stage(&lines)? {
            stages.push(stage);
        }
        for line in &lines {
            whole.push_str(&line.text);
            whole.push('\n');
        }
    }
    if stages.is_empty() {
        return Err(Error::new(1, 1, "the definition file is empty"));
    }
    let unused = arguments.keys().filter(|name| !used.contains(*name));
    Ok(Definition {
        text: whole,
        unused: unused.cloned().collect(),
        stages,
    })
}

/// Reads the lines of `%labels`, or those that a script has written to `$APPTAINER_LABELS`.
#[must_use]
pub fn labels(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| {
        let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        (name.to_owned(), value.trim().to_owned())
    });
    pairs.collect()
}

/// Reads an argument of the form `NAME=VALUE`. Returns `None` for another form.
#[must_use]
pub fn argument(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests;

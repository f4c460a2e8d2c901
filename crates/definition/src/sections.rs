//! The sections of a stage.

use std::collections::BTreeMap;

use crate::error::suggestion;
use crate::words::{Line, quoted, without_comment};
use crate::{App, Error, Header, Script, Stage, Transfer, argument, labels};

const SECTIONS: [&str; 19] = [
    "appenv",
    "appfiles",
    "apphelp",
    "appinstall",
    "applabels",
    "apprun",
    "appstart",
    "apptest",
    "arguments",
    "environment",
    "files",
    "help",
    "labels",
    "post",
    "pre",
    "runscript",
    "setup",
    "startscript",
    "test",
];

/// A section: the line with its name, and those below.
struct Section<'a> {
    name: String,
    /// The words after the name.
    rest: &'a str,
    head: &'a Line,
    lines: &'a [Line],
}

/// Splits a stage into its header and its sections. A section begins with `%` in the first column.
fn split(lines: &[Line]) -> (&[Line], Vec<Section<'_>>) {
    let starts: Vec<usize> = { lines.iter().enumerate() }
        .filter(|(_, line)| line.text.starts_with('%'))
        .map(|(index, _)| index)
        .collect();
    let end = starts.first().copied().unwrap_or(lines.len());
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let sections = starts.iter().zip(ends).filter_map(|(start, end)| {
        let head = lines.get(*start)?;
        let text = head.text.trim_start_matches('%');
        let (name, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        Some(Section {
            name: name.trim().to_ascii_lowercase(),
            rest: rest.trim(),
            head,
            lines: lines.get(start + 1..end)?,
        })
    });
    (lines.get(..end).unwrap_or_default(), sections.collect())
}

/// Returns the values of `%arguments`. Lines of another form are ignored, as in Apptainer.
pub(crate) fn arguments(lines: &[Line]) -> BTreeMap<String, String> {
    let (_, sections) = split(lines);
    let mut values = BTreeMap::new();
    for section in sections.iter().filter(|one| one.name == "arguments") {
        let lines = section.lines.iter().filter(|line| !line.is_blank());
        values.extend(lines.filter_map(|line| argument(&line.text)));
    }
    values
}

/// Reads a stage. Returns `None` if there is nothing in it.
pub(crate) fn stage(lines: &[Line]) -> Result<Option<Stage>, Error> {
    let (header, sections) = split(lines);
    let mut stage = Stage {
        line: { header.iter() }
            .chain(sections.first().map(|section| section.head))
            .find(|line| !line.is_blank())
            .map_or(1, |line| line.number),
        header: Header::read(header)?,
        ..Stage::default()
    };
    if stage.header.is_empty() && sections.is_empty() {
        return Ok(None);
    }
    for section in sections {
        stage.add(&section)?;
    }
    Ok(Some(stage))
}

impl Stage {
    fn add(&mut self, section: &Section<'_>) -> Result<(), Error> {
        if let Some(kind) = section.name.strip_prefix("app")
            && SECTIONS.contains(&section.name.as_str())
        {
            let name = section.rest.split_whitespace().next();
            let Some(name) = name.filter(|name| !name.starts_with('#')) else {
                let message = format!("%{}: the application's name is missing", section.name);
                return Err(section.fault(message));
            };
            // The name becomes that of a directory, and a part of scripts.
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._+-".contains(letter);
            if !name.chars().all(is_plain) || name == "." || name == ".." {
                let message = format!("%{} {name}: not the name of an application", section.name);
                return Err(section.fault(message));
            }
            return self.app(name).add(kind, section);
        }
        match section.name.as_str() {
            "arguments" => {}
            "files" => self.files.extend(section.transfers()?),
            "labels" => self.labels.extend(labels(&section.text())),
            "pre" => section.append(&mut self.pre),
            "setup" => section.append(&mut self.setup),
            "post" => section.append(&mut self.post),
            "environment" => section.append(&mut self.environment),
            "runscript" => section.append(&mut self.runscript),
            "startscript" => section.append(&mut self.startscript),
            "test" => section.append(&mut self.test),
            "help" => section.append(&mut self.help),
            unknown => {
                let near = suggestion(unknown, &SECTIONS, "%");
                let message = format!("invalid section(s) specified: {unknown}{near}");
                return Err(section.fault(message));
            }
        }
        Ok(())
    }

    fn app(&mut self, name: &str) -> &mut App {
        let index = self.apps.iter().position(|app| app.name == name);
        let index = index.unwrap_or_else(|| {
            self.apps.push(App {
                name: name.to_owned(),
                ..App::default()
            });
            self.apps.len() - 1
        });
        &mut self.apps[index]
    }
}

impl App {
    fn add(&mut self, kind: &str, section: &Section<'_>) -> Result<(), Error> {
        match kind {
            "install" => section.append(&mut self.install),
            "env" => section.append(&mut self.environment),
            "run" => section.append(&mut self.runscript),
            "start" => section.append(&mut self.startscript),
            "test" => section.append(&mut self.test),
            "help" => section.append(&mut self.help),
            "labels" => {
                let all = self.labels.get_or_insert_default();
                all.extend(labels(&section.text()));
            }
            _ => {
                let mut transfers = section.transfers()?;
                for transfer in &mut transfers {
                    transfer.from = None;
                }
                self.files.extend(transfers);
            }
        }
        Ok(())
    }
}

impl Section<'_> {
    fn fault(&self, message: String) -> Error {
        Error::new(self.head.number, 1, message)
    }

    fn text(&self) -> String {
        let lines = self.lines.iter().map(|line| format!("{}\n", line.text));
        lines.collect()
    }

    /// Adds the section to those of the same name above it.
    fn append(&self, script: &mut Option<Script>) {
        let script = script.get_or_insert_with(|| Script {
            line: self.head.number,
            ..Script::default()
        });
        let arguments = without_comment(self.rest);
        if !arguments.is_empty() {
            arguments.clone_into(&mut script.arguments);
        }
        script.text.push_str(&self.text());
        script
            .numbers
            .extend(self.lines.iter().map(|line| line.number));
    }

    fn transfers(&self) -> Result<Vec<Transfer>, Error> {
        let words: Vec<&str> = without_comment(self.rest).split_whitespace().collect();
        let from = match words.as_slice() {
            _ if self.name != "files" => None,
            [] => None,
            ["from", stage] => Some((*stage).to_owned()),
            _ => {
                let message = format!(
                    "%files {}: expected %files, or %files from STAGE",
                    self.rest
                );
                return Err(self.fault(message));
            }
        };
        let lines = self.lines.iter().filter(|line| !line.is_blank());
        let transfers = lines.map(|line| {
            let mut words = quoted(&line.text).into_iter();
            let source = words.next().unwrap_or_default();
            // A comment is not a target.
            let target = words.next().filter(|word| !word.starts_with('#'));
            if source.is_empty() {
                let message = "the name of a file is empty".to_owned();
                return Err(Error::new(line.number, 1, message));
            }
            Ok(Transfer {
                from: from.clone(),
                source,
                target: target.unwrap_or_default(),
                line: line.number,
            })
        });
        transfers.collect()
    }
}

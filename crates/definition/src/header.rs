//! The header of a stage: keywords that say what its image begins with.

use std::collections::BTreeMap;

use crate::Error;
use crate::error::suggestion;
use crate::words::{Line, without_comment};

/// The keywords of all agents. A number may follow `otherurl`.
const KEYWORDS: [&str; 20] = [
    "bootstrap",
    "confurl",
    "fingerprints",
    "from",
    "include",
    "includecmd",
    "library",
    "mirrorurl",
    "modules",
    "namespace",
    "osversion",
    "otherurl",
    "product",
    "productpgp",
    "regcode",
    "registerurl",
    "registry",
    "setopt",
    "stage",
    "updateurl",
];

/// The header of a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header(BTreeMap<String, (String, usize)>);

impl Header {
    /// Returns the value of a keyword, which is in small letters.
    #[must_use]
    pub fn get(&self, keyword: &str) -> Option<&str> {
        let value = self.0.get(keyword).map(|(value, _)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// Returns the line of a keyword, counted from 1.
    #[must_use]
    pub fn line(&self, keyword: &str) -> Option<usize> {
        self.0.get(keyword).map(|(_, line)| *line)
    }

    /// Returns all keywords and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.0.iter();
        entries.map(|(keyword, (value, _))| (keyword.as_str(), value.as_str()))
    }

    /// Whether there is no keyword.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the lines above the first section.
    pub(crate) fn read(lines: &[Line]) -> Result<Self, Error> {
        let mut header = Self::default();
        let mut continued: Option<(String, String, usize)> = None;
        for line in lines {
            if line.is_blank() {
                header.0.extend(continued.take().map(entry));
                continue;
            }
            let text = without_comment(&line.text);
            let (keyword, value, number) = match continued.take() {
                Some((keyword, value, number)) => (keyword, value + text, number),
                None => {
                    let Some((keyword, value)) = text.split_once(':') else {
                        let column = line.column(text);
                        let message = format!(
                            "header key {text} had no val: expected KEYWORD: VALUE, or a section such as %post"
                        );
                        return Err(Error::new(line.number, column, message));
                    };
                    let keyword = keyword.trim().to_ascii_lowercase();
                    (keyword, value.trim().to_owned(), line.number)
                }
            };
            check(&keyword, line)?;
            match value.strip_suffix('\\') {
                // `\n\` ends a line of a value.
                Some(start) => {
                    let value = match start.strip_suffix("\\n") {
                        Some(start) => format!("{start}\n"),
                        None => start.to_owned(),
                    };
                    continued = Some((keyword, value, number));
                }
                None => drop(header.0.insert(keyword, (value, number))),
            }
        }
        header.0.extend(continued.map(entry));
        Ok(header)
    }
}

fn entry((keyword, value, line): (String, String, usize)) -> (String, (String, usize)) {
    (keyword, (value, line))
}

fn check(keyword: &str, line: &Line) -> Result<(), Error> {
    let numbered = keyword.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let is_other = numbered == "otherurl" && numbered != keyword;
    // `user` is a keyword of zypper's registration.
    if is_other || keyword == "user" || KEYWORDS.contains(&keyword) && keyword != "otherurl" {
        return Ok(());
    }
    let near = suggestion(keyword, &KEYWORDS, "");
    let column = line.text.len() - line.text.trim_start().len() + 1;
    let message = format!("invalid header keyword found: {keyword}{near}");
    Err(Error::new(line.number, column, message))
}

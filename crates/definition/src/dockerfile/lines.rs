//! Logical lines: continued lines are joined, comments are gone, here-documents are collected.

use crate::Error;
use crate::error::suggestion;

/// A line with an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logical {
    /// The number of its first line, counted from 1.
    pub(crate) number: usize,
    /// The instruction, in capital letters.
    pub(crate) keyword: String,
    pub(crate) rest: String,
    pub(crate) documents: Vec<HereDocument>,
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HereDocument {
    /// The word that ends it.
    pub name: String,
    /// Whether variables in it are replaced.
    pub expands: bool,
    /// Its lines.
    pub text: String,
    /// Its lines and the one that ends it, as they are written.
    pub source: String,
}

pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Splits a text. Also returns the escape character, which a directive at the top may change.
pub(crate) fn split(text: &str) -> Result<(char, Vec<Logical>), Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape(text)?;
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if is_blank(line) {
            continue;
        }
        let number = index + 1;
        let mut whole = String::new();
        let mut next = Some(line.trim_start());
        while let Some(line) = next {
            let trimmed = line.trim_end_matches([' ', '\t']);
            match trimmed.strip_suffix(escape) {
                Some(start) => {
                    whole.push_str(start);
                    // Comments and empty lines do not end a continued line.
                    next = lines
                        .by_ref()
                        .map(|(_, line)| line)
                        .find(|line| !is_blank(line));
                }
                None => {
                    whole.push_str(line);
                    next = None;
                }
            }
        }
        let whole = whole.trim();
        let (keyword, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
        let upper = keyword.to_ascii_uppercase();
        if !KEYWORDS.contains(&upper.as_str()) {
            let near = suggestion(&upper, &KEYWORDS, "");
            let message = format!("unknown instruction: {keyword}{near}");
            return Err(Error::new(number, 1, message));
        }
        let mut documents = Vec::new();
        if ["RUN", "COPY", "ADD"].contains(&upper.as_str()) {
            for (name, expands, strips) in names(rest) {
                let end = |line: &str| match strips {
                    true => line.trim_start_matches('\t') == name,
                    false => line == name,
                };
                let (mut text, mut source, mut has_ended) = (String::new(), String::new(), false);
                for (_, line) in lines.by_ref() {
                    source.push_str(line);
                    source.push('\n');
                    if end(line) {
                        has_ended = true;
                        break;
                    }
                    text.push_str(if strips {
                        line.trim_start_matches('\t')
                    } else {
                        line
                    });
                    text.push('\n');
                }
                if !has_ended {
                    let message = format!("the here-document {name} does not end");
                    return Err(Error::new(number, 1, message));
                }
                documents.push(HereDocument {
                    name,
                    expands,
                    text,
                    source,
                });
            }
        }
        found.push(Logical {
            number,
            keyword: upper,
            rest: rest.trim().to_owned(),
            documents,
        });
    }
    Ok((escape, found))
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Returns the escape character. Directives are comments of the form `# NAME=VALUE` above all other
/// lines.
fn escape(text: &str) -> Result<char, Error> {
    for (index, line) in text.lines().enumerate() {
        let directive = line.trim().strip_prefix('#');
        let Some((name, value)) = directive.and_then(|line| line.split_once('=')) else {
            break;
        };
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            break;
        }
        if name.eq_ignore_ascii_case("escape") {
            return match value.trim() {
                "\\" => Ok('\\'),
                "`" => Ok('`'),
                other => {
                    let message = format!("escape={other}: expected \\ or `");
                    Err(Error::new(index + 1, 1, message))
                }
            };
        }
    }
    Ok('\\')
}

/// Returns the here-documents that a line begins: the name, whether variables are replaced, and
/// whether leading tabs are dropped.
fn names(rest: &str) -> Vec<(String, bool, bool)> {
    let mut found = Vec::new();
    let mut quote = None;
    let mut word = String::new();
    for letter in rest.chars().chain([' ']) {
        match (quote, letter) {
            (None, letter) if letter.is_whitespace() => {
                found.extend(name(&word));
                word.clear();
            }
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.push(letter);
            }
            (open, letter) => {
                if open == Some(letter) {
                    quote = None;
                }
                word.push(letter);
            }
        }
    }
    found
}

fn name(word: &str) -> Option<(String, bool, bool)> {
    let word = word.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let rest = word.strip_prefix("<<")?;
    let (rest, strips) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let plain = rest.trim_matches(['"', '\'']);
    let is_name = !plain.is_empty()
        && plain
            .chars()
            .all(|letter| letter.is_alphanumeric() || "_-.".contains(letter));
    is_name.then(|| (plain.to_owned(), plain == rest, strips))
}

//! Variables: `{{ NAME }}` is replaced by a value.

use std::collections::{BTreeMap, BTreeSet};

use crate::Error;
use crate::words::Line;

type Values = BTreeMap<String, String>;

/// Replaces the variables of a stage. `used` gets the names that were replaced.
pub(crate) fn replace(
    lines: &[Line],
    given: &Values,
    defaults: &Values,
    used: &mut BTreeSet<String>,
) -> Result<Vec<Line>, Error> {
    let mut replaced = Vec::with_capacity(lines.len());
    for line in lines {
        let text = in_line(line, given, defaults, used)?;
        // A value may have several lines.
        let parts = text.split('\n').map(|part| Line {
            number: line.number,
            text: part.to_owned(),
        });
        replaced.extend(parts);
    }
    Ok(replaced)
}

fn in_line(
    line: &Line,
    given: &Values,
    defaults: &Values,
    used: &mut BTreeSet<String>,
) -> Result<String, Error> {
    let mut text = String::new();
    let mut rest = line.text.as_str();
    while let Some((before, name, after)) = next(rest) {
        let done = line.text.len() - rest.len() + before.len();
        if is_comment(line.text.get(..done).unwrap_or_default()) {
            break;
        }
        text.push_str(before);
        let Some(value) = given.get(name).or_else(|| defaults.get(name)) else {
            let column = line.text.get(..done).map_or(0, |text| text.chars().count()) + 1;
            let message = format!(
                "build var {name} is not defined through either --build-arg (--build-arg-file) or 'arguments' section"
            );
            return Err(Error::new(line.number, column, message));
        };
        text.push_str(&nested(value, given, defaults));
        used.insert(name.to_owned());
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// Replaces variables in a value, once.
fn nested(value: &str, given: &Values, defaults: &Values) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, name, after)) = next(rest) {
        text.push_str(before);
        match given.get(name).or_else(|| defaults.get(name)) {
            Some(value) => text.push_str(value),
            None => text.push_str(
                rest.get(before.len()..rest.len() - after.len())
                    .unwrap_or(""),
            ),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Finds the next variable. Returns the text before it, its name, and the text after it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find("{{")?;
        let inner = text.get(start + 2..)?;
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let name_from = inner.trim_start();
        let end = name_from
            .find(|letter| !is_name(letter))
            .unwrap_or(name_from.len());
        let (name, rest) = name_from.split_at(end);
        if let Some(after) = rest.trim_start().strip_prefix("}}")
            && !name.is_empty()
        {
            return Some((text.get(..start)?, name, after));
        }
        from = start + 1;
    }
}

/// Whether the text before a variable makes it a part of a comment. `#!` does not, nor does a `#`
/// right before the variable.
fn is_comment(before: &str) -> bool {
    before
        .match_indices('#')
        .any(|(at, _)| matches!(before.get(at + 1..).and_then(|rest| rest.chars().next()), Some(next) if next != '!'))
}

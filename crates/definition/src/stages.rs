//! Splitting a file into stages.

use crate::words::Line;

/// Splits a file at the lines that begin with `Bootstrap:`. As in Apptainer, such a line begins a
/// stage wherever it stands. Keywords above the first one belong to its stage.
pub(crate) fn split(text: &str) -> Vec<Vec<Line>> {
    let mut stages: Vec<Vec<Line>> = vec![Vec::new()];
    let mut has_begun = false;
    for (index, text) in text.lines().enumerate() {
        let line = Line {
            number: index + 1,
            text: text.to_owned(),
        };
        let is_section = text.starts_with('%');
        if is_bootstrap(text) && has_begun {
            stages.push(Vec::new());
        }
        has_begun |= is_section || is_bootstrap(text);
        if let Some(stage) = stages.last_mut() {
            stage.push(line);
        }
    }
    stages
}

fn is_bootstrap(text: &str) -> bool {
    let word = "bootstrap:";
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

//! The error of reading a definition file.

/// A fault of a definition file, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct Error {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, in characters, counted from 1.
    pub column: usize,
    /// The fault.
    pub message: String,
}

impl Error {
    pub(crate) fn new(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            column,
            message: message.into(),
        }
    }
}

/// Returns `; did you mean …?` if one of `known` is near to a word.
pub(crate) fn suggestion(word: &str, known: &[&str], prefix: &str) -> String {
    /// Words below this similarity have little in common. A word of three letters with two exchanged
    /// has it.
    const NEAR: f64 = 0.65;
    let rate = |one: &&str| strsim::normalized_damerau_levenshtein(word, one);
    let rated = known.iter().map(|one| (rate(one), one));
    let best = rated.max_by(|left, right| left.0.total_cmp(&right.0));
    match best.filter(|(similarity, _)| *similarity > NEAR) {
        Some((_, one)) => format!("; did you mean {prefix}{one}?"),
        None => String::new(),
    }
}

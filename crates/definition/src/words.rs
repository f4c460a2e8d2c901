//! Lines with their numbers, and the words in them.

/// A line of a definition file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: usize,
    /// The text, without its end.
    pub(crate) text: String,
}

impl Line {
    /// Whether the line has nothing but a comment.
    pub(crate) fn is_blank(&self) -> bool {
        let text = self.text.trim();
        text.is_empty() || text.starts_with('#')
    }

    /// Returns the column of a part of the line, counted from 1.
    pub(crate) fn column(&self, part: &str) -> usize {
        let start = self.text.find(part).unwrap_or(0);
        let before = self.text.get(..start).unwrap_or_default();
        before.chars().count() + 1
    }
}

/// Returns the text before a comment.
pub(crate) fn without_comment(text: &str) -> &str {
    text.split('#').next().unwrap_or_default().trim()
}

/// Returns the words of a line of `%files`. Words with blanks are in quotes.
pub(crate) fn quoted(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' | '\'' => {
                let inner = rest.get(1..).unwrap_or_default();
                inner.split_once(first).unwrap_or((inner, ""))
            }
            _ => {
                let end = rest.find(|letter: char| letter.is_whitespace() || letter == '"');
                rest.split_at(end.unwrap_or(rest.len()))
            }
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

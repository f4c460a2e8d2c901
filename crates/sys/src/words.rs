//! Errors in words that a person can read: one line, each thing said once.

use std::error::Error;
use std::io;

/// Returns the system's words for an error, without Rust's number behind.
#[must_use]
pub fn words(error: &io::Error) -> String {
    plain(&error.to_string())
}

/// Returns an error and what caused it in one line. Many an error says its cause's words itself;
/// they are not repeated.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let words = plain(&error.to_string());
        if text.is_empty() {
            text = words;
        } else if !text.to_lowercase().contains(&words.to_lowercase()) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = error.source();
    }
    text.replace('\n', "\\n")
}

/// Takes ` (os error 2)` out, and the capital letter in front of it.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    while let Some(start) = plain.find(" (os error ") {
        let Some(length) = plain.get(start..).and_then(|rest| rest.find(')')) else {
            break;
        };
        plain.replace_range(start..=start + length, "");
        let begin = plain
            .get(..start)
            .and_then(|front| front.rfind(": "))
            .map_or(0, |at| at + 2);
        if let Some(first) = plain.get_mut(begin..begin + 1) {
            first.make_ascii_lowercase();
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "open /x: {}", self.0)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn says_each_thing_once() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(words(&error), "no such file or directory");
        assert_eq!(
            one_line(&Outer(error)),
            "open /x: no such file or directory"
        );
    }
}

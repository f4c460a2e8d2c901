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
    printable(&text)
}

/// Returns a text as one line that a terminal shows and does not obey, whoever wrote it: control
/// characters, an escape among them, and those that turn the direction of writing become words, `\x1b`.
#[must_use]
pub fn printable(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`printable`], for a text of many lines: their ends and tabs stay.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    escape(text, |letter| matches!(letter, '\n' | '\t'))
}

fn escape(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            letter if stays(letter) || !is_obeyed(letter) => escaped.push(letter),
            '\n' | '\r' | '\t' => escaped.extend(letter.escape_default()),
            letter if u32::from(letter) < 0x100 => {
                escaped.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            letter => escaped.extend(letter.escape_unicode()),
        }
    }
    escaped
}

/// Whether a terminal does something else with it than to show it (ECMA-48; Unicode, UAX #9).
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    fn what_a_terminal_would_obey_is_told() {
        let hostile = "a\x1b]0;x\x07b\nc\td\u{9b}2J\u{202e}ü\\";
        let told = "a\\x1b]0;x\\x07b\\nc\\td\\x9b2J\\u{202e}ü\\";
        assert_eq!(printable(hostile), told);
        assert_eq!(printable_lines("a\tb\n\x1b[31m\r"), "a\tb\n\\x1b[31m\\r");
        assert_eq!(one_line(&io::Error::other("x\x1b[2J")), "x\\x1b[2J");
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

//! Texts of others that are printed on a terminal.

/// Returns a text as one line that a terminal displays and does not interpret, whoever wrote it.
/// Control characters, including escape, and characters that change the direction of writing are
/// replaced by text such as `\x1b`.
#[must_use]
pub fn printable(text: &str) -> String {
    escape(text, |_| false)
}

/// Does the same as [`printable`] for a text of many lines: the line ends and tabs stay.
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

/// Whether a terminal interprets a character instead of displaying it (ECMA-48; Unicode, UAX #9).
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_told() {
        let hostile = "a\x1b]0;x\x07b\nc\td\u{9b}2J\u{202e}ü\\";
        let told = "a\\x1b]0;x\\x07b\\nc\\td\\x9b2J\\u{202e}ü\\";
        assert_eq!(printable(hostile), told);
        assert_eq!(printable_lines("a\tb\n\x1b[31m\r"), "a\tb\n\\x1b[31m\\r");
    }
}

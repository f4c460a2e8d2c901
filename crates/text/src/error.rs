//! Error messages that a person can read: one line, each fact once.

use std::error::Error;
use std::io;

use crate::printable;

/// Returns an error of the system and its causes in one line, as [`one_line`] does.
#[must_use]
pub fn message(error: &io::Error) -> String {
    one_line(error)
}

/// Returns an error of the system with advice behind it.
#[must_use]
pub fn with_advice(error: &io::Error, advice: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{}; {advice}", message(error)))
}

/// Returns an error and its causes in one line. No error of this project contains the message of
/// its cause.
#[must_use]
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut messages = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        messages.push(own_message(error));
        next = error.source();
    }
    printable(&messages.join(": "))
}

/// Returns the message of one error. The system's begins with a small letter here, and ends
/// without its number.
fn own_message(error: &(dyn Error + 'static)) -> String {
    let system = error.downcast_ref::<io::Error>();
    let code = system.and_then(io::Error::raw_os_error).or_else(|| {
        let errno = error.downcast_ref::<rustix::io::Errno>();
        errno.map(|errno| errno.raw_os_error())
    });
    let Some(code) = code else {
        return error.to_string();
    };
    let text = error.to_string();
    let text = text.trim_end_matches(&format!(" (os error {code})"));
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("open /x")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn says_each_thing_once() {
        assert_eq!(one_line(&io::Error::other("x\x1b[2J")), "x\\x1b[2J");
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(message(&error), "no such file or directory");
        assert_eq!(
            one_line(&Outer(error)),
            "open /x: no such file or directory"
        );
    }
}

//! The program's messages, all on standard error, with Singularity's prefixes.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Exit status when the container's program could not be started, or a command failed.
pub const FAILURE: u8 = 255;

/// The least important messages that are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Errors.
    Fatal,
    /// Also warnings.
    Warning,
    /// Also information.
    Info,
    /// Also more information than usual.
    Verbose,
    /// Also each step.
    Debug,
}

/// The level and the style of messages.
#[derive(Debug, Clone, Copy)]
pub struct Messages {
    level: Level,
    coloured: bool,
}

impl Messages {
    /// Returns messages of a level, with colours if the terminal may have them. At the level of each
    /// step, the libraries print messages, too.
    pub fn new(level: Level, may_colour: bool) -> Self {
        if level == Level::Debug {
            tracing_subscriber::fmt()
                .with_writer(std::io::stderr)
                .with_max_level(tracing::Level::DEBUG)
                .with_ansi(false)
                .without_time()
                .init();
        }
        Self {
            level,
            coloured: may_colour && std::io::stderr().is_terminal(),
        }
    }

    /// Returns messages of which only failures are printed. Used when the same thing is examined
    /// again.
    pub fn of_failures(self) -> Self {
        Self {
            level: Level::Fatal,
            ..self
        }
    }

    /// Whether each step is printed.
    pub fn is_debug(&self) -> bool {
        self.level == Level::Debug
    }

    /// Whether more than warnings is printed.
    pub fn is_informing(&self) -> bool {
        self.level >= Level::Info
    }

    /// Prints information.
    pub fn info(&self, text: impl Display) {
        self.say(Level::Info, "INFO:", "34", &text);
    }

    /// Prints a warning: the result may not be the one that the user wants.
    pub fn warning(&self, text: impl Display) {
        self.say(Level::Warning, "WARNING:", "33", &text);
    }

    /// Returns a warning as it would be printed, or `None` if it would not be.
    pub fn warning_line(&self, text: impl Display) -> Option<String> {
        self.line(Level::Warning, "WARNING:", "33", &text)
    }

    /// Prints an error that the image's own scripts would print.
    pub fn error(&self, text: impl Display) {
        self.say(Level::Fatal, "ERROR:", "31", &text);
    }

    /// Prints the error because of which nothing was run.
    pub fn fatal(&self, error: &anyhow::Error) {
        self.say(
            Level::Fatal,
            "FATAL:",
            "31",
            &text::one_line(error.as_ref()),
        );
    }

    fn say(&self, level: Level, prefix: &str, colour: &str, text: &dyn Display) {
        if let Some(line) = self.line(level, prefix, colour, text) {
            // One write, because other ranks print at the same time. If it fails, there is no other
            // place for messages.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn line(&self, level: Level, prefix: &str, colour: &str, text: &dyn Display) -> Option<String> {
        if level > self.level {
            return None;
        }
        // A path or a label in the text could contain line breaks or control sequences of
        // terminals.
        let text = text::printable(&text.to_string());
        let (on, off) = match self.coloured {
            true => (format!("\x1b[{colour}m"), "\x1b[0m"),
            false => (String::new(), ""),
        };
        Some(format!("{on}{prefix:<9}{off}{text}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_says_is_one_line_that_no_terminal_obeys() {
        let messages = Messages {
            level: Level::Info,
            coloured: false,
        };
        let line = messages.warning_line("a\nb\x1b[2J").unwrap();
        assert_eq!(line, "WARNING: a\\nb\\x1b[2J\n");
    }
}

//! What the program says, all on standard error, with Singularity's prefixes.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use anyhow::Result;

use crate::caller::Caller;
use crate::flags::{Global, Level};

/// Exit status when the container's program could not be started, or a command did not do its work.
pub const FAILURE: u8 = 255;

/// How much is said, and how.
#[derive(Debug, Clone, Copy)]
pub struct Messages {
    level: Level,
    coloured: bool,
}

impl Messages {
    /// Decides by the flags and their variables. With `--debug` the libraries speak too.
    ///
    /// # Errors
    ///
    /// Fails on variables that have no meaning.
    pub fn new(global: &Global, caller: &Caller) -> Result<Self> {
        let variables = &caller.variables;
        let level = global.level(variables)?;
        if level == Level::Debug {
            tracing_subscriber::fmt()
                .with_writer(std::io::stderr)
                .with_max_level(tracing::Level::DEBUG)
                .with_ansi(false)
                .without_time()
                .init();
        }
        let coloured = global.may_colour(variables)? && std::io::stderr().is_terminal();
        Ok(Self { level, coloured })
    }

    /// Returns those that tell failures alone: for a look at what is looked at once more.
    pub fn of_failures(self) -> Self {
        Self {
            level: Level::Fatal,
            ..self
        }
    }

    /// Whether the steps are told one by one.
    pub fn is_debug(&self) -> bool {
        self.level == Level::Debug
    }

    /// Whether more than warnings is said.
    pub fn is_informing(&self) -> bool {
        self.level >= Level::Info
    }

    /// Says something that is as it should be.
    pub fn info(&self, text: impl Display) {
        self.say(Level::Info, "INFO:", "34", &text);
    }

    /// Says something that may not be what the user wants.
    pub fn warning(&self, text: impl Display) {
        self.say(Level::Warning, "WARNING:", "33", &text);
    }

    /// Returns a warning as it would be said; `None` where it is not to be.
    pub fn warning_line(&self, text: impl Display) -> Option<String> {
        self.line(Level::Warning, "WARNING:", "33", &text)
    }

    /// Says why nothing was run.
    pub fn fatal(&self, error: &anyhow::Error) {
        self.say(Level::Fatal, "FATAL:", "31", &sys::one_line(error.as_ref()));
    }

    fn say(&self, level: Level, prefix: &str, colour: &str, text: &dyn Display) {
        if let Some(line) = self.line(level, prefix, colour, text) {
            // By one write, since other ranks speak too; nowhere is left to complain when it fails.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn line(&self, level: Level, prefix: &str, colour: &str, text: &dyn Display) -> Option<String> {
        if level > self.level {
            return None;
        }
        // One line that no terminal obeys, whatever a path or an image's label in it holds.
        let text = sys::printable(&text.to_string());
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

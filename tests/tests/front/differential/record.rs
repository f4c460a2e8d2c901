//! Recorded outcomes, as text.

use std::collections::BTreeMap;
use std::fmt;

/// The outcome of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The exit status.
    pub(crate) status: i32,
    /// The kind of messages.
    pub(crate) kind: Kind,
    /// The standard output.
    pub(crate) stdout: String,
}

/// The kind of the gravest message. Information is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    None,
    Warning,
    Error,
}

impl Kind {
    /// Returns the kind of the messages on standard error.
    pub(crate) fn of(stderr: &str) -> Self {
        let kinds = stderr.lines().map(|line| {
            let line = line.trim_start_matches(|letter: char| !letter.is_ascii_alphabetic());
            let line = line.trim_start_matches(|letter: char| !letter.is_ascii_uppercase());
            let begins = |word: &str| line.starts_with(word);
            if begins("FATAL") || begins("ERROR") || begins("Error for command") {
                Self::Error
            } else if begins("WARNING") {
                Self::Warning
            } else {
                Self::None
            }
        });
        kinds.max().unwrap_or(Self::None)
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "status {}, messages {}", self.status, self.kind.name())?;
        let mut lines = self.stdout.split('\n').peekable();
        while let Some(line) = lines.next() {
            match lines.peek() {
                Some(_) => writeln!(f, "| {line}")?,
                // Output without an end of line.
                None if !line.is_empty() => writeln!(f, "> {line}")?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Reads recorded outcomes, by command line. Of two outcomes, the second is `front`'s.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Seen> {
    let mut found = BTreeMap::<String, Seen>::new();
    let mut case = String::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("$ ") {
            words.clone_into(&mut case);
        } else if let Some(rest) = line.strip_prefix("status ") {
            let (status, kind) = rest.split_once(", messages ").expect("a kind of messages");
            let kinds = [Kind::None, Kind::Warning, Kind::Error];
            let kind = kinds.into_iter().find(|one| one.name() == kind);
            let seen = Seen {
                status: status.parse().expect("a number"),
                kind: kind.expect("a known kind"),
                stdout: String::new(),
            };
            found.insert(case.clone(), seen);
        } else if let Some(output) = line.strip_prefix("| ") {
            let seen = found.get_mut(&case).expect("output of a case");
            seen.stdout += output;
            seen.stdout += "\n";
        } else if let Some(output) = line.strip_prefix("> ") {
            found.get_mut(&case).expect("output of a case").stdout += output;
        }
    }
    found
}

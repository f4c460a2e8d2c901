//! The name by which this program was called. A link to it that is named `apptainer` or
//! `singularity` is that program to whoever calls it.

use std::ffi::OsString;
use std::path::Path;
use std::sync::LazyLock;

use clap::Command;

/// The name by which this program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// `front`, or any other name.
    Front,
    /// `apptainer`.
    Apptainer,
    /// `singularity`.
    Singularity,
    /// `run-singularity`, which the first line of a SIF names.
    RunSingularity,
}

impl Called {
    /// Returns the name by which this process was called.
    pub fn now() -> Self {
        let word = std::env::args_os().next().unwrap_or_default();
        Self::of(Path::new(&word))
    }

    fn of(word: &Path) -> Self {
        match word.file_name().and_then(|name| name.to_str()) {
            Some("apptainer") => Self::Apptainer,
            Some("singularity") => Self::Singularity,
            Some("run-singularity") => Self::RunSingularity,
            _ => Self::Front,
        }
    }

    /// Returns the name that usage and errors show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Apptainer => "apptainer",
            Self::Singularity | Self::RunSingularity => "singularity",
        }
    }

    /// Returns the prompt of a shell in a container.
    pub fn prompt(self) -> &'static str {
        match self {
            Self::Front => "front> ",
            _ => "Apptainer> ",
        }
    }

    /// Returns the version, as `version` prints it.
    pub fn version(self) -> &'static str {
        self.version_words().trim_start_matches("version ")
    }

    /// Returns what `--version` prints behind the program's name. Apptainer's version is the one
    /// whose command line this program follows. Our own is the local part, which version parsers
    /// leave out or ignore.
    fn version_words(self) -> &'static str {
        match self {
            Self::Front => {
                static OWN: LazyLock<String> =
                    LazyLock::new(|| format!("version {}", text::version()));
                &OWN
            }
            _ => concat!("version 1.4.5+front.", env!("CARGO_PKG_VERSION")),
        }
    }

    /// Gives a command line the name. `--version` of `singularity` names Apptainer, as that of
    /// Apptainer's own link does.
    pub fn give(self, command: Command) -> Command {
        let provider = match self {
            Self::Front => "front",
            _ => "apptainer",
        };
        command
            .name(self.name())
            .bin_name(self.name())
            .display_name(provider)
            .version(self.version_words())
    }

    /// Returns the arguments. `run-singularity` runs the image that it is given.
    pub fn arguments(self) -> Vec<OsString> {
        let mut words: Vec<OsString> = std::env::args_os().collect();
        if self == Self::RunSingularity {
            words.insert(1, "run".into());
        }
        words
    }

    /// Puts the name in place of `front` before a command, a flag or a placeholder.
    pub fn rename(self, text: &str) -> String {
        if self == Self::Front {
            return text.to_owned();
        }
        let mut renamed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("front ") {
            let begins = before
                .chars()
                .next_back()
                .is_none_or(|last| last.is_whitespace() || "`\"'(".contains(last));
            renamed.push_str(before);
            renamed.push_str(if begins { self.name() } else { "front" });
            renamed.push(' ');
            rest = after;
        }
        renamed + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_link() {
        for (word, expected) in [
            ("/usr/bin/apptainer", Called::Apptainer),
            ("singularity", Called::Singularity),
            ("./run-singularity", Called::RunSingularity),
            ("/opt/slipway/front", Called::Front),
            ("/opt/apptainer/", Called::Apptainer),
            ("", Called::Front),
        ] {
            assert_eq!(Called::of(Path::new(word)), expected, "{word}");
        }
    }

    #[test]
    fn usage_shows_the_name() {
        let text = "Usage: front exec [FLAGS]\n  `front run`, front's, confront us";
        assert_eq!(
            Called::Singularity.rename(text),
            "Usage: singularity exec [FLAGS]\n  `singularity run`, front's, confront us"
        );
        assert_eq!(Called::Front.rename(text), text);
    }

    /// The rules by which clients read the line.
    #[test]
    fn clients_accept_the_version() {
        for called in [Called::Apptainer, Called::Singularity] {
            let line = called.give(Command::new("x")).render_version();
            let line = line.trim_end();
            // cotainr: three words, of which the first is a known provider.
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(&words[..2], ["apptainer", "version"], "{line}");
            assert_eq!(words.len(), 3, "{line}");
            // cwltool, Toil, cwl-utils: `(.+) version ([0-9.]+)`.
            let number = words[2].split(|c: char| !c.is_ascii_digit() && c != '.');
            let number = number.into_iter().next().unwrap();
            assert_eq!(number, "1.4.5", "{line}");
            // Snakemake: the last word by PEP 440, whose local version is `+` and letters, digits
            // and dots.
            let (_, local) = words[2].split_once('+').unwrap();
            let is_part =
                |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
            assert!(local.split('.').all(is_part), "{line}");
        }
    }
}

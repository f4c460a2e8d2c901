//! `.dockerignore`: files of a context that are not copied ([reference]).
//!
//! [reference]: https://docs.docker.com/build/concepts/context/#dockerignore-files

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use glob::{MatchOptions, Pattern};

use crate::small_file;

/// The patterns of a context.
pub struct Ignored {
    /// The patterns, and whether each excludes. The last one that matches counts.
    patterns: Vec<(Pattern, bool)>,
}

const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

impl Ignored {
    /// Reads the patterns of a context: those beside the Dockerfile's name, or else `.dockerignore`.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read, or has an invalid pattern.
    pub fn read(context: &Path, dockerfile: &Path) -> Result<Self> {
        let mut own = dockerfile.file_name().unwrap_or_default().to_owned();
        own.push(".dockerignore");
        let files = [context.join(own), context.join(".dockerignore")];
        let Some(file) = files.iter().find(|file| file.is_file()) else {
            return Ok(Self {
                patterns: Vec::new(),
            });
        };
        let named = || file.display().to_string();
        let text = small_file::read_text(file).with_context(named)?;
        Self::parse(&text).with_context(named)
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let patterns = lines.map(|line| {
            let (excludes, line) = match line.strip_prefix('!') {
                Some(rest) => (false, rest.trim()),
                None => (true, line),
            };
            let parts = Path::new(line).components();
            let parts = parts.filter(|part| matches!(part, Component::Normal(_)));
            let plain: PathBuf = parts.collect();
            let plain = plain.display().to_string();
            Ok((
                Pattern::new(&plain).with_context(|| line.to_owned())?,
                excludes,
            ))
        });
        Ok(Self {
            patterns: patterns.collect::<Result<_>>()?,
        })
    }

    /// Whether no file is left out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the file at an absolute path of the context is left out. A directory with an exception
    /// in it is not.
    pub fn has(&self, path: &Path) -> bool {
        let path = path.strip_prefix("/").unwrap_or(path);
        let mut is_left_out = false;
        for (pattern, excludes) in &self.patterns {
            let mut above = path.ancestors().filter(|path| !path.as_os_str().is_empty());
            let names = path.display().to_string() + "/";
            let leads = !excludes && pattern.as_str().starts_with(&names);
            if leads || above.any(|path| pattern.matches_path_with(path, OPTIONS)) {
                is_left_out = *excludes;
            }
        }
        is_left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_counts() {
        let ignored =
            Ignored::parse("# no\n*.log\n/build/\n**/*.o\nsecret?\n!keep.log\n!build/keep\n")
                .unwrap();
        let has = |path: &str| ignored.has(Path::new(path));
        for path in ["/a.log", "/build/x", "/a/b.o", "/b.o", "/secret1"] {
            assert!(has(path), "{path}");
        }
        for path in [
            "/keep.log",
            "/d/a.log",
            "/build",
            "/build/keep",
            "/build/keep/x",
            "/secret",
            "/a",
        ] {
            assert!(!has(path), "{path}");
        }
    }
}

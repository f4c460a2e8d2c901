//! Scripts that only set variables, read without a shell.
//!
//! The supported dialect is the one that converters of OCI images and most people write: comments,
//! `export A=b`, `A="b c"`, `export A='b'`, `export A="${A:-"b"}"`, `export PATH="/x:$PATH"`.
//! Anything else is deliberately left to the shell.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::variables::Set;

/// Largest depth of nested `${NAME:-word}`. People write two levels. The evaluation is recursive,
/// and its stack is small if the caller's is.
const DEPTH: u32 = 8;

/// Largest total size of all values of an image's scripts, in bytes, including values that are
/// replaced later: half of the space for a program's arguments and environment (ARG_MAX,
/// execve(2)).
pub const LARGEST: usize = 1 << 20;

/// Number of bytes that values may still take.
#[derive(Debug)]
pub struct Left(usize);

impl Default for Left {
    fn default() -> Self {
        Self(LARGEST)
    }
}

/// Whether a script has nothing but comments.
pub fn is_idle(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').all(|line| {
        let line = line.trim_ascii();
        line.is_empty() || line.starts_with(b"#")
    })
}

/// Whether a shell would replace parts of a value in double quotes.
pub fn wants_a_shell(value: &OsStr) -> bool {
    value
        .as_bytes()
        .iter()
        .any(|byte| matches!(byte, b'$' | b'`' | b'\\'))
}

/// Evaluates a script. Returns `None` if a part of it is not understood, or if its values are
/// larger than is `left`. Then `set` must not be used.
pub fn evaluate(text: &[u8], set: &mut Set, left: &mut Left) -> Option<()> {
    assign(text, set, left, None)
}

/// Evaluates a script whose variables all reach the payload, exported or not, and returns their
/// names. Returns `None` as [`evaluate`] does.
pub fn assignments(text: &[u8], set: &mut Set) -> Option<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    assign(text, set, &mut Left::default(), Some(&mut names))?;
    Some(names)
}

/// Evaluates a script. With `names`, all variables are exported, and their names are added to it.
fn assign(
    text: &[u8],
    set: &mut Set,
    left: &mut Left,
    mut names: Option<&mut BTreeSet<OsString>>,
) -> Option<()> {
    // Only exported variables reach the payload. A plain assignment has an effect if the name is a
    // variable of the environment already, or becomes one.
    let mut local = Set::new();
    let mut reader = Reader {
        rest: text,
        depth: 0,
        left,
    };
    while reader.skip_blank_lines() {
        let exported = reader.keyword(b"export");
        loop {
            let name = reader.name()?;
            if reader.take(b'=') {
                let lookup = |name: &OsStr| local.get(name).or_else(|| set.get(name)).cloned();
                let value = reader.word(&lookup)?;
                let listed = names.as_mut().map(|names| names.insert(name.clone()));
                if listed.is_some() || exported || set.contains_key(&name) {
                    local.remove(&name);
                    set.insert(name, value);
                } else {
                    local.insert(name, value);
                }
            } else if exported {
                if let Some(value) = local.remove(&name) {
                    set.insert(name, value);
                }
            } else {
                return None;
            }
            reader.skip_blanks();
            if reader.at_end_of_command() {
                break;
            }
            if !exported {
                // `A=b command` sets the variable for one command only.
                return None;
            }
        }
    }
    Some(())
}

/// Reads a script from front to back.
struct Reader<'a> {
    rest: &'a [u8],
    /// Number of `${NAME:-word}` whose words are being read.
    depth: u32,
    left: &'a mut Left,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.bump();
        }
        found
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.bump();
        }
    }

    /// Moves to the next command. Returns `false` at the end of the script.
    fn skip_blank_lines(&mut self) -> bool {
        loop {
            match self.peek() {
                None => return false,
                Some(b' ' | b'\t' | b'\n' | b'\r') => {
                    self.bump();
                }
                Some(b'#') => self.skip_line(),
                Some(_) => return true,
            }
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.bump();
        }
    }

    /// Returns whether a command ends here, and moves past its end: a line's end, a semicolon, or a
    /// comment.
    fn at_end_of_command(&mut self) -> bool {
        match self.peek() {
            None => true,
            Some(b'\n' | b';') => {
                self.bump();
                true
            }
            Some(b'#') => {
                self.skip_line();
                true
            }
            Some(_) => false,
        }
    }

    /// Appends to a value. Returns `None` if all values together become too large.
    fn add(&mut self, value: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
        self.left.0 = self.left.0.checked_sub(bytes.len())?;
        value.extend(bytes);
        Some(())
    }

    fn keyword(&mut self, word: &[u8]) -> bool {
        let Some(rest) = self.rest.strip_prefix(word) else {
            return false;
        };
        let found = matches!(rest.first(), Some(b' ' | b'\t'));
        if found {
            self.rest = rest;
            self.skip_blanks();
        }
        found
    }

    fn name(&mut self) -> Option<OsString> {
        let mut name = Vec::new();
        while let Some(byte) = self
            .peek()
            .filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        {
            name.push(byte);
            self.bump();
        }
        let valid = name.first().is_some_and(|byte| !byte.is_ascii_digit());
        valid.then(|| OsString::from_vec(name))
    }

    /// Reads a value: quoted and unquoted pieces up to a blank or the command's end.
    fn word(&mut self, lookup: &dyn Fn(&OsStr) -> Option<OsString>) -> Option<OsString> {
        let mut value = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b';' => break,
                b'\'' => {
                    self.bump();
                    self.single_quoted(&mut value)?;
                }
                b'"' => {
                    self.bump();
                    self.double_quoted(lookup, &mut value)?;
                }
                b'$' => {
                    self.bump();
                    // Values of assignments are not split, so no quotes are needed.
                    let found = self.variable(lookup)?;
                    self.add(&mut value, found.as_bytes())?;
                }
                _ if is_plain(byte) => {
                    self.add(&mut value, &[byte])?;
                    self.bump();
                }
                _ => return None,
            }
        }
        Some(OsString::from_vec(value))
    }

    fn single_quoted(&mut self, value: &mut Vec<u8>) -> Option<()> {
        loop {
            match self.bump()? {
                b'\'' => return Some(()),
                byte => self.add(value, &[byte])?,
            }
        }
    }

    fn double_quoted(
        &mut self,
        lookup: &dyn Fn(&OsStr) -> Option<OsString>,
        value: &mut Vec<u8>,
    ) -> Option<()> {
        loop {
            match self.bump()? {
                b'"' => return Some(()),
                b'$' => {
                    let found = self.variable(lookup)?;
                    self.add(value, found.as_bytes())?;
                }
                b'`' => return None,
                b'\\' => match self.bump()? {
                    byte @ (b'$' | b'`' | b'"' | b'\\') => self.add(value, &[byte])?,
                    b'\n' => {}
                    byte => self.add(value, &[b'\\', byte])?,
                },
                byte => self.add(value, &[byte])?,
            }
        }
    }

    /// Reads what follows a dollar: `NAME`, `{NAME}`, `{NAME:-word}`, `{NAME-word}`.
    fn variable(&mut self, lookup: &dyn Fn(&OsStr) -> Option<OsString>) -> Option<OsString> {
        if !self.take(b'{') {
            return Some(lookup(&self.name()?).unwrap_or_default());
        }
        let name = self.name()?;
        let current = lookup(&name);
        if self.take(b'}') {
            return Some(current.unwrap_or_default());
        }
        let empty_counts_as_unset = self.take(b':');
        if !self.take(b'-') {
            return None;
        }
        if self.depth == DEPTH {
            return None;
        }
        self.depth += 1;
        let fallback = self.fallback(lookup)?;
        self.depth -= 1;
        Some(
            current
                .filter(|value| !(empty_counts_as_unset && value.is_empty()))
                .unwrap_or(fallback),
        )
    }

    /// Reads the word of `${NAME:-word}`, up to its brace.
    fn fallback(&mut self, lookup: &dyn Fn(&OsStr) -> Option<OsString>) -> Option<OsString> {
        let mut value = Vec::new();
        loop {
            match self.bump()? {
                b'}' => return Some(OsString::from_vec(value)),
                b'"' => self.double_quoted(lookup, &mut value)?,
                b'$' => {
                    let found = self.variable(lookup)?;
                    self.add(&mut value, found.as_bytes())?;
                }
                byte if is_plain(byte) => self.add(&mut value, &[byte])?,
                _ => return None,
            }
        }
    }
}

/// Whether a byte has no special meaning outside of quotes. `~` has one: it may stand for a home.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:=,@%+-^".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(script: &str) -> Option<Vec<(String, String)>> {
        let mut set = Set::from([("PATH".into(), "/bin".into())]);
        evaluate(script.as_bytes(), &mut set, &mut Left::default())?;
        let text = |value: OsString| value.into_string().unwrap();
        Some(
            set.into_iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
        )
    }

    /// `sh` also runs every script of the table, and must agree.
    #[test]
    fn agrees_with_a_shell() {
        let scripts = [
            "",
            "# only a comment\n\n",
            "export A=b",
            "export A=b C=d\nexport E",
            "A=b\nexport A\n",
            "A=b\n",
            "PATH=/opt/bin:$PATH",
            "export PATH=\"/opt/bin:${PATH}\"",
            "export A='b c' ; export D=\"e  f\"",
            "export LANG=\"${LANG:-\"C.UTF-8\"}\"",
            "export A=\"${PATH:-\"x\"}\"\nexport B=\"${NOPE-$PATH}\"",
            "export A=\"\\$HOME \\\"q\\\" \\n\"",
            "export A=1 # trailing\nexport B=2",
            "export A=\"two\nlines\"",
            "export A=",
            "export A='x'\"y\"z",
            "export A=${B:-${C:-${D:-\"${E:-e}\"}}}",
        ];
        for script in scripts {
            let ours = evaluated(script).unwrap_or_else(|| panic!("{script:?} is not understood"));
            // The shell sets PWD and similar variables itself.
            let dump = format!("{script}\nexec /usr/bin/env -0");
            let output = std::process::Command::new("/bin/sh")
                .args(["-c", &dump])
                .env_clear()
                .env("PATH", "/bin")
                .output()
                .unwrap();
            let mut theirs: Vec<(String, String)> = String::from_utf8(output.stdout)
                .unwrap()
                .split_terminator('\0')
                .filter_map(|line| line.split_once('='))
                .filter(|(name, _)| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            theirs.sort();
            assert_eq!(ours, theirs, "{script:?}");
        }
    }

    #[test]
    fn leaves_the_rest_to_the_shell() {
        let scripts = [
            "source /opt/x.sh",
            ". /opt/x.sh",
            "if true; then export A=b; fi",
            "export A=$(hostname)",
            "export A=`hostname`",
            "export A=~/x",
            "export A=*",
            "A=b command",
            "export A=${B:+c}",
            "export A=${#B}",
            "export A=$1",
            "export A=\"unclosed",
            "export A=a&",
            "unset A",
            "echo hello",
            "export -p",
        ];
        for script in scripts {
            assert_eq!(evaluated(script), None, "{script:?}");
        }
    }

    #[test]
    fn what_grows_without_end_is_left_to_the_shell_on_a_small_stack_too() {
        let nested = |depth: usize, open: &str, close: &str| {
            format!("export A={}x{}", open.repeat(depth), close.repeat(depth))
        };
        let scripts = [
            nested(190_000, "${A:-", "}"),
            nested(190_000, "${A:-\"", "\"}"),
            format!("export A=0123456789\n{}", "A=\"$A$A\"\n".repeat(40)),
            format!(
                "export A={}\n{}",
                "x".repeat(100_000),
                "B=$A\n".repeat(100_000)
            ),
        ];
        let all = std::thread::Builder::new().stack_size(64 << 10);
        let all = all.spawn(move || scripts.map(|script| evaluated(&script)));
        assert_eq!(all.unwrap().join().unwrap(), [None, None, None, None]);
    }
}

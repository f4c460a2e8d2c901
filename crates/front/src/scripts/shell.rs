//! Scripts that take a shell: the image's own, asked for what it exports in the end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};

use super::Outcome;
use crate::environment::Set;

/// Separates, in the shell's answer, what scripts exported from what overrides did.
const SEPARATOR: &[u8] = b"\n#--overrides--#\n";

/// How much of an answer is read, in bytes: more than any environment can be.
const LIMIT: u64 = 16 << 20;

/// Runs the scripts, then the overrides, and collects both.
pub fn evaluate<'a>(
    paths: &[OsString],
    base: &Set,
    overrides: impl Iterator<Item = &'a (OsString, OsString)>,
) -> io::Result<Outcome> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfd(&write, FdFlags::empty())?;
    // By path: a shell need not understand descriptors above 9.
    let answer = format!("/proc/self/fd/{}", write.as_raw_fd());
    let names: Vec<_> = overrides.collect();
    let script = script(paths, &answer, &names);
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(OsStr::from_bytes(&script))
        .env_clear()
        .envs(base)
        .stdin(Stdio::null())
        .spawn()?;
    drop(write);
    let mut answer = Vec::new();
    File::from(read).take(LIMIT).read_to_end(&mut answer)?;
    let status = child.wait()?;
    let Some((scripts, overridden)) = split(&answer) else {
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(1);
        return Ok(Outcome::Exit(u8::try_from(code).unwrap_or(u8::MAX)));
    };
    let mut image = parse(scripts);
    image.retain(|name, _| {
        !["PWD", "OLDPWD", "SHLVL", "_"]
            .iter()
            .any(|own| name == own)
    });
    let after = parse(overridden);
    let overrides = names
        .into_iter()
        .filter_map(|(name, _)| Some((name.clone(), after.get(name)?.clone())))
        .collect();
    Ok(Outcome::Variables { image, overrides })
}

fn script(paths: &[OsString], answer: &str, overrides: &[&(OsString, OsString)]) -> Vec<u8> {
    let mut script = Vec::new();
    for path in paths {
        script.extend(b". '");
        script.extend(path.as_bytes().replace_quotes());
        script.extend(b"'\n");
    }
    script.extend(format!("export -p > {answer}\n").bytes());
    // Through a pipe that is already open for writing, a second open appends.
    let separator = String::from_utf8_lossy(SEPARATOR).replace('\n', "\\n");
    script.extend(format!("printf '{separator}' > {answer}\n").bytes());
    for (name, value) in overrides {
        let identifier = name.as_bytes().iter().enumerate().all(|(at, byte)| {
            *byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
        });
        if !identifier {
            continue;
        }
        script.extend(b"export ");
        script.extend(name.as_bytes());
        script.extend(b"=\"");
        for byte in value.as_bytes() {
            if *byte == b'"' {
                script.push(b'\\');
            }
            script.push(*byte);
        }
        script.extend(b"\"\n");
    }
    script.extend(format!("export -p > {answer}\nexit 0\n").bytes());
    script
}

/// Ends and reopens the quotes around each quote.
trait ReplaceQuotes {
    fn replace_quotes(&self) -> Vec<u8>;
}

impl ReplaceQuotes for [u8] {
    fn replace_quotes(&self) -> Vec<u8> {
        let mut quoted = Vec::with_capacity(self.len());
        for byte in self {
            match byte {
                b'\'' => quoted.extend(b"'\\''"),
                byte => quoted.push(*byte),
            }
        }
        quoted
    }
}

fn split(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = answer
        .windows(SEPARATOR.len())
        .position(|window| window == SEPARATOR)?;
    Some((answer.get(..=at)?, answer.get(at + SEPARATOR.len()..)?))
}

/// Reads the output of `export -p`: lines `export NAME=value` in the shell's own quoting (POSIX,
/// "export"), whose values may go on over lines.
fn parse(text: &[u8]) -> Set {
    let mut set = Set::new();
    let mut rest = text;
    while let Some(start) = find(rest, b"export ") {
        rest = rest.get(start + b"export ".len()..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'=' | b'\n'))
            .unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        rest = rest.get(end..).unwrap_or_default();
        let Some(after) = rest.strip_prefix(b"=") else {
            continue;
        };
        let (value, after) = unquote(after);
        rest = after;
        set.insert(OsString::from_vec(name.to_vec()), OsString::from_vec(value));
    }
    set
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

/// Reads one word in shell quoting; returns it and what follows.
fn unquote(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut quote = None;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (quote, byte) {
            (None, b'\n') => return (value, rest),
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            (None | Some(b'"'), b'\\') => {
                if let Some((&escaped, after)) = rest.split_first() {
                    value.push(escaped);
                    rest = after;
                }
            }
            (_, byte) => value.push(byte),
        }
    }
    (value, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(set: &Set, name: &str) -> String {
        set.get(OsStr::new(name))
            .cloned()
            .unwrap_or_default()
            .into_string()
            .unwrap()
    }

    #[test]
    fn reads_every_shells_quoting() {
        let set = parse(b"export A='it'\\''s'\nexport B=\"a\\$b \\\"c\\\"\"\nexport C\nexport D='two\nlines'\nexport E=x\\ y\n");
        assert_eq!(get(&set, "A"), "it's");
        assert_eq!(get(&set, "B"), "a$b \"c\"");
        assert_eq!(get(&set, "D"), "two\nlines");
        assert_eq!(get(&set, "E"), "x y");
        assert_eq!(set.len(), 4);
    }

    #[test]
    fn runs_scripts_and_overrides() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it's.sh");
        std::fs::write(
            &path,
            "export A=$(echo image)\nexport B=image\nif true; then C=local; fi\n",
        )
        .unwrap();
        let base = Set::from([("PATH".into(), "/usr/bin:/bin".into())]);
        let overrides: Vec<(OsString, OsString)> = vec![
            ("B".into(), "over $A \"q\"".into()),
            ("not.a.name".into(), "x".into()),
        ];
        let Outcome::Variables { image, overrides } =
            evaluate(&[path.into()], &base, overrides.iter()).unwrap()
        else {
            panic!("the shell ended early");
        };
        assert_eq!(
            (get(&image, "A").as_str(), get(&image, "B").as_str()),
            ("image", "image")
        );
        assert!(!image.contains_key(OsStr::new("C")));
        assert_eq!(get(&overrides, "B"), "over image \"q\"");
    }

    #[test]
    fn a_script_may_end_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sh");
        std::fs::write(&path, "exit 3\n").unwrap();
        let outcome = evaluate(&[path.into()], &Set::new(), std::iter::empty()).unwrap();
        assert!(matches!(outcome, Outcome::Exit(3)));
    }
}

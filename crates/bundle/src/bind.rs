//! The syntax of `--bind`: `SRC[:DST[:OPTS]][,…]`, with a backslash before a literal `:` or `,`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::Error;

/// One bind mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bind {
    /// The path on the host, as given; may be relative.
    pub source: PathBuf,
    /// The absolute path in the container, without `.` and `..`; `None` means the path of the
    /// source.
    pub destination: Option<PathBuf>,
    /// Whether the bind is read-only.
    pub read_only: bool,
    /// The part of the source that is shown, if the source is an image.
    pub image: Option<DataImage>,
}

/// A part of an image that is bound as data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct DataImage {
    /// The absolute path in the image.
    pub path: PathBuf,
    /// The number of the partition in a SIF; `None` means the first one with a file system.
    pub id: Option<u32>,
}

impl Bind {
    /// Returns a bind of a path of the host at the same path.
    #[must_use]
    pub fn same(source: PathBuf) -> Self {
        Self {
            source,
            destination: None,
            read_only: false,
            image: None,
        }
    }

    /// Applies an option. Returns `false` if the word is none.
    pub(crate) fn apply(&mut self, word: &[u8]) -> Result<bool, Error> {
        let image = || self.image.clone().unwrap_or_default();
        if let Some(path) = word.strip_prefix(b"image-src=") {
            let path = clean(Path::new(OsStr::from_bytes(path)))?;
            self.image = Some(DataImage { path, ..image() });
        } else if let Some(id) = word.strip_prefix(b"id=") {
            let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
            let id = Some(id.ok_or_else(|| Error::PartitionNumber(text(word)))?);
            self.image = Some(DataImage { id, ..image() });
        } else {
            match word {
                b"ro" => self.read_only = true,
                b"rw" => self.read_only = false,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads the binds in one `--bind` argument.
///
/// A word after a comma that is an option belongs to the bind before it. Any other word begins the
/// next bind, as in Singularity. Empty pieces are skipped.
///
/// # Errors
///
/// Fails on a bind of four parts, an unknown option, and an empty or relative destination.
pub fn parse_binds(argument: &OsStr) -> Result<Vec<Bind>, Error> {
    let mut binds: Vec<Bind> = Vec::new();
    for piece in split(argument.as_bytes(), b',') {
        if let Some(bind) = binds.last_mut()
            && bind.apply(&piece)?
        {
            continue;
        }
        let mut parts = split(&piece, b':').into_iter();
        let source = unescape(&parts.next().unwrap_or_default());
        let destination = parts.next().map(|part| unescape(&part));
        let option = parts.next();
        if parts.next().is_some() {
            return Err(Error::BindSyntax(text(&piece)));
        }
        if source.is_empty() {
            match destination {
                None => continue,
                Some(_) => return Err(Error::NoSource(text(&piece))),
            }
        }
        let destination = match destination {
            Some(destination) if destination.is_empty() => {
                return Err(Error::NoDestination(text(&piece)));
            }
            Some(destination) => Some(clean(Path::new(&destination))?),
            None => None,
        };
        let mut bind = Bind {
            destination,
            ..Bind::same(source.into())
        };
        if let Some(option) = &option
            && !bind.apply(option)?
        {
            return Err(Error::BindOption {
                bind: text(&piece),
                option: text(option),
            });
        }
        binds.push(bind);
    }
    Ok(binds)
}

/// Splits at each `separator` without a backslash before it. Backslashes stay.
fn split(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let Some(piece) = pieces.last_mut() else {
            break;
        };
        if byte == separator {
            pieces.push(Vec::new());
        } else {
            piece.push(byte);
            if byte == b'\\' {
                piece.extend(bytes.next());
            }
        }
    }
    pieces
}

/// Removes the backslash before `:`, `,` and `\`.
fn unescape(text: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'\\' && matches!(bytes.peek(), Some(b':' | b',' | b'\\'));
        plain.push(if escaped {
            bytes.next().unwrap_or(byte)
        } else {
            byte
        });
    }
    OsString::from_vec(plain)
}

/// Resolves `.` and `..` in an absolute path, using only its text.
///
/// # Errors
///
/// Fails on a relative path.
pub fn clean(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_absolute() {
        return Err(Error::RelativeDestination(path.to_owned()));
    }
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, Option<String>, bool)> {
        parse_binds(OsStr::new(text))
            .unwrap()
            .into_iter()
            .map(|bind| {
                let destination = bind.destination.map(|path| path.display().to_string());
                (
                    bind.source.display().to_string(),
                    destination,
                    bind.read_only,
                )
            })
            .collect()
    }

    #[test]
    fn reads_what_apptainer_reads() {
        let some = |text: &str| Some(text.to_owned());
        type Row = (&'static str, Vec<(String, Option<String>, bool)>);
        let cases: Vec<Row> = vec![
            ("/lus", vec![("/lus".into(), None, false)]),
            ("a:/b", vec![("a".into(), some("/b"), false)]),
            ("/a:/b:ro", vec![("/a".into(), some("/b"), true)]),
            ("/a:/b:ro,rw", vec![("/a".into(), some("/b"), false)]),
            (
                "/a,/b:/c/../d",
                vec![("/a".into(), None, false), ("/b".into(), some("/d"), false)],
            ),
            (
                "a:/m:ro,noexec",
                vec![
                    ("a".into(), some("/m"), true),
                    ("noexec".into(), None, false),
                ],
            ),
            (r"a\,b:/mnt", vec![("a,b".into(), some("/mnt"), false)]),
            (r"a\:b:/mnt", vec![("a:b".into(), some("/mnt"), false)]),
            (r"a\\b", vec![(r"a\b".into(), None, false)]),
            ("", vec![]),
            (",,/a,", vec![("/a".into(), None, false)]),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_apptainer_refuses() {
        let cases = [
            ("/a:/b:zz", "zz is not a valid bind option"),
            ("/a:/b:ro:", "bad bind syntax"),
            ("/a:", "the destination is empty"),
            ("/a:b", "must be an absolute path"),
        ];
        for (text, message) in cases {
            let error = parse_binds(OsStr::new(text)).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}

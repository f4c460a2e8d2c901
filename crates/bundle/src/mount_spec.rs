//! The syntax of `--mount`: `type=bind,source=S,destination=D,…`, comma-separated values with quotes
//! as of [RFC 4180].
//!
//! [RFC 4180]: https://www.rfc-editor.org/rfc/rfc4180

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::{Bind, Content, Error, Scratch, clean};

/// A mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSpec {
    /// A bind.
    Bind(Bind),
    /// An empty directory.
    Empty(Scratch),
}

/// Reads a `--mount` argument. The keys are those of Apptainer and docker.
///
/// # Errors
///
/// Fails on unknown types and keys, and if the source or the destination is missing.
pub fn parse_mount(argument: &OsStr) -> Result<MountSpec, Error> {
    let failed = |reason: String| Error::MountSyntax {
        mount: argument.to_string_lossy().into_owned(),
        reason,
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(argument.as_bytes());
    let fields = match reader.byte_records().next() {
        Some(record) => record.map_err(|error| failed(error.to_string()))?,
        None => return Err(failed("it is empty".to_owned())),
    };
    let mut kind = "bind".to_owned();
    let (mut source, mut destination) = (None, None);
    let (mut size, mut read_only) = (None, false);
    let mut image = Bind::same(PathBuf::new());
    for field in &fields {
        let (key, value) = match field.iter().position(|byte| *byte == b'=') {
            Some(at) => (field.get(..at), field.get(at + 1..)),
            None => (Some(field), None),
        };
        let key = String::from_utf8_lossy(key.unwrap_or_default()).into_owned();
        let path = || value.map(|value| PathBuf::from(OsStr::from_bytes(value)));
        let word = || value.map(|value| String::from_utf8_lossy(value).into_owned());
        match key.as_str() {
            "type" => kind = word().unwrap_or_default(),
            "source" | "src" => source = path(),
            "destination" | "dst" | "target" => destination = path(),
            "ro" | "readonly" => {
                read_only = is_true(word().as_deref())
                    .ok_or_else(|| failed(format!("{key}: expected true or false")))?;
            }
            "rw" => read_only = false,
            // A container inside knows only the destinations of binds, which it does not bind.
            "nonested" => {}
            "image-src" | "id" => {
                image.apply(field)?;
            }
            "size" | "tmpfs-size" => {
                let word = word().unwrap_or_default();
                let bytes = text::parse_size(&word);
                size = Some(bytes.ok_or_else(|| failed(format!("{key}: {word:?} is no size")))?);
            }
            _ => return Err(failed(format!("unknown option {key:?}"))),
        }
    }
    let missing = |what: &str| failed(format!("{what} is missing"));
    let destination = destination.ok_or_else(|| missing("destination"))?;
    let destination = clean(Path::new(&destination))?;
    match kind.as_str() {
        "bind" if size.is_some() => Err(failed("size is for type=tmpfs".to_owned())),
        "bind" => Ok(MountSpec::Bind(Bind {
            source: source.ok_or_else(|| missing("source"))?,
            destination: Some(destination),
            read_only,
            image: image.image,
        })),
        "tmpfs" => Ok(MountSpec::Empty(Scratch {
            destination,
            content: Content::Empty,
            size,
        })),
        _ => Err(failed(format!("type {kind:?}: expected bind or tmpfs"))),
    }
}

fn is_true(word: Option<&str>) -> Option<bool> {
    match word {
        None | Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &str, destination: &str) -> Bind {
        Bind {
            destination: Some(destination.into()),
            ..Bind::same(source.into())
        }
    }

    #[test]
    fn reads_binds_as_apptainer_does() {
        let read_only = Bind {
            read_only: true,
            ..bind("/a", "/b")
        };
        let image = Bind {
            image: Some(crate::DataImage {
                path: "/x".into(),
                id: Some(3),
            }),
            ..bind("/a", "/b")
        };
        for (argument, expected) in [
            ("type=bind,source=/a,destination=/b", bind("/a", "/b")),
            ("src=/a,dst=/b/../c", bind("/a", "/c")),
            ("target=/b,src=/a,ro", read_only.clone()),
            ("target=/b,src=/a,readonly=true", read_only),
            (r#"type=bind,"src=/a,""b",dst=/b"#, bind("/a,\"b", "/b")),
            ("src=/a,dst=/b,image-src=/x,id=3", image),
        ] {
            let found = parse_mount(OsStr::new(argument)).unwrap();
            assert_eq!(found, MountSpec::Bind(expected), "{argument}");
        }
    }

    #[test]
    fn reads_empty_directories() {
        let scratch = |size| {
            MountSpec::Empty(Scratch {
                destination: "/x".into(),
                content: Content::Empty,
                size,
            })
        };
        for (argument, size) in [
            ("type=tmpfs,destination=/x", None),
            ("type=tmpfs,target=/x,size=64M", Some(64 << 20)),
            ("type=tmpfs,target=/x,tmpfs-size=100", Some(100)),
        ] {
            let found = parse_mount(OsStr::new(argument)).unwrap();
            assert_eq!(found, scratch(size), "{argument}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (argument, expected) in [
            ("", "--mount : it is empty"),
            ("src=/a", "--mount src=/a: destination is missing"),
            ("dst=/a", "--mount dst=/a: source is missing"),
            (
                "type=x,dst=/a",
                "--mount type=x,dst=/a: type \"x\": expected bind or tmpfs",
            ),
            (
                "dst=/a,src=/b,bind-propagation=shared",
                "--mount dst=/a,src=/b,bind-propagation=shared: unknown option \"bind-propagation\"",
            ),
            (
                "type=tmpfs,dst=/a,size=much",
                "--mount type=tmpfs,dst=/a,size=much: size: \"much\" is no size",
            ),
            (
                "dst=a,src=/b",
                "bind destination a must be an absolute path",
            ),
        ] {
            let error = parse_mount(OsStr::new(argument)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}

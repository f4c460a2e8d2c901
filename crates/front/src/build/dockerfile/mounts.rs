//! `RUN --mount` of Dockerfiles ([reference]).
//!
//! [reference]: https://docs.docker.com/reference/dockerfile/#run---mount

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rootfs::{Directory, Entry, Files};

use super::super::copy::{self, Source};
use super::Ignored;

/// The places of what is mounted.
pub struct Places<'a> {
    /// The image's root.
    pub root: &'a Directory,
    /// The directory of the context, and the files in it that are left out.
    pub context: &'a Directory,
    pub ignored: &'a Ignored,
    /// Returns the directory of a stage, or of an image.
    pub stage: &'a dyn Fn(&str) -> Result<PathBuf>,
    /// Makes a path in the image absolute.
    pub absolute: &'a dyn Fn(&str) -> PathBuf,
    /// The directory for copies, and for caches, which last as long as the build.
    pub workplace: &'a Path,
    /// Secrets: names, and files.
    pub secrets: &'a BTreeMap<String, PathBuf>,
}

/// The fields of each type.
const FIELDS: [(&str, &[&str]); 4] = [
    (
        "bind",
        &["from", "source", "src", "rw", "readwrite", "ro", "readonly"],
    ),
    (
        "cache",
        &[
            "id",
            "ro",
            "readonly",
            "rw",
            "readwrite",
            "sharing",
            "mode",
            "uid",
            "gid",
        ],
    ),
    ("tmpfs", &["size"]),
    ("secret", &["id", "required", "mode", "uid", "gid"]),
];
/// The fields of all types.
const COMMON: [&str; 4] = ["type", "target", "dst", "destination"];

/// Returns the value of a field: `true` if it has none.
pub fn field<'a>(spec: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = spec
        .split(',')
        .map(|field| field.split_once('=').unwrap_or((field, "true")));
    fields.find_map(|(own, value)| (own == name).then_some(value))
}

/// A mount of a command.
#[derive(Default)]
pub struct Mount {
    /// The flags of `front exec`.
    pub flags: Vec<OsString>,
    /// The files of a context or a stage that are bound.
    pub source: Option<PathBuf>,
    /// The mount point, and the topmost directory that was made for it.
    pub made: Option<(PathBuf, PathBuf)>,
}

impl Mount {
    /// Removes what was made for the mount, unless the command has put something there.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses.
    pub fn remove(&self, root: &Directory) -> Result<()> {
        if let Some((point, top)) = &self.made {
            root.remove_empty(point, top)?;
        }
        Ok(())
    }
}

/// Returns a mount, and makes its mount point.
///
/// # Errors
///
/// Fails on an unknown type, a missing field, and what is not there.
pub fn mount(spec: &str, places: &Places<'_>) -> Result<Mount> {
    let kind = field(spec, "type").unwrap_or("bind");
    let Some((_, known)) = FIELDS.iter().find(|(name, _)| *name == kind) else {
        bail!("--mount=type={kind} is not supported");
    };
    let names = spec
        .split(',')
        .map(|field| field.split('=').next().unwrap_or_default());
    for name in names {
        if !known.contains(&name) && !COMMON.contains(&name) {
            bail!("--mount={spec}: {name} is not supported for the type {kind}");
        }
    }
    let target = { ["target", "dst", "destination"].iter() }.find_map(|name| field(spec, name));
    let target = match (target, kind, field(spec, "id")) {
        (Some(target), _, _) => (places.absolute)(target),
        (None, "secret", Some(id)) => Path::new("/run/secrets").join(id),
        _ => bail!("--mount={spec}: the target is missing"),
    };
    let is_set = |name: &str| field(spec, name).is_some_and(|value| value != "false");
    let (source, read_only, is_directory) = match kind {
        "tmpfs" => {
            let size = field(spec, "size").map(|size| format!(",tmpfs-size={size}"));
            let flag = quoted("type=tmpfs", None, &target, &size.unwrap_or_default());
            return Ok(Mount {
                flags: vec!["--mount".into(), flag.into()],
                source: None,
                made: point(places.root, &target, true)?,
            });
        }
        "cache" => {
            let id = field(spec, "id").map_or_else(|| target.display().to_string(), str::to_owned);
            let name = oci::Digest::of(id.as_bytes());
            let source = places.workplace.join(format!("cache-{}", name.hex()));
            std::fs::create_dir_all(&source)?;
            (source, is_set("ro") || is_set("readonly"), true)
        }
        "bind" => bind(spec, places, is_set("rw") || is_set("readwrite"))?,
        _ => {
            let id = field(spec, "id").map_or_else(|| target.display().to_string(), str::to_owned);
            match places.secrets.get(&id) {
                Some(file) => (file.clone(), true, false),
                None if is_set("required") => {
                    bail!("--mount={spec}: give it with --secret id={id},src=FILE")
                }
                None => return Ok(Mount::default()),
            }
        }
    };
    let options = if read_only { ",ro" } else { "" };
    let flag = quoted("type=bind", Some(&source), &target, options);
    Ok(Mount {
        flags: vec!["--mount".into(), flag.into()],
        source: (kind == "bind").then_some(source),
        made: point(places.root, &target, is_directory)?,
    })
}

/// Returns the source of a bind, whether it is read-only, and whether it is a directory. A command
/// that may write gets a copy: it changes neither the user's files nor another stage.
fn bind(spec: &str, places: &Places<'_>, is_writable: bool) -> Result<(PathBuf, bool, bool)> {
    let stage;
    let ignored = |path: &Path| places.ignored.has(path);
    let source = match field(spec, "from") {
        Some(word) => {
            let tree = (places.stage)(word);
            let tree = tree.with_context(|| format!("--mount={spec}"))?;
            stage = Directory::open_root(&tree)?;
            Source::stage(&stage)
        }
        None => Source {
            ignored: Some(&ignored),
            ..Source::stage(places.context)
        },
    };
    let part = field(spec, "source")
        .or_else(|| field(spec, "src"))
        .unwrap_or("/");
    // No link leads out of the stage or the context.
    let place = source.root.locate(&Path::new("/").join(part))?;
    let missing = || format!("--mount={spec}: {part} is not there");
    let entry = place.entry.with_context(missing)?;
    let is_directory = entry == Entry::Directory;
    let is_context = source.ignored.is_some();
    if is_context && ignored(&place.path) {
        bail!("{}", missing());
    }
    let hides = is_context && !places.ignored.is_empty() && is_directory;
    if !is_writable && !hides {
        let inside = place.path.strip_prefix("/").unwrap_or(&place.path);
        return Ok((source.root.path().join(inside), true, is_directory));
    }
    let copy = tempfile::Builder::new()
        .prefix("bind-")
        .tempdir_in(places.workplace)?
        .keep();
    let into = Directory::open_root(&copy)?;
    if is_directory {
        copy::part(&source, &place.path, &into)?;
        return Ok((copy, !is_writable, true));
    }
    source.copy_content((part, &place.path), Path::new("/file"), false, &into)?;
    Ok((copy.join("file"), !is_writable, false))
}

/// Returns the value of `--mount`, whose fields are those of CSV (RFC 4180).
fn quoted(kind: &str, source: Option<&Path>, target: &Path, options: &str) -> String {
    let field = |name: &str, path: &Path| {
        format!(
            ",\"{name}={}\"",
            path.display().to_string().replace('"', "\"\"")
        )
    };
    let source = source.map(|source| field("source", source));
    let target = field("destination", target);
    format!("{kind}{}{target}{options}", source.unwrap_or_default())
}

/// Makes a mount point, unless it is there. Returns it and the topmost directory that was made.
fn point(
    root: &Directory,
    target: &Path,
    is_directory: bool,
) -> Result<Option<(PathBuf, PathBuf)>> {
    let path = root.locate(target)?.path;
    let mut missing = None;
    for above in path.ancestors() {
        if root.step(above)?.is_some() {
            break;
        }
        missing = Some(above.to_owned());
    }
    match (&missing, is_directory) {
        (None, _) => {}
        (Some(_), true) => drop(root.make_directories(&path)?),
        (Some(_), false) => root.write(&path, 0o644, b"")?,
    }
    Ok(missing.map(|top| (path, top)))
}

//! `RUN --mount` of Dockerfiles ([reference]).
//!
//! [reference]: https://docs.docker.com/reference/dockerfile/#run---mount

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rootfs::{Directory, Entry, Files};

/// The places of what is mounted.
pub struct Places<'a> {
    /// The image's root.
    pub root: &'a Directory,
    /// The directory of the context.
    pub context: &'a Path,
    /// Returns the directory of a stage.
    pub stage: &'a dyn Fn(&str) -> Option<PathBuf>,
    /// The directory for caches, which last as long as the build.
    pub workplace: &'a Path,
    /// Secrets: names, and files.
    pub secrets: &'a BTreeMap<String, PathBuf>,
}

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
    let target = ["target", "dst", "destination"]
        .iter()
        .find_map(|name| field(spec, name));
    let is_set = |name: &str| field(spec, name).is_some_and(|value| value != "false");
    let kind = field(spec, "type").unwrap_or("bind");
    let missing = || format!("--mount={spec}: the target is missing");
    let (source, target, read_only, is_directory) = match kind {
        "tmpfs" => {
            let target = target.with_context(missing)?;
            let flags = vec![
                "--mount".into(),
                format!("type=tmpfs,destination={target}").into(),
            ];
            let made = point(places.root, target, true)?;
            return Ok(Mount { flags, made });
        }
        "cache" => {
            let target = target.with_context(missing)?;
            let id = field(spec, "id").unwrap_or(target);
            let name = oci::Digest::of(id.as_bytes());
            let source = places.workplace.join(format!("cache-{}", name.hex()));
            std::fs::create_dir_all(&source)?;
            let is_read_only = is_set("ro") || is_set("readonly");
            (source, target.to_owned(), is_read_only, true)
        }
        "bind" => {
            let target = target.with_context(missing)?;
            let base = match field(spec, "from") {
                Some(word) => (places.stage)(word)
                    .with_context(|| format!("--mount={spec}: there is no stage {word} above"))?,
                None => places.context.to_owned(),
            };
            let part = field(spec, "source")
                .or_else(|| field(spec, "src"))
                .unwrap_or("/");
            // No link leads out of the stage or the context.
            let opened = Directory::open_root(&base)?;
            let place = opened.locate(&Path::new("/").join(part))?;
            let entry = place
                .entry
                .with_context(|| format!("--mount={spec}: {part} is not there"))?;
            let inside = place.path.strip_prefix("/").unwrap_or(&place.path);
            (
                base.join(inside),
                target.to_owned(),
                !(is_set("rw") || is_set("readwrite")),
                entry == Entry::Directory,
            )
        }
        "secret" => {
            let id = field(spec, "id").or(target).with_context(missing)?;
            let Some(file) = places.secrets.get(id) else {
                match is_set("required") {
                    true => bail!("--mount={spec}: give it with --secret id={id},src=FILE"),
                    false => return Ok(Mount::default()),
                }
            };
            let target = target.map_or_else(|| format!("/run/secrets/{id}"), str::to_owned);
            (file.clone(), target, true, false)
        }
        other => bail!("--mount=type={other} is not supported"),
    };
    let end = if read_only { ":ro" } else { "" };
    let mut bind = source.into_os_string();
    bind.push(format!(":{target}{end}"));
    Ok(Mount {
        flags: vec!["--bind".into(), bind],
        made: point(places.root, &target, is_directory)?,
    })
}

/// Makes a mount point, unless it is there. Returns it and the topmost directory that was made.
fn point(root: &Directory, target: &str, is_directory: bool) -> Result<Option<(PathBuf, PathBuf)>> {
    let path = root.locate(&Path::new("/").join(target))?.path;
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

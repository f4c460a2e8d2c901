//! The changes that a container may make to its root.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use super::{Group, Preset, Variable};
use crate::caller::Caller;

/// The flags for changes to the root.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Changes to the image")]
pub struct WritableFlags {
    /// Write to the image itself, which must be a directory
    #[arg(short, long)]
    pub writable: bool,
    /// Keep changes in memory until the end, up to a size such as 2G
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub writable_tmpfs: Option<String>,
    /// Add a layer, several separated by commas (a name has none): a directory that keeps changes, or an image; with
    /// :ro, the directory is only read
    #[arg(short, long, value_name = "PATH[:ro]", value_delimiter = ',')]
    pub overlay: Vec<OsString>,
    /// Do nothing: missing mount points are added in any case
    #[arg(long, hide = true)]
    pub underlay: bool,
    /// Do nothing: a SIF is extracted if it cannot be mounted
    #[arg(long, hide = true)]
    pub unsquash: bool,
}

const WRITABLE: Variable = Variable::of("writable", &["WRITABLE"]);
const WRITABLE_TMPFS: Variable = Variable::of("writable_tmpfs", &["WRITABLE_TMPFS"]);
const OVERLAY: Variable = Variable::of("overlay", &["OVERLAY", "OVERLAYIMAGE"]);
const UNDERLAY: Variable = Variable::of("underlay", &["UNDERLAY"]);
const UNSQUASH: Variable = Variable::of("unsquash", &["UNSQUASH"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[WRITABLE, WRITABLE_TMPFS, OVERLAY, UNDERLAY, UNSQUASH];

/// The changes that a container may make to its root, and the layers above the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Writing {
    /// Whether the image itself is written to.
    pub image: bool,
    /// Whether changes are kept in memory.
    pub memory: Option<Memory>,
    /// The layers above the image, the topmost last.
    pub overlays: Vec<Overlay>,
}

/// Changes that are kept in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The largest size in bytes; half of the machine's memory if there is no limit.
    pub size: Option<u64>,
}

/// A layer above the image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Overlay {
    /// The absolute path of a directory or image.
    pub path: PathBuf,
    /// Whether the user only wants to read it.
    pub read_only: bool,
}

impl Group for WritableFlags {
    const LONG: &'static [&'static str] = &[
        "writable",
        "writable-tmpfs",
        "overlay",
        "underlay",
        "unsquash",
    ];
    const SHORT: &'static str = "wo";
}

impl WritableFlags {
    /// Combines flags and variables. A preset may imply changes in memory.
    ///
    /// # Errors
    ///
    /// Fails on invalid values, and on flags that contradict each other.
    pub fn resolve(&self, preset: Preset, caller: &Caller) -> Result<Writing> {
        let variables = &caller.variables;
        let listed = variables.values(&OVERLAY);
        let listed = listed.flat_map(|(_, value)| split(value.as_bytes()));
        let specs: Vec<OsString> = match self.overlay.is_empty() {
            true => listed.collect(),
            false => self.overlay.clone(),
        };
        let overlays = specs.iter().map(|spec| Overlay::parse(spec, caller));
        let overlays: Vec<Overlay> = overlays.collect::<Result<_>>()?;
        let image = self.writable || variables.is_set(&WRITABLE)?;
        if image && !overlays.is_empty() {
            bail!("--writable and --overlay contradict each other: changes go to one place only");
        }
        let memory = self.memory(caller)?;
        // A directory that keeps changes, or an image that is written to, needs no memory.
        let implied = preset == Preset::Docker && !image && overlays.is_empty();
        Ok(Writing {
            memory: memory.or(implied.then_some(Memory { size: None })),
            image,
            overlays,
        })
    }

    fn memory(&self, caller: &Caller) -> Result<Option<Memory>> {
        let size = |name: &str, size: &str| match size {
            "" => Ok(None),
            _ => text::parse_size(size)
                .map(Some)
                .ok_or_else(|| anyhow!("{name}={size}: expected a size such as 500M or 2G")),
        };
        if let Some(word) = &self.writable_tmpfs {
            let size = size("--writable-tmpfs", word)?;
            return Ok(Some(Memory { size }));
        }
        let Some((name, value)) = caller.variables.value(&WRITABLE_TMPFS) else {
            return Ok(None);
        };
        // The variable is a switch or a size.
        let value = value.to_string_lossy();
        if value != "1" && value != "0" && value.starts_with(|first: char| first.is_ascii_digit()) {
            let size = size(&name, &value)?;
            return Ok(Some(Memory { size }));
        }
        let on = caller.variables.is_set(&WRITABLE_TMPFS)?;
        Ok(on.then_some(Memory { size: None }))
    }
}

impl Overlay {
    fn parse(spec: &OsString, caller: &Caller) -> Result<Self> {
        let bytes = spec.as_bytes();
        let (path, read_only) = match bytes.strip_suffix(b":ro") {
            Some(path) => (path, true),
            None => (bytes.strip_suffix(b":rw").unwrap_or(bytes), false),
        };
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        let path = caller.absolute(&path)?;
        if path.to_str().is_none() {
            bail!("--overlay {}: the name is not UTF-8", path.display());
        }
        if let Err(error) = std::fs::metadata(&path) {
            bail!("--overlay {}: {}", path.display(), text::message(&error));
        }
        Ok(Self { path, read_only })
    }
}

/// Returns the comma-separated parts of a variable.
fn split(value: &[u8]) -> impl Iterator<Item = OsString> + '_ {
    let parts = value.split(|byte| *byte == b',');
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(|part| OsString::from_vec(part.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Variables;

    fn resolve(flags: WritableFlags, variables: &[(&str, &str)]) -> Result<Writing> {
        let caller = Caller::new(Variables::of(variables), Some("/".into()));
        flags.resolve(Preset::None, &caller)
    }

    #[test]
    fn overlays_are_read_from_flags_or_variables() {
        let variables = [("SINGULARITY_OVERLAY", "/tmp:ro,usr")];
        let found = resolve(WritableFlags::default(), &variables).unwrap();
        let overlay = |path: &str, read_only| Overlay {
            path: path.into(),
            read_only,
        };
        assert_eq!(
            found.overlays,
            [overlay("/tmp", true), overlay("/usr", false)]
        );
        let flags = WritableFlags {
            overlay: vec!["/nosuch".into()],
            ..Default::default()
        };
        let error = resolve(flags, &[]).unwrap_err().to_string();
        assert_eq!(error, "--overlay /nosuch: no such file or directory");
        let both = WritableFlags {
            overlay: vec!["/tmp".into()],
            writable: true,
            ..Default::default()
        };
        assert!(resolve(both, &[]).is_err());
    }

    #[test]
    fn memory_may_have_a_size() {
        let memory = |value: &str| {
            let variables = [("APPTAINER_WRITABLE_TMPFS", value)];
            let found = resolve(WritableFlags::default(), &variables);
            found.map(|found| found.memory.map(|memory| memory.size))
        };
        assert_eq!(memory("1").unwrap(), Some(None));
        assert_eq!(memory("true").unwrap(), Some(None));
        assert_eq!(memory("0").unwrap(), None);
        assert_eq!(memory("2G").unwrap(), Some(Some(2 << 30)));
        for wrong in ["yes", "2X"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }
}

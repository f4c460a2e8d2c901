//! Keeping what a script has done so far, while it runs: before some of its lines the shell tells its
//! state and waits until the image's changes are kept.
//!
//! The script can write to all files that are used for it. It can spoil its own image with that, and
//! the entries of the cache that begin with its own lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rootfs::{Directory, Files};
use rustix::fs::{FileType, Mode, OFlags, mknodat, openat};

use super::super::build_cache::{BuildCache, Record};
use super::super::supervise::descendants;
use super::shell::{Changed, Printed, RESTORED, STEP};

/// The directory in the image with the files of this module, as long as the script runs.
pub const DIRECTORY: &str = "/.post.steps";
/// Largest text that a shell prints, in bytes.
const LARGEST: usize = 1 << 20;
/// Names of shells whose `set` prints what they can read again.
const SHELLS: [&str; 3] = ["dash", "busybox", "ash"];
/// The number of the first line's checkpoint: from there on changes are the script's.
const BEGIN: usize = 0;
/// The exit code of a shell that could not get its state.
pub const LOST: i32 = 97;
/// The word that ends the wait for checkpoints.
const END: &[u8] = b"end\n";

/// The commands of a checkpoint. What another shell cannot have is told too.
const STEP_SCRIPT: &str = r#"umask >| /.post.steps/umask
pwd >| /.post.steps/directory
set +o >| /.post.steps/options
{ trap; alias; [ $# -eq 0 ] || echo "$#"; } >| /.post.steps/private || :
if [ -n "${BASH_VERSION-}" ]; then
{ echo bash; } >| /.post.steps/shell
{ declare -p; } >| /.post.steps/variables || :
{ shopt -p; declare -f; } >| /.post.steps/functions || :
else
set >| /.post.steps/variables
export -p >| /.post.steps/exports
fi
echo "$FRONT_STEP" >| /.post.steps/ready
IFS= read -r FRONT_STEP < /.post.steps/go || :
unset FRONT_STEP
"#;

/// The files through which a script and the build talk.
pub struct Channel<'a> {
    root: &'a Directory,
    ready: File,
    go: File,
}

impl<'a> Channel<'a> {
    /// Makes the files.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses: there may be none with pipes.
    pub fn new(root: &'a Directory) -> Result<Self> {
        root.remove(Path::new(DIRECTORY))?;
        let directory = root.make_directories(Path::new(DIRECTORY))?;
        let pipe = |name: &str| {
            let mode = Mode::from_raw_mode(0o600);
            mknodat(&directory, name, FileType::Fifo, mode, 0)?;
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&directory, name, flags, Mode::empty()).map(File::from)
        };
        let (ready, go) = (pipe("ready"), pipe("go"));
        root.write(
            &Path::new(DIRECTORY).join("step"),
            0o644,
            STEP_SCRIPT.as_bytes(),
        )?;
        let go = go.context("go")?;
        // A script that asks without reading the answers must not stop the build.
        rustix::io::ioctl_fionbio(&go, true)?;
        Ok(Self {
            root,
            ready: ready.context("ready")?,
            go,
        })
    }

    /// Writes the script that gives the shell its state.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses.
    pub fn begin_with(&self, restore: &str) -> Result<()> {
        let path = Path::new(DIRECTORY).join("restore");
        Ok(self.root.write(&path, 0o644, restore.as_bytes())?)
    }

    /// Ends [`serve`](Self::serve).
    pub fn end(&self) {
        let _ = (&self.ready).write_all(END);
    }

    /// Answers checkpoints until [`end`](Self::end). `keys` are the keys of the cache, by the numbers
    /// of the lines. Returns the last entry.
    pub fn serve(
        &self,
        cache: &mut BuildCache<'_>,
        keys: &BTreeMap<usize, String>,
        start: &Start,
    ) -> Option<String> {
        let mut server = Server {
            channel: self,
            cache,
            keys,
            shell: &start.shell,
            functions: start.functions,
            own: BTreeSet::new(),
            begin: Printed::default(),
            changed: start.changed.clone(),
            last: start.key.clone(),
            is_able: true,
        };
        let mut pending = Vec::new();
        let mut block = [0; 256];
        while let Ok(count) = (&self.ready).read(&mut block) {
            pending.extend_from_slice(block.get(..count).unwrap_or_default());
            while let Some(at) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=at).collect();
                if line == END {
                    return server.last;
                }
                let number = std::str::from_utf8(&line)
                    .ok()
                    .and_then(|line| line.trim().parse().ok());
                if let Some(number) = number {
                    server.checkpoint(number);
                }
                let _ = (&self.go).write(b"\n");
            }
            if pending.len() > block.len() {
                pending.clear();
            }
        }
        server.last
    }

    fn printed(&self, program: &Path) -> Option<Printed> {
        let text = |name: &str| {
            let path = Path::new(DIRECTORY).join(name);
            let bytes = self
                .root
                .read(&path, LARGEST)
                .ok()
                .flatten()
                .unwrap_or_default();
            // A longer text is not whole.
            let bytes = (bytes.len() < LARGEST).then_some(bytes)?;
            String::from_utf8(bytes).ok()
        };
        let is_bash = !text("shell")?.is_empty();
        let name = self.root.locate(program).ok()?.path;
        let is_known = name
            .file_name()
            .is_some_and(|name| SHELLS.iter().any(|shell| name == *shell));
        if !is_bash && !is_known {
            return None;
        }
        Some(Printed {
            is_bash,
            private: text("private")?,
            variables: text("variables")?,
            exports: text("exports")?,
            functions: text("functions")?,
            options: text("options")?,
            umask: text("umask")?,
            directory: text("directory")?,
        })
    }
}

/// The state from which a script goes on.
#[derive(Default)]
pub struct Start {
    /// The shell's program.
    pub shell: PathBuf,
    /// The entry of the cache that was used.
    pub key: Option<String>,
    /// The script's changes until then.
    pub changed: Changed,
    /// The first line that has functions above it.
    pub functions: Option<usize>,
}

struct Server<'a, 'b> {
    channel: &'a Channel<'a>,
    cache: &'a mut BuildCache<'b>,
    keys: &'a BTreeMap<usize, String>,
    shell: &'a Path,
    /// The processes at the beginning: the container's, and the shell.
    own: BTreeSet<i32>,
    /// The shell at the beginning.
    begin: Printed,
    /// The script's changes since then, and before.
    changed: Changed,
    functions: Option<usize>,
    /// The last entry of the cache.
    last: Option<String>,
    /// Whether what follows can be kept.
    is_able: bool,
}

impl Server<'_, '_> {
    fn checkpoint(&mut self, number: usize) {
        if !self.is_able {
            return;
        }
        if number == BEGIN && self.own.is_empty() {
            self.cache.look_again();
            self.own = descendants();
            let printed = self.channel.printed(self.shell);
            self.is_able = printed.is_some() && !self.own.is_empty();
            self.begin = printed.unwrap_or_default();
            return;
        }
        let Some(key) = self.keys.get(&number) else {
            return;
        };
        if !self.cache.is_due() {
            return;
        }
        // A daemon would not be there in another build.
        if !descendants().is_subset(&self.own) {
            self.is_able = false;
            return;
        }
        let Some(printed) = self.channel.printed(self.shell) else {
            self.is_able = false;
            return;
        };
        let has_functions = self.functions.is_some_and(|first| number >= first);
        if has_functions && !printed.is_bash || printed.private != self.begin.private {
            self.is_able = false;
            return;
        }
        let changed = printed.changed(&self.begin, &self.changed);
        let record = Record {
            parent: self.last.clone(),
            restore: printed.script(&changed),
            changed: changed.clone(),
        };
        self.changed = changed;
        if self.cache.keep(key, record) {
            self.last = Some(key.clone());
        }
    }
}

/// Returns the commands before a line at which the script can be divided. The status of the command
/// above stays as it is, and after a failure nothing is kept.
pub fn at_line(number: usize) -> String {
    format!(
        "{{ (exit $?) && [ -r {DIRECTORY}/step ] && {STEP}={number} . {DIRECTORY}/step; }} 2>/dev/null; "
    )
}

/// Returns the commands that give the shell its state.
pub fn at_begin() -> String {
    let restore = format!("{DIRECTORY}/restore");
    format!(
        "{{ . {restore}; [ -n \"${{{RESTORED}-}}\" ] || exit {LOST}; unset {RESTORED}; }} 2>/dev/null; {}",
        at_line(BEGIN)
    )
}

/// The state of a shell that has no other.
pub fn no_state() -> String {
    format!("{RESTORED}=1\n")
}

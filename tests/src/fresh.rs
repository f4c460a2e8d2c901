//! Programs that are older than their sources, whose tests would prove nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// Returns the newest source, and the time when it was written.
fn newest() -> &'static (SystemTime, PathBuf) {
    static NEWEST: OnceLock<(SystemTime, PathBuf)> = OnceLock::new();
    NEWEST.get_or_init(|| {
        let mut newest = (SystemTime::UNIX_EPOCH, PathBuf::new());
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for sources in ["crates", "hooks", "Cargo.lock"] {
            look(&top.join(sources), &mut newest);
        }
        newest
    })
}

fn look(path: &Path, newest: &mut (SystemTime, PathBuf)) {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return;
    };
    if metadata.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| look(&entry.path(), newest));
    } else if path
        .extension()
        .is_some_and(|kind| kind == "rs" || kind == "lock")
        && let Ok(written) = metadata.modified()
        && written > newest.0
    {
        *newest = (written, path.to_owned());
    }
}

/// Refuses a program that is older than a source.
pub fn check(program: &Path) {
    let built = fs::metadata(program).and_then(|metadata| metadata.modified());
    let (written, source) = newest();
    assert!(
        built.is_ok_and(|built| built >= *written),
        "{} is older than {}: build it anew by scripts/programs.sh or make build",
        program.display(),
        source.display()
    );
}

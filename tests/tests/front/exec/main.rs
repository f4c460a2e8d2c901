//! `front exec`, `run` and `shell` on a directory, a SIF and a squashfs, as an ordinary user.

mod command_line;
mod environment;
mod process;

use tests::fixture;

/// Returns the same image in every form.
pub(crate) fn media() -> Vec<String> {
    ["bb", "bb.sif"]
        .iter()
        .map(|name| fixture(name).display().to_string())
        .collect()
}

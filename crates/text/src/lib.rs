//! Texts that people read and write: error messages, foreign texts on a terminal, names of signals,
//! sizes.

mod error;
mod printable;
mod signal;
mod size;

pub use error::{message, one_line, with_advice};
pub use printable::{printable, printable_lines};
pub use signal::signal_number;
pub use size::{parse_size, scaled};

/// Returns the version of the programs, and the commit that they are made of with its date, if they
/// were built by `scripts/build.sh` in a Git repository: `0.1.0` or `0.1.0 (1a2b3c4 2026-11-30)`.
#[must_use]
pub fn version() -> String {
    match COMMIT {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The commit that the programs are made of and its date, as `1a2b3c4 2026-11-30`, if it is known.
pub const COMMIT: Option<&str> = option_env!("SLIPWAY_COMMIT");

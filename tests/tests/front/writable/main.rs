//! Changes to images, and root inside, as an ordinary user: `--writable`, `--writable-tmpfs`,
//! `--overlay`, `--fakeroot`. No helper program is on the `PATH`, unless a test says so.

mod fakeroot;
mod overlays;

pub(crate) use tests::{open_directory as directory, user_shell as shell};

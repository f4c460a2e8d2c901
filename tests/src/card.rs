//! Cards of fast networks, where there is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::succeed;

/// The device of a card, as far as its name goes; it is gone when this is dropped. All that runs meanwhile sees it.
#[derive(Debug)]
pub struct Card(&'static str);

impl Card {
    /// Makes it.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be made.
    #[must_use]
    pub fn new(path: &'static str) -> Self {
        // One that a test that was killed has left.
        let _ = fs::remove_file(Path::new(path));
        succeed(Command::new("mknod").args(["-m", "666", path, "c", "1", "3"]));
        Self(path)
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

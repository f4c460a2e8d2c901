//! Imitations of cards of fast networks.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::succeed;

/// The device of a card, which has only its name. It is removed when this is dropped. Everything
/// that runs meanwhile sees it.
#[derive(Debug)]
pub struct Card(&'static str);

impl Card {
    /// Makes the device.
    ///
    /// # Panics
    ///
    /// Panics when the device cannot be made.
    #[must_use]
    pub fn new(path: &'static str) -> Self {
        // A test that was killed may have left one.
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

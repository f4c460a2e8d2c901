//! The choice of an MPI library, with its values in flags, variables and the site's file.

use clap::ValueEnum;
use serde::Deserialize;

/// The MPI library that a program gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MpiMode {
    /// The host's if it can replace the image's, or else the image's.
    #[default]
    Auto,
    /// The host's; nothing is started if it cannot be used.
    Host,
    /// The image's.
    Container,
    /// The one that the program finds; nothing is examined.
    None,
}

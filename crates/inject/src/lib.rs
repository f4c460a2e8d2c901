//! What the host must lend to a container, worked out once and told in CDI's own terms.
//!
//! Nothing here starts a process, loads a library or changes anything: it looks, and returns
//! [`Edits`].

#![forbid(unsafe_code)]

mod edits;
mod host;
mod library;
pub mod nvidia;

pub use edits::{Edits, Mount};
pub use host::Host;
pub use library::{Class, Fate, Verdict};

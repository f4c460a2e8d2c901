//! Root file systems that are not trusted: looking into one and changing it without ever leaving it.

#![forbid(unsafe_code)]

mod directory;
mod entry;
mod files;
mod mount;
mod owner_access;
mod remove;
mod search;
mod write;

pub use directory::Directory;
pub use entry::{Entry, Located, Step};
pub use files::{Content, Files, names_backwards, plain};
pub use mount::{attach, is_directory};
pub use owner_access::OwnerAccess;
pub use remove::remove;
pub use search::{DEFAULT_PATH, candidates};
pub use write::{changed_at, create_at, directory_at, remove_at};

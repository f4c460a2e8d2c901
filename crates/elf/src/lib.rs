//! The files that a dynamic loader reads: ELF objects and the cache of libraries.
//!
//! Pure: bytes in, facts out. Hostile bytes give an error or fewer facts, never a panic.

#![forbid(unsafe_code)]

mod bounded;
mod cache;
mod closure;
mod linkage;
mod loader;
mod object;
mod search;

pub use cache::{Cache, CacheEntry, CacheError, flags};
pub use closure::{Closure, Loaded, Problem};
pub use linkage::{Linkage, Symbol, VersionNeed, symbols};
pub use loader::{CACHE, Flavour, Loader};
pub use object::{Class, Object, ObjectError};

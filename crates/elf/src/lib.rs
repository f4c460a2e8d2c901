//! What a dynamic loader reads: the machine an object is for, and the cache of libraries.
//!
//! Pure: bytes in, facts out. Hostile bytes give an error or fewer facts, never a panic.

#![forbid(unsafe_code)]

mod cache;
mod object;

pub use cache::{Cache, CacheEntry, CacheError};
pub use object::{Class, Object, ObjectError};

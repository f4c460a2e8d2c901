//! The cache of file contents: decompressed blocks, and checkpoints of long files' block lists.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use lru::LruCache;

use crate::cache::Cache;
use crate::metadata::Position;

/// Largest size of the cached contents, in bytes: enough that a fragment block serves all files in
/// it.
const CACHED: u32 = 48 << 20;

/// Number of files whose checkpoints are kept. Each has at most 1.5 MiB of them, for 8 TiB.
const FILES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

/// Cached contents of files, and checkpoints.
pub(crate) struct Data {
    pub(crate) blocks: Cache<u64, Box<[u8]>>,
    pub(crate) checkpoints: Mutex<LruCache<u64, Vec<Checkpoint>>>,
}

impl Data {
    pub(crate) fn new(block_size: u32) -> Self {
        let entries = CACHED.checked_div(block_size).unwrap_or_default();
        let blocks = Cache::new(usize::try_from(entries).unwrap_or_default());
        Self {
            blocks,
            checkpoints: Mutex::new(LruCache::new(FILES)),
        }
    }
}

/// The state of a walk through a file's block list at a multiple of `data::STEP` blocks.
#[derive(Clone, Copy)]
pub(crate) struct Checkpoint {
    /// The position of the next entry in the list.
    pub(crate) list: Position,
    /// The position of the next stored block.
    pub(crate) start: u64,
}

//! A bounded cache of decompressed blocks. Each block is decompressed only once.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lru::LruCache;

use crate::error::Error;

/// Number of shards. Each has its own lock, so that threads seldom wait for each other.
const SHARDS: usize = 8;

/// A block that is in the cache or is being made. The first thread makes it, the others wait.
type Cell<V> = Arc<OnceLock<Result<Arc<V>, Error>>>;

/// A cache that evicts the least recently used entries. It is bounded by number, because each entry
/// is at most one block long.
pub(crate) struct Cache<K: Hash + Eq, V> {
    shards: Vec<Mutex<LruCache<K, Cell<V>>>>,
}

impl<V> Cache<u64, V> {
    /// Makes a cache for about `entries` entries.
    pub(crate) fn new(entries: usize) -> Self {
        let each = NonZeroUsize::new(entries / SHARDS).unwrap_or(NonZeroUsize::MIN);
        // `LruCache::new` would reserve the whole table at once: opening must stay cheap.
        let shard = || {
            let mut shard = LruCache::unbounded();
            shard.resize(each);
            Mutex::new(shard)
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// Returns the value of `key`, from the cache or else from `make`.
    ///
    /// `make` runs outside the locks, once for all threads that ask meanwhile. They all get its
    /// error, which is not cached: the next call tries again.
    pub(crate) fn get(
        &self,
        key: u64,
        make: impl FnOnce() -> Result<V, Error>,
    ) -> Result<Arc<V>, Error> {
        let Some(shard) = self.shard(key) else {
            return make().map(Arc::new);
        };
        let cell = {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(shard.get_or_insert(key, Cell::default))
        };
        let result = cell.get_or_init(|| make().map(Arc::new));
        if result.is_err() {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if shard
                .peek(&key)
                .is_some_and(|present| Arc::ptr_eq(present, &cell))
            {
                shard.pop(&key);
            }
        }
        result.clone()
    }

    /// Returns the value of `key` if it is in the cache, or waits for it if it is being made.
    pub(crate) fn await_made(&self, key: u64) -> Option<Arc<V>> {
        let cell = {
            let mut shard = self
                .shard(key)?
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(shard.get(&key)?)
        };
        cell.wait().as_ref().ok().map(Arc::clone)
    }

    fn shard(&self, key: u64) -> Option<&Mutex<LruCache<u64, Cell<V>>>> {
        // Fibonacci hashing: positions share their low bits, and neighbours should go to different
        // shards.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let index = usize::try_from(hash).ok()?.checked_rem(self.shards.len())?;
        self.shards.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Error {
        Error::RootNotDirectory
    }

    #[test]
    fn a_value_is_made_once() {
        let cache = Cache::new(64);
        assert_eq!(*cache.get(1, || Ok(7)).unwrap(), 7);
        assert_eq!(*cache.get(1, || Err(failure())).unwrap(), 7);
        assert!(cache.await_made(2).is_none());
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = Cache::new(64);
        assert!(cache.get(1, || Err(failure())).is_err());
        assert_eq!(*cache.get(1, || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let cache = Cache::new(64);
        for key in 0..1000 {
            cache.get(key, || Ok(key)).unwrap();
        }
        let kept = (0..1000)
            .filter(|&key| cache.await_made(key).is_some())
            .count();
        assert!(kept <= 64, "{kept} entries");
    }

    #[test]
    fn threads_wait_for_the_first() {
        let cache = Cache::new(64);
        let made = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache
                        .get(5, || {
                            std::thread::sleep(std::time::Duration::from_millis(20));
                            Ok(made.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}

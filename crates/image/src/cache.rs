//! Images that were made once, kept by what they were made of.
//!
//! Hundreds of processes on many machines may want the same one at once, on a file system that they
//! share: one makes it, the others wait. Nothing relies on locks of files, which network file systems
//! may not have: who creates a file first makes the image, and touches the file while at it. An image
//! appears by a rename, whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

/// How often a maker says that it is at work.
const BEAT: Duration = Duration::from_secs(2);
/// How long a maker may be silent before it counts as dead. Clocks of machines differ, so the age of
/// the last sign is not looked at, but whether it changes.
const SILENCE: Duration = Duration::from_secs(20);
/// How often who waits looks.
const LOOK: Duration = Duration::from_millis(50);

/// A directory of kept images.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// Keeps images in a directory, which is made when it is needed.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns where the image of this name is or would be.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.sif"))
    }

    /// Returns the image of a name. If there is none, `make` makes it at a path that it is given; if
    /// another process is at that already, its work is waited for.
    ///
    /// # Errors
    ///
    /// Fails as `make` does, and when the directory cannot be written.
    pub fn get<E: From<io::Error>>(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = self.path(name);
        if path.is_file() {
            return Ok(path);
        }
        fs::create_dir_all(&self.directory)?;
        let sign = self.directory.join(format!(".{name}.making"));
        let mut seen: Option<(SystemTime, SystemTime)> = None;
        loop {
            match File::options().write(true).create_new(true).open(&sign) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
            thread::sleep(LOOK);
            if path.is_file() {
                return Ok(path);
            }
            let now = SystemTime::now();
            let beat = fs::metadata(&sign).and_then(|metadata| metadata.modified());
            match (beat, seen) {
                (Ok(beat), Some((last, since))) if beat == last => {
                    if now.duration_since(since).unwrap_or_default() > SILENCE {
                        // Two that take it over at once both make the image, and both make it whole.
                        let _ = fs::remove_file(&sign);
                    }
                }
                (Ok(beat), _) => seen = Some((beat, now)),
                (Err(_), _) => seen = None,
            }
        }
        let making = Making::begin(sign);
        // It may have appeared between the look and the sign.
        if path.is_file() {
            return Ok(path);
        }
        let part = self
            .directory
            .join(format!(".{name}.{}.part", std::process::id()));
        let made = make(&part).and_then(|()| Ok(fs::rename(&part, &path)?));
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        drop(making);
        made.map(|()| path)
    }
}

/// The sign that an image is being made, kept fresh until this is dropped, and then removed.
struct Making {
    sign: PathBuf,
    end: Option<mpsc::Sender<()>>,
    beating: Option<thread::JoinHandle<()>>,
}

impl Making {
    fn begin(sign: PathBuf) -> Self {
        let (end, ended) = mpsc::channel();
        let path = sign.clone();
        let beating = thread::spawn(move || {
            let mut beats = 0_u64;
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                beats += 1;
                // Its content makes its time change on every file system.
                let _ = fs::write(&path, beats.to_string());
            }
        });
        Self {
            sign,
            end: Some(end),
            beating: Some(beating),
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(beating) = self.beating.take() {
            let _ = beating.join();
        }
        let _ = fs::remove_file(&self.sign);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn many_want_it_and_one_makes_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("cache"));
        let made = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let path = cache.get("a", |path| {
                        made.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(200));
                        fs::write(path, "image")
                    });
                    assert_eq!(fs::read_to_string(path.unwrap()).unwrap(), "image");
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let left = fs::read_dir(directory.path().join("cache")).unwrap();
        assert_eq!(left.count(), 1, "nothing but the image");
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        let failed = cache.get("a", |path| {
            fs::write(path, "half")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(cache.get("a", |path| fs::write(path, "whole")).is_ok());
    }
}

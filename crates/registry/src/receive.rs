//! Receiving large content over connections that may break.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use oci::{Digest, Hasher, LONGEST_DOCUMENT};
use reqwest::Response;
use reqwest::header::CONTENT_RANGE;

use crate::Error;
use progress::Task;

/// How many connections in a row may break without progress.
const PATIENCE: u32 = 8;
/// Pause before the first attempt after a break. Each further pause is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Largest file that is received when its size is unknown, in bytes: a tebibyte.
const LARGEST: u64 = 1 << 40;

/// Whether a partial answer begins at the byte that was requested.
pub(crate) fn goes_on(answer: &Response, at: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")))
}

/// The error for a server that sends another part than the requested one.
pub(crate) fn elsewhere(what: &str) -> Error {
    Error::Refused {
        what: what.to_owned(),
        reason: "the server goes on at another place than it was asked to".to_owned(),
    }
}

/// A file that is being received, and the digest of the bytes received so far.
pub(crate) struct Receiver<'a> {
    file: &'a mut File,
    hash: Hasher,
    at: u64,
    size: Option<u64>,
    /// Largest number of bytes that are accepted.
    limit: u64,
    what: &'a str,
    task: &'a dyn Task,
    failures: u32,
    broken: bool,
    /// The highest `at` so far. Only bytes beyond it count as progress, so a server that always
    /// begins again does not reset `failures`.
    farthest: u64,
}

impl<'a> Receiver<'a> {
    /// Continues after the bytes that a file already has. `size` is the expected size, if it is
    /// known.
    pub(crate) fn new(
        file: &'a mut File,
        size: Option<u64>,
        what: &'a str,
        task: &'a dyn Task,
    ) -> Result<Self, Error> {
        let room = match rustix::fs::fstatvfs(&*file) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            Err(_) => u64::MAX,
        };
        let mut receiver = Self {
            file,
            hash: Hasher::default(),
            at: 0,
            size,
            // A file of unknown size leaves a tenth of the free space for others.
            limit: size.unwrap_or_else(|| LARGEST.min(room - room / 10)),
            what,
            task,
            failures: 0,
            broken: false,
            farthest: 0,
        };
        receiver.reread().map_err(|error| receiver.write(error))?;
        match size.map(|size| size.saturating_sub(receiver.at)) {
            Some(rest) if rest > room => Err(Error::Refused {
                what: what.to_owned(),
                reason: format!("{rest} bytes are to come, and there is room for {room}"),
            }),
            _ => Ok(receiver),
        }
    }

    fn reread(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        let mut chunk = vec![0; 1 << 16];
        loop {
            let count = self.file.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            self.hash.update(chunk.get(..count).unwrap_or_default());
            self.at += count as u64;
        }
        if self.size.is_some_and(|size| self.at > size) {
            return self.restart();
        }
        self.task.advance(self.at);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hash = Hasher::default();
        self.at = 0;
        Ok(())
    }

    fn write(&self, source: io::Error) -> Error {
        Error::Write {
            what: self.what.to_owned(),
            source,
        }
    }

    /// Limits content of unknown size to the largest size of a document.
    pub(crate) fn or_document(mut self) -> Self {
        self.limit = self.size.unwrap_or(LONGEST_DOCUMENT);
        self
    }

    /// The offset of the next byte.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Whether a connection broke meanwhile.
    pub(crate) fn was_broken(&self) -> bool {
        self.broken
    }

    /// Whether all bytes have been received.
    pub(crate) fn is_whole(&self) -> bool {
        self.size == Some(self.at)
    }

    /// Begins again at offset 0, since the server sends the whole file.
    pub(crate) fn begin_anew(&mut self) -> Result<(), Error> {
        self.restart().map_err(|error| self.write(error))
    }

    /// Writes the bytes of a stream to the file. An error of the stream is a broken connection: the
    /// caller passes it to [`Receiver::broke`].
    pub(crate) async fn take<B: AsRef<[u8]>, E: std::fmt::Display>(
        &mut self,
        stream: impl Stream<Item = Result<B, E>>,
    ) -> Result<(), Error> {
        let mut stream = std::pin::pin!(stream);
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| Error::Interrupted {
                what: self.what.to_owned(),
                reason: format!("the connection broke: {error}"),
            })?;
            let bytes = bytes.as_ref();
            self.at += bytes.len() as u64;
            if self.at > self.limit {
                let limit = self.limit;
                return Err(Error::Refused {
                    what: self.what.to_owned(),
                    reason: match self.size {
                        Some(size) => format!("more than its {size} bytes come"),
                        None => {
                            format!("more than {limit} bytes come, which is all that it may take")
                        }
                    },
                });
            }
            self.file
                .write_all(bytes)
                .map_err(|error| self.write(error))?;
            self.hash.update(bytes);
            self.task.advance(bytes.len() as u64);
            if self.at > self.farthest {
                self.farthest = self.at;
                self.failures = 0;
            }
        }
        match self.size {
            Some(size) if self.at < size => Err(Error::Interrupted {
                what: self.what.to_owned(),
                reason: format!("only {} of its {size} bytes came", self.at),
            }),
            _ => Ok(()),
        }
    }

    /// Waits after a broken connection. Returns the error when another attempt is useless.
    pub(crate) async fn broke(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_silent() || self.failures >= PATIENCE {
            return Err(error);
        }
        tracing::debug!(%error, failures = self.failures, at = self.at, "again");
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16));
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        self.failures += 1;
        self.broken = true;
        Ok(())
    }

    /// Checks the digest of the received bytes.
    pub(crate) fn check(&self, expected: &Digest) -> Result<(), Error> {
        self.hash
            .clone()
            .check(expected)
            .map_err(|source| Error::Content {
                what: self.what.to_owned(),
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use progress::Silent;

    #[test]
    fn what_says_no_size_does_not_fill_the_disk() {
        let mut file = tempfile::tempfile().unwrap();
        let mut receiver = Receiver::new(&mut file, None, "x", &Silent).unwrap();
        assert!(receiver.limit <= LARGEST);
        receiver.limit = 1 << 20;
        let endless = futures_util::stream::repeat_with(|| Ok::<_, io::Error>([0; 1 << 10]));
        let took = futures_util::FutureExt::now_or_never(receiver.take(endless));
        let error = took.unwrap().unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes come"), "{error}");
        assert_eq!(file.metadata().unwrap().len(), 1 << 20);
        let claimed = Receiver::new(&mut file, Some(u64::MAX), "x", &Silent);
        let error = claimed.err().unwrap().to_string();
        assert!(error.contains("there is room for"), "{error}");
    }
}

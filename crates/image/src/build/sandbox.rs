//! Unpacking a tree's tar into a directory.

use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::thread;

use super::BuildError;

/// Bytes that are handed over at once.
const BUFFER: usize = 1 << 20;

/// Unpacks what `write` writes, a tar whose names lead nowhere else and whose directories are no links,
/// into an empty directory. Owners are the caller; set-id bits are dropped.
pub(super) fn unpack(
    into: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let (reader, writer) = io::pipe().map_err(BuildError::file(into))?;
    thread::scope(|scope| {
        let unpacked = scope.spawn(move || {
            let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER, reader));
            archive.set_unpack_xattrs(true);
            archive.unpack(into)
        });
        let mut writer = BufWriter::with_capacity(BUFFER, writer);
        let written = write(&mut writer).and_then(|()| writer.flush().map_err(BuildError::written));
        drop(writer);
        let unpacked = match unpacked.join() {
            Ok(unpacked) => unpacked.map_err(BuildError::file(into)),
            Err(_) => Err(BuildError::Squash("a thread failed".to_owned())),
        };
        // That the pipe broke is no news: why it did is.
        match (written, unpacked) {
            (Err(BuildError::Image(oci::Error::Write(_))), Err(error)) => Err(error),
            (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(())) => Ok(()),
        }
    })
}

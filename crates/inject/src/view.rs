//! An image as its programs see it on a host.

use std::ffi::OsStr;

use elf::Object;
use rootfs::Files;

use crate::Host;

/// An image as its programs see it on a host.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The host, whose libraries may be injected.
    pub host: &'a Host,
    /// The image's files.
    pub image: &'a dyn Files,
    /// The machine and the ELF class of the image's programs.
    pub machine: Object,
    /// `LD_LIBRARY_PATH` of the program.
    pub library_path: Option<&'a OsStr>,
}

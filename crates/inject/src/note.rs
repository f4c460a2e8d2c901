//! Messages for the user about a container's drivers.

use std::ffi::OsString;
use std::fmt;

use crate::Vendor;

/// A message for the user about a container's drivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The image's own CUDA libraries are used, because they are newer than the driver.
    OwnCuda {
        /// The version of the driver that they belong to.
        version: String,
    },
    /// The image's own CUDA libraries are not used.
    UnusedCuda {
        /// The reason.
        reason: String,
    },
    /// No library is injected, because the image does not have the C library that they need.
    NoGlibc {
        /// The driver's vendor.
        vendor: Vendor,
        /// The image's C library, or `none`.
        has: &'static str,
    },
    /// A library is left out without which nothing works.
    LeftOut {
        /// The driver's vendor.
        vendor: Vendor,
        /// The library's name.
        library: OsString,
        /// The reason.
        reason: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnCuda { version } => write!(
                f,
                "the image's own CUDA libraries for driver {version} are used"
            ),
            Self::UnusedCuda { reason } => write!(
                f,
                "the image's CUDA compatibility libraries are not used: {reason}"
            ),
            Self::NoGlibc { vendor, has } => write!(
                f,
                "{}: no libraries are injected: the driver needs the GNU C library, but the image has {has}",
                vendor.flag()
            ),
            Self::LeftOut {
                vendor,
                library,
                reason,
            } => write!(
                f,
                "{}: {} is left out: {reason}",
                vendor.flag(),
                library.display()
            ),
        }
    }
}

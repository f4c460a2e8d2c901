//! Libraries that support many networks: libfabric and UCX.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use elf::{Closure, Loader, Problem};
use rootfs::Files;

use crate::host_libraries::is_called;

/// A library that supports many networks, each through the network's own library.
pub(super) struct Middleware {
    /// The name that users know.
    pub(super) name: &'static str,
    /// Its libraries, all of one build. Programs are linked to the first.
    pub(super) libraries: &'static [&'static str],
    /// The directory beside the library from which it loads its plugins for networks.
    plugins: &'static str,
}

pub(super) const MIDDLEWARE: &[Middleware] = &[
    Middleware {
        name: "libfabric",
        libraries: &["libfabric.so.1"],
        plugins: "libfabric",
    },
    Middleware {
        name: "UCX",
        libraries: &[
            "libucp.so.0",
            "libuct.so.0",
            "libucs.so.0",
            "libucm.so.0",
            "libucs_signal.so.0",
        ],
        plugins: "ucx",
    },
];

impl Middleware {
    /// Returns its main library's name.
    pub(super) fn library(&self) -> &'static OsStr {
        OsStr::new(self.libraries.first().copied().unwrap_or_default())
    }

    /// Returns the main library, which is at `path`, and its plugins.
    pub(super) fn parts(&self, files: &dyn Files, path: &Path) -> Vec<PathBuf> {
        let directory = path.with_file_name(self.plugins);
        let names = files.list(&directory).unwrap_or_default().into_iter();
        let plugins = names.filter(|name| name.to_string_lossy().contains(".so"));
        let plugins = plugins.map(|name| directory.join(name));
        [path.to_owned()].into_iter().chain(plugins).collect()
    }

    /// Returns the closures of those parts that depend on a network's library. `path` is the main
    /// library's.
    pub(super) fn knowing(
        &self,
        loader: &Loader<'_>,
        files: &dyn Files,
        path: &Path,
        network: &OsStr,
    ) -> io::Result<Vec<Closure>> {
        let mut knowing = Vec::new();
        for path in self.parts(files, path) {
            let closure = loader.closure(files, &path)?;
            knowing.extend(closure.filter(|closure| wants(closure, network)));
        }
        Ok(knowing)
    }
}

/// Whether an object depends on a library, directly or not, or would if the library existed.
fn wants(closure: &Closure, library: &OsStr) -> bool {
    let mut others = closure.objects.iter().skip(1);
    let is_missing = |problem: &Problem| matches!(problem, Problem::Missing { library: missing, .. } if missing == library);
    others.any(|object| is_called(object, library)) || closure.problems.iter().any(is_missing)
}

//! Libraries that know many networks: libfabric and UCX.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use elf::{Closure, Loader, Problem};
use tree::Files;

use crate::host_libraries::is_called;

/// A library that knows many networks, each by a library of the network's.
pub(super) struct Middleware {
    /// What people call it.
    pub(super) name: &'static str,
    /// Its parts, which are of one build; the first is what programs are linked to.
    pub(super) libraries: &'static [&'static str],
    /// The directory beside it from which it loads what knows a network.
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
    /// Its main library.
    pub(super) fn library(&self) -> &'static OsStr {
        OsStr::new(self.libraries.first().copied().unwrap_or_default())
    }

    /// Returns its main library, which lies at a path, and what that loads.
    pub(super) fn parts(&self, files: &dyn Files, path: &Path) -> Vec<PathBuf> {
        let directory = path.with_file_name(self.plugins);
        let names = files.list(&directory).unwrap_or_default().into_iter();
        let plugins = names.filter(|name| name.to_string_lossy().contains(".so"));
        let plugins = plugins.map(|name| directory.join(name));
        [path.to_owned()].into_iter().chain(plugins).collect()
    }

    /// Returns what of it, with its main library at a path, is put together with a network's library; each is told
    /// with what it is put together from.
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

/// Whether something is put together with a library, or would be if that were there.
fn wants(closure: &Closure, library: &OsStr) -> bool {
    let mut others = closure.objects.iter().skip(1);
    let is_missing = |problem: &Problem| matches!(problem, Problem::Missing { library: missing, .. } if missing == library);
    others.any(|object| is_called(object, library)) || closure.problems.iter().any(is_missing)
}

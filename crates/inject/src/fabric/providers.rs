//! Having libibverbs drive the host's cards.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::resolve::{LIBIBVERBS, Resolver};
use super::verbs;
use crate::Mount;
use crate::compat::{Class, add};

impl Resolver<'_> {
    /// Has libibverbs find a provider for each of the host's cards. Says, in words, why not.
    pub(super) fn drive(&mut self) -> io::Result<Option<String>> {
        let host = self.inside.host;
        let name = OsStr::new(LIBIBVERBS);
        let Some(own) = self.own(name)? else {
            return Ok(None);
        };
        let needed = verbs::providers(host);
        let has = |provider: &&String| {
            let image = self.inside.image;
            let is_told = || {
                let told = image.entry(&verbs::configuration(provider));
                told.is_ok_and(|entry| entry.is_some())
            };
            !own.injected && verbs::find(image, &own.path, provider).is_some() && is_told()
        };
        let lacking: Vec<&String> = needed.iter().filter(|provider| !has(provider)).collect();
        let theirs = match own.injected {
            true => Some(own.path.clone()),
            false => self.theirs.find(name)?.map(|(path, _)| path),
        };
        let of_the_host = |name: &String| {
            let path = verbs::find(host.files(), theirs.as_deref()?, name)?;
            Some((name.clone(), path))
        };
        let found: Vec<(String, PathBuf)> = { lacking.iter() }
            .filter_map(|name| of_the_host(name))
            .collect();
        if found.is_empty() {
            // One card of several may do.
            let nothing = lacking.first().filter(|_| lacking.len() == needed.len());
            return Ok(
                nothing.map(|name| format!("the host has no provider {name} for libibverbs"))
            );
        }
        if !own.injected && self.load(&found)? {
            for (name, path) in &found {
                // One that is there was not told of.
                if verbs::find(self.inside.image, &own.path, name).is_none() {
                    self.lend_provider(path, &own.path)?;
                }
                self.bind(&verbs::configuration(name), None);
            }
            return Ok(None);
        }
        if !own.injected
            && let Some(reason) = self.replace_verbs()?
        {
            return Ok(Some(format!(
                "the image's libibverbs has no provider for this host's cards, and {reason}"
            )));
        }
        // The host's complains of each that it is told of and cannot load, as the image's are.
        let theirs = theirs.unwrap_or(own.path);
        for path in verbs::all(host.files(), &theirs) {
            self.lend_provider(&path, &theirs)?;
        }
        self.bind(Path::new(verbs::CONFIGURATION), None);
        Ok(None)
    }

    /// Injects a provider to the libibverbs that lies at a path.
    fn lend_provider(&mut self, path: &Path, libibverbs: &Path) -> io::Result<()> {
        let file = path.file_name().unwrap_or_default();
        let place = libibverbs.with_file_name("libibverbs").join(file);
        self.bind(path, Some(place));
        self.lend_as_library(path)
    }

    /// Binds a file or directory of the host's, at its own place or another.
    fn bind(&mut self, path: &Path, place: Option<PathBuf>) {
        if let Some(own) = self.inside.host.canonical(path) {
            let place = place.unwrap_or_else(|| path.to_owned());
            self.providers.push(Mount::read_only(own, place));
        }
    }

    /// Whether all of the host's providers would load with the image's libibverbs.
    fn load(&self, providers: &[(String, PathBuf)]) -> io::Result<bool> {
        let loader = self.inside.loader()?;
        for (_, path) in providers {
            let closure = loader.closure(self.inside.host.files(), path)?;
            if closure.is_none_or(|closure| !closure.problems.is_empty()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A provider is the vendor's library, too, which some are linked to by its name.
    fn lend_as_library(&mut self, path: &Path) -> io::Result<()> {
        let soname = self.soname(path)?;
        let mut wanted = Vec::new();
        if let (Some(soname), Some(path)) = (soname, self.inside.host.canonical(path))
            && self.own(&soname)?.is_none()
        {
            add(&mut wanted, &soname, &path, Class::Dispatch);
        }
        self.lend_what_loads(&wanted)
    }

    /// Returns what a library of the host's calls itself.
    fn soname(&self, path: &Path) -> io::Result<Option<OsString>> {
        let closure = self.theirs.closure(self.inside.host.files(), path)?;
        Ok(closure.and_then(|closure| closure.objects.first()?.linkage.soname.clone()))
    }

    /// Has the host's libibverbs replace the image's. Says, in words, why not.
    fn replace_verbs(&mut self) -> io::Result<Option<String>> {
        let both = [LIBIBVERBS, "librdmacm.so.1"].map(OsStr::new);
        for name in both {
            let (Some((_, theirs)), Some(own)) = (self.theirs.find(name)?, self.own(name)?) else {
                continue;
            };
            let loader = self.inside.loader()?;
            let own = loader.closure(self.files(own.injected), &own.path)?;
            let own = own.and_then(|closure| closure.objects.into_iter().next());
            let versions = own.iter().flat_map(|own| &own.linkage.versions_defined);
            // The others are for its own providers.
            let public = |version: &&OsString| !version.to_string_lossy().contains("PRIVATE");
            let mut missing = versions.filter(|version| !theirs.versions_defined.contains(version));
            if let Some(version) = missing.find(public) {
                return Ok(Some(format!(
                    "the host's is older: it has no {}",
                    version.display()
                )));
            }
        }
        // Vendors' libraries are their providers, and go with the one that they are for.
        let mut names: Vec<OsString> = both.map(OsStr::to_owned).into();
        if let Some((path, _)) = self.theirs.find(OsStr::new(LIBIBVERBS))? {
            for provider in verbs::all(self.inside.host.files(), &path) {
                names.extend(self.soname(&provider)?);
            }
        }
        let libraries: Vec<_> = names
            .iter()
            .map(|name| (name.as_os_str(), Class::Driver))
            .collect();
        let reason = self.take(&libraries)?;
        Ok(reason.map(|reason| format!("of the host's {reason}")))
    }
}

//! Provides libibverbs with the providers for the host's cards.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::resolve::{LIBIBVERBS, Resolver};
use super::verbs;
use crate::Mount;
use crate::compat::{Class, add};

impl Resolver<'_> {
    /// Makes libibverbs find a provider for each of the host's cards. Returns the reason if it
    /// cannot.
    pub(super) fn inject_providers(&mut self) -> io::Result<Option<String>> {
        let host = self.inside.view.host;
        let name = OsStr::new(LIBIBVERBS);
        let Some(own) = self.own(name)? else {
            return Ok(None);
        };
        let needed = verbs::providers(host);
        let has = |provider: &&String| {
            let image = self.inside.view.image;
            let is_configured = || {
                let told = image.entry(&verbs::configuration(provider));
                told.is_ok_and(|entry| entry.is_some())
            };
            !own.injected && verbs::find(image, &own.path, provider).is_some() && is_configured()
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
            // One usable card of several may be enough.
            let nothing = lacking.first().filter(|_| lacking.len() == needed.len());
            return Ok(
                nothing.map(|name| format!("the host has no provider {name} for libibverbs"))
            );
        }
        if !own.injected && self.load(&found)? {
            for (name, path) in &found {
                // If the image has the provider, only its configuration file is missing.
                if verbs::find(self.inside.view.image, &own.path, name).is_none() {
                    self.inject_provider(path, &own.path)?;
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
        // The host's libibverbs complains of every configured provider that it cannot load, and the
        // image's are such. So it gets all providers and the configuration of the host.
        let theirs = theirs.unwrap_or(own.path);
        for path in verbs::all(host.files(), &theirs) {
            self.inject_provider(&path, &theirs)?;
        }
        self.bind(Path::new(verbs::CONFIGURATION), None);
        Ok(None)
    }

    /// Injects a provider for the libibverbs at a path.
    fn inject_provider(&mut self, path: &Path, libibverbs: &Path) -> io::Result<()> {
        let file = path.file_name().unwrap_or_default();
        let place = libibverbs.with_file_name("libibverbs").join(file);
        self.bind(path, Some(place));
        self.inject_as_library(path)
    }

    /// Binds a file or directory of the host, at its own path or at another.
    fn bind(&mut self, path: &Path, place: Option<PathBuf>) {
        if let Some(own) = self.inside.view.host.canonical(path) {
            let place = place.unwrap_or_else(|| path.to_owned());
            self.providers.push(Mount::read_only(own, place));
        }
    }

    /// Whether all of these providers of the host would load with the image's libibverbs.
    fn load(&self, providers: &[(String, PathBuf)]) -> io::Result<bool> {
        let loader = self.inside.loader()?;
        for (_, path) in providers {
            let closure = loader.closure(self.inside.view.host.files(), path)?;
            if closure.is_none_or(|closure| !closure.problems.is_empty()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Injects a provider also as the vendor's library: some programs are linked to it by its
    /// soname.
    fn inject_as_library(&mut self, path: &Path) -> io::Result<()> {
        let soname = self.soname(path)?;
        let mut wanted = Vec::new();
        if let (Some(soname), Some(path)) = (soname, self.inside.view.host.canonical(path))
            && self.own(&soname)?.is_none()
        {
            add(&mut wanted, &soname, &path, Class::Dispatch);
        }
        self.inject_loadable(&wanted)
    }

    /// Returns the soname of a library of the host.
    fn soname(&self, path: &Path) -> io::Result<Option<OsString>> {
        let closure = self.theirs.closure(self.inside.view.host.files(), path)?;
        Ok(closure.and_then(|closure| closure.objects.first()?.linkage.soname.clone()))
    }

    /// Replaces the image's libibverbs by the host's. Returns the reason if it cannot.
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
            // The private versions are only for its own providers.
            let public = |version: &&OsString| !version.to_string_lossy().contains("PRIVATE");
            let mut missing = versions.filter(|version| !theirs.versions_defined.contains(version));
            if let Some(version) = missing.find(public) {
                return Ok(Some(format!(
                    "the host's is older: it lacks {}",
                    version.display()
                )));
            }
        }
        // The vendors' libraries are providers too, so they are replaced together with libibverbs.
        let mut names: Vec<OsString> = both.map(OsStr::to_owned).into();
        if let Some((path, _)) = self.theirs.find(OsStr::new(LIBIBVERBS))? {
            for provider in verbs::all(self.inside.view.host.files(), &path) {
                names.extend(self.soname(&provider)?);
            }
        }
        let libraries: Vec<_> = names
            .iter()
            .map(|name| (name.as_os_str(), Class::Driver))
            .collect();
        let reason = self.take(&libraries)?;
        Ok(reason.map(|reason| format!("the host's {reason}")))
    }
}

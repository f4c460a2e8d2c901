//! Determines which libraries of the host an image lacks to reach a network.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{Closure, Flavour, Loaded, Loader, Problem};
use rootfs::Files;

use super::middleware::{MIDDLEWARE, Middleware};
use super::network::{Kind, Network, companions, is_there, networks};
use super::resolved::{Program, Reached, Resolved};
use super::verbs;
use crate::compat::{Candidate, Class, Decision, Verdict, add, check};
use crate::host_libraries::{HostLibraries, Inside, is_called, is_of_the_compiler};
use crate::{LIBRARIES, Mount, View, mpi};

pub(super) const LIBIBVERBS: &str = "libibverbs.so.1";

/// The usual reason why an image does not reach a network.
const NOTHING: &str = "the image has neither libfabric nor UCX";

/// Determines which libraries of the host an image lacks to reach the host's networks.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn resolve(view: View<'_>, program: Program<'_>) -> io::Result<Resolved> {
    let host = view.host;
    let networks = networks(host);
    if networks.is_empty() {
        return Ok(Resolved::default());
    }
    let mut theirs = Loader::new(host.files(), view.machine)?;
    let directories: Vec<&OsStr> = program
        .directories
        .iter()
        .map(|path| path.as_os_str())
        .collect();
    theirs.set_library_path(&directories.join(OsStr::new(":")));
    let injected = program.host_libraries.map(|own| own.libraries().collect());
    let mut resolver = Resolver {
        inside: Inside {
            view,
            injected: injected.unwrap_or_default(),
        },
        theirs,
        program: program.file,
        verdicts: Vec::new(),
        providers: Vec::new(),
    };
    if resolver.inside.loader()?.flavour() != Some(Flavour::Glibc) {
        let reason = "the image has no GNU C library, and the host's libraries need it".to_owned();
        let unreached = |network: &Network| Reached {
            kind: network.kind,
            by: Vec::new(),
            reason: Some(reason.clone()),
        };
        return Ok(Resolved {
            networks: networks.iter().map(unreached).collect(),
            ..Resolved::default()
        });
    }
    let mut reached = Vec::new();
    for network in &networks {
        reached.push(resolver.reach(network.kind)?);
    }
    for (_, library) in companions(host) {
        let library = library.map(OsStr::new);
        if let Some(library) = library
            && resolver.own(library)?.is_none()
        {
            // Programs also work without this library, in another way.
            let _ = resolver.take(&[(library, Class::Dispatch)])?;
        }
    }
    resolver.into_resolved(reached)
}

/// Whether it is worth it, for a fast network, to inject the host's MPI, which `program` describes.
/// It is if the host's MPI reaches a network, or if the image's does not either.
///
/// # Errors
///
/// Fails as [`resolve`] does.
pub fn is_worth(view: View<'_>, program: Program<'_>) -> io::Result<bool> {
    let reaches = |program| Ok::<_, io::Error>(resolve(view, program)?.is_reached());
    let without = Program {
        host_libraries: None,
        ..program
    };
    Ok(is_there(view.host) && (reaches(program)? || !reaches(without)?))
}

/// The library that an image's programs will use for a name.
pub(super) struct Own {
    /// Whether it is the host's.
    pub(super) injected: bool,
    pub(super) path: PathBuf,
    /// Whether the program is linked to it.
    linked: bool,
}

/// The state of a resolution.
pub(super) struct Resolver<'a> {
    pub(super) inside: Inside<'a>,
    pub(super) theirs: Loader<'a>,
    program: Option<(&'a dyn Files, &'a Path)>,
    verdicts: Vec<Verdict>,
    /// Mounts of libibverbs' providers and of their configuration files.
    pub(super) providers: Vec<Mount>,
}

impl<'a> Resolver<'a> {
    /// Makes a network reachable for programs, as far as possible.
    fn reach(&mut self, kind: Kind) -> io::Result<Reached> {
        let library = OsStr::new(kind.library());
        let (mut knowing, mut reason) = (self.knowing(library)?, None);
        let direct = self.directly(library)?;
        if knowing.is_empty() && direct.is_none() {
            reason = self.replace(library)?;
            knowing = self.knowing(library)?;
        }
        let known = knowing.iter().map(|(words, _)| words.clone());
        let by: Vec<String> = direct.into_iter().chain(known).collect();
        // Some libraries besides libfabric and UCX open verbs, the most common network, themselves.
        if kind == Kind::Verbs || !by.is_empty() {
            reason = self.complete(library, &knowing)?.or(reason);
        }
        if kind == Kind::Verbs {
            reason = self.inject_providers()?.or(reason);
        }
        if by.is_empty() {
            reason.get_or_insert_with(|| NOTHING.to_owned());
        }
        Ok(Reached { kind, by, reason })
    }

    pub(super) fn files(&self, injected: bool) -> &'a dyn Files {
        match injected {
            true => self.inside.view.host.files(),
            false => self.inside.view.image,
        }
    }

    fn closure(&self) -> io::Result<Closure> {
        let Some((files, path)) = self.program else {
            return Ok(Closure::default());
        };
        let closure = self.inside.loader()?.closure(files, path)?;
        Ok(closure.unwrap_or_default())
    }

    /// Finds the library that the image's programs will use for a name.
    pub(super) fn own(&self, name: &OsStr) -> io::Result<Option<Own>> {
        let closure = self.closure()?;
        let linked = closure.objects.iter().skip(1);
        if let Some(object) = { linked }.find(|object| is_called(object, name)) {
            return Ok(Some(Own {
                injected: object.injected,
                path: object.path.clone(),
                linked: true,
            }));
        }
        if let Some((_, path)) = self.inside.injected.iter().find(|(own, _)| own == name) {
            return Ok(Some(Own {
                injected: true,
                path: path.clone(),
                linked: false,
            }));
        }
        let Some((path, _)) = self.inside.loader()?.find(name)? else {
            return Ok(None);
        };
        // Another hook has injected this library.
        let theirs = match path.starts_with(LIBRARIES) {
            true => self.theirs.find(name)?.map(|(path, _)| path),
            false => None,
        };
        Ok(Some(Own {
            injected: theirs.is_some(),
            path: theirs.unwrap_or(path),
            linked: false,
        }))
    }

    /// Returns the description of the part of the program that opens a network through the
    /// network's own library: the program, its MPI, or a plugin of its MPI. Some MPIs do so.
    fn directly(&self, library: &OsStr) -> io::Result<Option<String>> {
        let loader = self.inside.loader()?;
        let closure = self.closure()?;
        let needs = |object: &Loaded| object.linkage.needed.iter().any(|name| name == library);
        let mpis = closure.objects.iter().filter(|object| mpi::is_mpi(object));
        if closure
            .objects
            .iter()
            .take(1)
            .chain(mpis.clone())
            .any(needs)
        {
            return Ok(Some("the program or its MPI library".to_owned()));
        }
        for object in mpis {
            for plugin in mpi::plugins(self.files(object.injected), object)? {
                let plugin = loader.closure(self.files(object.injected), &plugin)?;
                if plugin.is_some_and(|plugin| plugin.objects.first().is_some_and(needs)) {
                    return Ok(Some("a plugin of its MPI".to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Returns the middleware that programs will have and that supports a network through its
    /// library, each with a description. If the program is linked to middleware, no other counts.
    fn knowing(&self, library: &OsStr) -> io::Result<Vec<(String, &'static Middleware)>> {
        let loader = self.inside.loader()?;
        let (mut knowing, mut is_linked) = (Vec::new(), false);
        for middleware in MIDDLEWARE {
            let Some(own) = self.own(middleware.library())? else {
                continue;
            };
            is_linked |= own.linked;
            let files = self.files(own.injected);
            if !middleware
                .knowing(&loader, files, &own.path, library)?
                .is_empty()
            {
                let whose = if own.injected { "host" } else { "image" };
                knowing.push((
                    format!("the {whose}'s {}", middleware.name),
                    middleware,
                    own.linked,
                ));
            }
        }
        knowing.retain(|(_, _, linked)| *linked || !is_linked);
        Ok(knowing
            .into_iter()
            .map(|(words, middleware, _)| (words, middleware))
            .collect())
    }

    /// Replaces the image's middleware, which does not support a network, by the host's. Returns
    /// the reason if it cannot.
    fn replace(&mut self, library: &OsStr) -> io::Result<Option<String>> {
        let mut reasons = Vec::new();
        let mut owns = Vec::new();
        for middleware in MIDDLEWARE {
            owns.extend(self.own(middleware.library())?.map(|own| (middleware, own)));
        }
        let is_linked = owns.iter().any(|(_, own)| own.linked);
        owns.retain(|(_, own)| own.linked || !is_linked);
        for (middleware, own) in owns {
            match self.replace_one(middleware, &own, library)? {
                None => return Ok(None),
                Some(reason) => reasons.push(reason),
            }
        }
        Ok(Some(match reasons.is_empty() {
            true => NOTHING.to_owned(),
            false => reasons.join("; "),
        }))
    }

    fn replace_one(
        &mut self,
        middleware: &Middleware,
        own: &Own,
        library: &OsStr,
    ) -> io::Result<Option<String>> {
        let name = middleware.name;
        let host = self.inside.view.host;
        let ignorant = format!("the image's {name} does not support this network, and ");
        let Some((path, _)) = self.theirs.find(middleware.library())? else {
            return Ok(Some(format!("{ignorant}the host has no {name}")));
        };
        let knowing = middleware.knowing(&self.theirs, host.files(), &path, library)?;
        if own.injected || knowing.is_empty() {
            return Ok(Some(format!("{ignorant}neither does the host's")));
        }
        let theirs = exported(host.files(), &path)?;
        let missing = exported(self.inside.view.image, &own.path)?
            .into_iter()
            .find(|symbol| !theirs.contains(symbol));
        if let Some(symbol) = missing {
            return Ok(Some(format!(
                "{ignorant}the host's is older: it lacks {}",
                symbol.display()
            )));
        }
        let parts = middleware.libraries.iter();
        let parts: Vec<_> = parts
            .map(|part| (OsStr::new(part), Class::Driver))
            .collect();
        let reason = self.take(&parts)?;
        Ok(reason.map(|reason| format!("{ignorant}the host's {reason}")))
    }

    /// Injects libraries of the host and their dependencies. They replace the image's, if it has
    /// any. Returns the reason if it cannot.
    pub(super) fn take(&mut self, libraries: &[(&OsStr, Class)]) -> io::Result<Option<String>> {
        let verdicts = match self.inside.check_all(self.gather(libraries)?)? {
            Ok(verdicts) => verdicts,
            Err(reason) => return Ok(Some(reason)),
        };
        let before = self.problems()?;
        let (injected, accepted) = (self.inside.injected.len(), self.verdicts.len());
        self.accept(verdicts);
        let mut after = self.problems()?.into_iter();
        let Some(new) = after.find(|problem| !before.contains(problem)) else {
            return Ok(None);
        };
        self.inside.injected.truncate(injected);
        self.verdicts.truncate(accepted);
        Ok(Some(format!("would break a library of the image: {new}")))
    }

    /// Returns the unmet dependencies of the program and of the image's middleware.
    fn problems(&self) -> io::Result<BTreeSet<Problem>> {
        let loader = self.inside.loader()?;
        let mut problems: BTreeSet<Problem> = self.closure()?.problems.into_iter().collect();
        for middleware in MIDDLEWARE {
            if let Some(own) = self.own(middleware.library())?.filter(|own| !own.injected) {
                for path in middleware.parts(self.inside.view.image, &own.path) {
                    let closure = loader.closure(self.inside.view.image, &path)?;
                    problems.extend(closure.into_iter().flat_map(|closure| closure.problems));
                }
            }
        }
        Ok(problems)
    }

    /// Injects a network's library if there is none, and the dependencies of the middleware that
    /// supports the network.
    fn complete(
        &mut self,
        library: &OsStr,
        knowing: &[(String, &'static Middleware)],
    ) -> io::Result<Option<String>> {
        let host = self.inside.view.host;
        if self.own(library)?.is_none() {
            if self.theirs.find(library)?.is_none() {
                return Ok(Some(format!(
                    "neither the image nor the host has {}",
                    library.display()
                )));
            }
            let mut lacking = vec![(library, Class::Dispatch)];
            // This library is of the same build.
            let companion = OsStr::new("librdmacm.so.1");
            if library == LIBIBVERBS && self.own(companion)?.is_none() {
                lacking.push((companion, Class::Dispatch));
            }
            if let Some(reason) = self.take(&lacking)? {
                return Ok(Some(reason));
            }
        }
        let mut wanted = Vec::new();
        // The host's middleware loads its plugins later.
        for (_, middleware) in knowing {
            let Some(own) = self.own(middleware.library())?.filter(|own| own.injected) else {
                continue;
            };
            for closure in middleware.knowing(&self.theirs, host.files(), &own.path, library)? {
                add_needed(&mut wanted, &closure);
            }
        }
        self.inject_loadable(&wanted)?;
        Ok(None)
    }

    /// Returns those of some libraries that the host has, and their dependencies.
    fn gather(&self, libraries: &[(&OsStr, Class)]) -> io::Result<Vec<Candidate>> {
        let mut gathered = Vec::new();
        for (name, class) in libraries {
            if let Some((path, _)) = self.theirs.find(name)? {
                add(&mut gathered, name, &path, *class);
            }
        }
        for candidate in gathered.clone() {
            let closure = self
                .theirs
                .closure(self.inside.view.host.files(), &candidate.path)?;
            add_needed(&mut gathered, &closure.unwrap_or_default());
        }
        Ok(gathered)
    }

    /// Injects those of some libraries that would load.
    pub(super) fn inject_loadable(&mut self, wanted: &[Candidate]) -> io::Result<()> {
        let mut loader = self.inside.loader()?;
        let known = |candidate: &&Candidate| {
            !self
                .inside
                .injected
                .iter()
                .any(|(name, _)| *name == candidate.name)
        };
        let wanted: Vec<Candidate> = wanted.iter().filter(known).cloned().collect();
        let verdicts = check(
            self.inside.view.host,
            &mut loader,
            &wanted,
            &BTreeMap::new(),
        )?;
        self.accept(verdicts);
        Ok(())
    }

    pub(super) fn accept(&mut self, verdicts: Vec<Verdict>) {
        let injected = verdicts
            .into_iter()
            .filter(|verdict| matches!(verdict.decision, Decision::Injected { .. }));
        for verdict in injected {
            let (name, path) = (verdict.name.clone(), verdict.host_path.clone());
            self.inside.injected.push((name, path));
            self.verdicts.push(verdict);
        }
    }

    fn into_resolved(self, networks: Vec<Reached>) -> io::Result<Resolved> {
        // The program's libraries, without those that are injected now.
        let mut before = self.inside.clone();
        let injected = |name: &OsString| self.verdicts.iter().any(|verdict| verdict.name == *name);
        before.injected.retain(|(name, _)| !injected(name));
        let closure = match self.program {
            Some((files, path)) => before.loader()?.closure(files, path)?,
            None => None,
        };
        let host = self.inside.view.host;
        let closure = closure.unwrap_or_default();
        let mut host_libraries = HostLibraries::assemble(host, &self.verdicts, &closure, None);
        let names = self
            .verdicts
            .iter()
            .map(|verdict| verdict.name.to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        let providers = self
            .providers
            .iter()
            .filter(|mount| !mount.container_path.starts_with(verbs::CONFIGURATION));
        let providers = providers.filter_map(|mount| mount.container_path.file_name());
        names.extend(providers.map(|name| name.to_string_lossy().into_owned()));
        host_libraries.mounts.extend(self.providers);
        Ok(Resolved {
            host_libraries,
            names,
            networks,
        })
    }
}

/// Adds the dependencies of a library of the host, without the library itself.
fn add_needed(wanted: &mut Vec<Candidate>, closure: &Closure) {
    let needed = |object: &&Loaded| !is_of_the_compiler(&object.name);
    for object in closure.objects.iter().skip(1).filter(needed) {
        add(wanted, &object.name, &object.path, Class::Dispatch);
    }
}

/// Returns the symbols that a library defines.
fn exported(files: &dyn Files, path: &Path) -> io::Result<BTreeSet<OsString>> {
    let content = files.open(path)?;
    let symbols = content.and_then(|content| elf::symbols(content).ok());
    let defined = symbols.unwrap_or_default().into_iter();
    let defined = defined.filter(|symbol| !symbol.undefined);
    Ok(defined.map(|symbol| symbol.name).collect())
}

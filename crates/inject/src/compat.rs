//! Decides which of the host's libraries work in an image, and which of them the image needs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{Flavour, Loader, Problem};
use serde::{Deserialize, Serialize};

use crate::Host;

/// The reason why a library is considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Made for one version of the kernel's driver: only the host's works.
    Driver,
    /// Independent of the driver: it forwards calls to the driver's library that is present. Any
    /// works; the image's own is best.
    Dispatch,
    /// A program.
    Program,
}

/// A library or program of the host that a container may need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The name by which the loader knows it; a program's file name.
    pub(crate) name: OsString,
    /// Its path on the host, without links.
    pub(crate) path: PathBuf,
    pub(crate) class: Class,
    /// The library whose presence in the image decides for this one too. Libraries that are made
    /// for each other are never mixed.
    pub(crate) family: Option<&'static str>,
}

/// Adds a library without a family, unless one of its name is there.
pub(crate) fn add(candidates: &mut Vec<Candidate>, name: &OsStr, path: &Path, class: Class) {
    if !candidates.iter().any(|known| known.name == name) {
        candidates.push(Candidate {
            name: name.to_owned(),
            path: path.to_owned(),
            class,
            family: None,
        });
    }
}

/// The decision on one library or program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its name.
    pub name: OsString,
    /// The reason why it was considered.
    pub class: Class,
    /// Its path on the host.
    pub host_path: PathBuf,
    /// The decision.
    pub decision: Decision,
}

/// The decision on a library or program of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "why")]
pub enum Decision {
    /// It is injected, and replaces the image's if there is one.
    Injected {
        /// The path of the image's library of that name.
        instead_of: Option<PathBuf>,
    },
    /// The image's own is used.
    Own {
        /// Its path in the image.
        path: PathBuf,
    },
    /// It would not load, and is left out.
    Left {
        /// The reason, for the user.
        reason: String,
    },
}

/// Decides on the candidates, for an image's loader. `own` are the names of libraries that the
/// image is known to have itself, with their paths.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub(crate) fn check<'a>(
    host: &'a Host,
    loader: &mut Loader<'a>,
    candidates: &[Candidate],
    own: &BTreeMap<OsString, PathBuf>,
) -> io::Result<Vec<Verdict>> {
    let glibc = loader.glibc_version()?;
    let mut fates: BTreeMap<&OsStr, Decision> = BTreeMap::new();
    for candidate in candidates {
        if let Some(decision) = settled(loader, candidate, own)? {
            fates.insert(&candidate.name, decision);
        } else if candidate.class != Class::Program {
            loader.inject(candidate.name.clone(), host.files(), candidate.path.clone());
        }
    }
    // Another candidate may need a library that is withdrawn here. So this repeats until nothing
    // changes.
    let mut changed = true;
    while changed {
        changed = false;
        for candidate in candidates {
            if fates.contains_key(candidate.name.as_os_str()) {
                continue;
            }
            let closure = loader.closure(host.files(), &candidate.path)?;
            let reason = match closure.as_ref().map(|closure| closure.problems.as_slice()) {
                Some([]) => continue,
                Some(problems) => describe(problems, glibc.as_deref(), &fates),
                // A script: some distributions have scripts instead of programs.
                None if candidate.class == Class::Program => continue,
                None => "it is not a library for the architecture of the image".to_owned(),
            };
            fates.insert(&candidate.name, Decision::Left { reason });
            loader.withdraw(&candidate.name);
            changed = true;
        }
    }
    candidates
        .iter()
        .map(|candidate| {
            let decision = match fates.remove(candidate.name.as_os_str()) {
                Some(decision) => decision,
                None if candidate.class == Class::Program => {
                    Decision::Injected { instead_of: None }
                }
                None => Decision::Injected {
                    instead_of: loader.find(&candidate.name)?.map(|(path, _)| path),
                },
            };
            Ok(Verdict {
                name: candidate.name.clone(),
                class: candidate.class,
                host_path: candidate.path.clone(),
                decision,
            })
        })
        .collect()
}

/// Returns the decision on a candidate if it does not depend on the candidate's content.
fn settled(
    loader: &Loader<'_>,
    candidate: &Candidate,
    own: &BTreeMap<OsString, PathBuf>,
) -> io::Result<Option<Decision>> {
    let left = |reason: &str| {
        let reason = reason.to_owned();
        Ok(Some(Decision::Left { reason }))
    };
    match loader.flavour() {
        Some(Flavour::Glibc) => {}
        Some(Flavour::Musl) => {
            return left("it needs the GNU C library, but the image has musl");
        }
        None => return left("it needs the GNU C library, but the image has none"),
    }
    if let Some(path) = own.get(&candidate.name) {
        return Ok(Some(Decision::Own { path: path.clone() }));
    }
    if candidate.class != Class::Dispatch {
        return Ok(None);
    }
    let judge = candidate
        .family
        .map_or(candidate.name.as_os_str(), OsStr::new);
    let Some((path, _)) = loader.find(judge)? else {
        return Ok(None);
    };
    match loader.find(&candidate.name)? {
        Some((path, _)) => Ok(Some(Decision::Own { path })),
        None => left(&format!(
            "the image has its own {}, and the two must not be mixed",
            path.display()
        )),
    }
}

/// Describes the problem that best shows the user what to change.
fn describe(
    problems: &[Problem],
    glibc: Option<&str>,
    fates: &BTreeMap<&OsStr, Decision>,
) -> String {
    let version = |problem: &&Problem| {
        let Problem::Version { version, .. } = problem else {
            return None;
        };
        // The highest version is the most useful one.
        let text = version.to_string_lossy().into_owned();
        let numbers: Vec<u32> = text
            .split(['_', '.'])
            .filter_map(|part| part.parse().ok())
            .collect();
        Some((text.starts_with("GLIBC_2"), numbers))
    };
    let worst = problems
        .iter()
        .filter(|problem| version(problem).is_some())
        .max_by_key(version)
        .or_else(|| problems.first());
    match worst {
        Some(Problem::Version {
            library, version, ..
        }) if library == "libc.so.6" => format!(
            "it needs {}, but the image has glibc {}",
            version.display(),
            glibc.unwrap_or("of unknown version")
        ),
        Some(Problem::Version {
            library, version, ..
        }) => format!(
            "it needs {} of {}, but the image's is older",
            version.display(),
            library.display()
        ),
        Some(Problem::Missing { library, .. }) if fates.contains_key(library.as_os_str()) => {
            format!("it needs {}, which is also left out", library.display())
        }
        Some(Problem::Missing { library, .. }) => {
            format!(
                "it needs {}, which the image does not have",
                library.display()
            )
        }
        None => String::new(),
    }
}

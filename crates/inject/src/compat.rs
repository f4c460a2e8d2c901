//! Which of the host's libraries an image can carry, and which it needs at all.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{Flavour, Loader, Problem};
use serde::{Deserialize, Serialize};

use crate::Host;

/// Why a library is considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Made for the kernel's driver, of the same version: only the host's works.
    Driver,
    /// Of no driver, it hands calls on to the one that is there: any will do, the image's own best.
    Dispatch,
    /// A program.
    Program,
}

/// A library or program of the host's that a container may want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The name the loader knows it by; of a program, its file name.
    pub(crate) name: OsString,
    /// Where it lies on the host, without links.
    pub(crate) path: PathBuf,
    pub(crate) class: Class,
    /// The library whose presence in the image speaks for this one, too: those that are made for each
    /// other are never mixed.
    pub(crate) family: Option<&'static str>,
}

/// Adds a library that no other speaks for, if none of its name is there.
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

/// What becomes of a library or program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its name.
    pub name: OsString,
    /// Why it was considered.
    pub class: Class,
    /// Where it lies on the host.
    pub host_path: PathBuf,
    /// What becomes of it.
    pub decision: Decision,
}

/// What becomes of a library or program of the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "why")]
pub enum Decision {
    /// It is injected; with the image's own that it replaces, if there is one.
    Injected {
        /// Where the image has one of that name.
        instead_of: Option<PathBuf>,
    },
    /// The image's own is used.
    Own {
        /// Where it lies in the image.
        path: PathBuf,
    },
    /// It would not load, and is left out.
    Left {
        /// Why, in words.
        reason: String,
    },
}

/// Decides about the candidates, for an image's loader. `own` are names that the image is known to
/// bring itself, and where.
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
    // What is taken back may be what another needs, so until nothing changes.
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
                Some(problems) => in_words(problems, glibc.as_deref(), &fates),
                // A script, as some distributions have them.
                None if candidate.class == Class::Program => continue,
                None => "it is no library for the image's programs".to_owned(),
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

/// What needs no look at what the candidate is made of.
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
            return left("it is made for the GNU C library, and the image has musl");
        }
        None => return left("it needs the GNU C library, and the image has none"),
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
            "the image has its own {}, which the host's must not be mixed with",
            path.display()
        )),
    }
}

/// Tells the first of some problems so that a person knows what to change.
fn in_words(
    problems: &[Problem],
    glibc: Option<&str>,
    fates: &BTreeMap<&OsStr, Decision>,
) -> String {
    let version = |problem: &&Problem| {
        let Problem::Version { version, .. } = problem else {
            return None;
        };
        // The highest number says most.
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
            "it needs {} and the image has glibc {}",
            version.display(),
            glibc.unwrap_or("of unknown version")
        ),
        Some(Problem::Version {
            library, version, ..
        }) => format!(
            "it needs {} of {}, and the image's is older",
            version.display(),
            library.display()
        ),
        Some(Problem::Missing { library, .. }) if fates.contains_key(library.as_os_str()) => {
            format!("it needs {}, which is left out, too", library.display())
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

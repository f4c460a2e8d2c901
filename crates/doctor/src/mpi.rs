//! MPI: the library that is used, the wire-up of the ranks, and the cost of their messages.

use std::io;

use elf::Loader;
use inject::mpi::{self, Facts, Family, Hints, Implementation, Policy};
use inject::{HostLibraries, View, fabric};
use launcher::Job;

use crate::{Finding, Program, shared_memory};

/// The user's wishes and the job, as far as they matter for MPI.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The choice between the image's library and the host's.
    pub policy: Policy,
    /// Places where the host's may be.
    pub hints: &'a Hints,
    /// The job in which the program would be a rank.
    pub job: Option<&'a Job>,
    /// Whether ranks share a container.
    pub shared: bool,
}

/// Checks the MPI of an image's program. Returns no findings for a program without MPI.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn mpi(view: View<'_>, program: Program<'_>, wanted: &Wanted<'_>) -> io::Result<Vec<Finding>> {
    let mut loader = Loader::new(view.image, view.machine)?;
    if let Some(path) = view.library_path {
        loader.set_library_path(path);
    }
    let found = mpi::find(&loader, view.image, (program.files, program.path))?;
    let Some(found) = found.filter(|found| found.linked) else {
        return Ok(Vec::new());
    };
    let used = match choose(view, program, wanted, found.family, found.implementation)? {
        Choice::Used(used) => used,
        Choice::None(finding) => return Ok(vec![finding]),
    };
    let seen = fabric::Program {
        host_libraries: used.host_libraries.as_ref(),
        ..seen_by_networks(program, wanted)
    };
    let resolved = fabric::resolve(view, seen)?;
    let mut findings = vec![used.finding];
    findings.extend(network(&resolved, used.obstacle));
    findings.extend(wireup(&used.library, wanted.job));
    findings.push(shared_memory::of_ranks(wanted.shared));
    Ok(findings)
}

/// The MPI library that the program would use.
struct Used {
    library: Implementation,
    /// The host's libraries that are injected for it.
    host_libraries: Option<HostLibraries>,
    /// The reason why the host's library cannot replace the image's.
    obstacle: Option<String>,
    finding: Finding,
}

enum Choice {
    Used(Used),
    /// There is no library that the program could use.
    None(Finding),
}

/// Decides as a launch does, by [`Policy::takes_hosts`].
fn choose(
    view: View<'_>,
    program: Program<'_>,
    wanted: &Wanted<'_>,
    family: Family,
    own: Option<Implementation>,
) -> io::Result<Choice> {
    let need = mpi::Wanted {
        family,
        own: own.as_ref(),
    };
    let swap = match wanted.policy {
        Policy::Container => None,
        _ => Some(mpi::swap(
            view,
            (program.files, program.path),
            need,
            wanted.hints,
        )?),
    };
    let takes = match &swap {
        Some(Ok(swap)) => wanted.policy.takes_hosts(Facts {
            own: own.as_ref(),
            hosts: &swap.implementation,
            // This costs a search of the image, so it is done only if it decides.
            is_worth: wanted.policy == Policy::Auto
                && own.is_some()
                && fabric::is_worth(
                    view,
                    fabric::Program {
                        host_libraries: Some(&swap.host_libraries),
                        ..seen_by_networks(program, wanted)
                    },
                )?,
            job: wanted.job,
        }),
        Some(Err(_)) | None => false,
    };
    Ok(match (swap, own) {
        (Some(Ok(swap)), own) if takes => {
            let theirs = &swap.implementation;
            let what = match own {
                Some(own) => format!("the host's {theirs} replaces the image's {own}"),
                None => format!("the host's {theirs}; the image has none"),
            };
            Choice::Used(Used {
                finding: Finding::works("MPI library", what),
                library: swap.implementation,
                host_libraries: Some(swap.host_libraries),
                obstacle: None,
            })
        }
        (Some(Err(reason)), Some(own)) if wanted.policy == Policy::Host => {
            Choice::None(Finding::fails(
                "MPI library",
                format!("the host's cannot replace the image's {own}: {reason}"),
                "use the image's with --mpi=container",
            ))
        }
        (swap, Some(own)) => Choice::Used(Used {
            finding: Finding::works("MPI library", format!("the image's {own}")),
            library: own,
            host_libraries: None,
            obstacle: swap.and_then(Result::err),
        }),
        (swap, None) => {
            let mut what = format!("the program needs {family}, which the image does not have");
            if let Some(Err(reason)) = swap {
                what += &format!(", and {reason}");
            }
            Choice::None(lacking(what, program.is_whole))
        }
    })
}

fn seen_by_networks<'a>(program: Program<'a>, wanted: &Wanted<'a>) -> fabric::Program<'a> {
    fabric::Program {
        file: Some((program.files, program.path)),
        host_libraries: None,
        directories: &wanted.hints.libraries,
    }
}

/// Reports that neither the image nor the host has an MPI for the program.
fn lacking(what: String, is_whole: bool) -> Finding {
    let remedy = "load a module with an MPI and keep --mpi=auto, or bind an MPI and set --env LD_LIBRARY_PATH=…";
    match is_whole {
        true => Finding::fails("MPI library", what, remedy),
        false => Finding::slow(
            "MPI library",
            format!("{what}; a bound directory may have it"),
            remedy,
        ),
    }
}

/// Reports which of the host's networks are reached, and through which libraries. `obstacle` is the
/// reason why the host's MPI cannot replace the image's.
fn network(resolved: &fabric::Resolved, obstacle: Option<String>) -> Vec<Finding> {
    let finding = |network: &fabric::Reached| match &network.reason {
        None => {
            let mut what = format!("{}, through {}", network.kind, network.by.join(" and "));
            if !resolved.names.is_empty() {
                what += &format!("; injected for it: {}", resolved.names.join(", "));
            }
            Finding::works("network", what)
        }
        Some(reason) => {
            let mut what = format!("this host's {} is not reached: {reason}", network.kind);
            if let Some(obstacle) = &obstacle {
                what += &format!("; the host's MPI cannot replace the image's: {obstacle}");
            }
            Finding::slow(
                "network",
                what,
                "load a module with a host MPI of the same kind, or build the image with the network's libraries",
            )
        }
    };
    resolved.networks.iter().map(finding).collect()
}

fn wireup(used: &Implementation, job: Option<&Job>) -> Option<Finding> {
    let Some(job) = job else {
        let ways: Vec<String> = used.speaks.iter().map(ToString::to_string).collect();
        let what = format!(
            "its ranks find each other by {}; this process was not started by a launcher",
            ways.join(" or ")
        );
        return (!ways.is_empty()).then(|| Finding::works("wire-up", what));
    };
    Some(match mpi::wireup_mismatch(used, job) {
        Some(alone) => Finding::fails("wire-up", alone.to_string(), alone.remedy()),
        None => {
            let offers: Vec<String> = job.offers.iter().map(ToString::to_string).collect();
            Finding::works(
                "wire-up",
                format!("{} offers {}", job.launcher, offers.join(" and ")),
            )
        }
    })
}

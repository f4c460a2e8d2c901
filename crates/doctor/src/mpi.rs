//! MPI: whose library, how ranks find each other, and what their messages cost.

use std::io;

use elf::{Loader, Object};
use inject::mpi::{self, Facts, Hints, Implementation, Policy};
use inject::{Host, fabric};
use launcher::Job;
use tree::Files;

use crate::{Finding, Program};

/// What a program is asked to do with MPI.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Whose library.
    pub policy: Policy,
    /// Where the host's may be.
    pub hints: &'a Hints,
    /// The job that it would be a rank of.
    pub job: Option<&'a Job>,
    /// Whether ranks share a container.
    pub shared: bool,
}

/// Looks at the MPI of an image's program; finds nothing where it has none.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn mpi(
    host: &Host,
    image: &dyn Files,
    machine: Object,
    program: Program<'_>,
    wanted: &Wanted<'_>,
) -> io::Result<Vec<Finding>> {
    let mut loader = Loader::new(image, machine)?;
    if let Some(path) = program.library_path {
        loader.set_library_path(path);
    }
    let found = mpi::find(&loader, image, (program.files, program.path))?;
    let Some(found) = found.filter(|found| found.linked) else {
        return Ok(Vec::new());
    };
    let mut findings = Vec::new();
    let own = found.implementation;
    let need = mpi::Wanted {
        family: found.family,
        own: own.as_ref(),
    };
    let swap = match wanted.policy {
        Policy::Container => None,
        _ => Some(mpi::swap(
            host,
            image,
            machine,
            (program.files, program.path),
            program.library_path,
            need,
            wanted.hints,
        )?),
    };
    let seen = fabric::Program {
        file: Some((program.files, program.path)),
        library_path: program.library_path,
        host_libraries: None,
        directories: &wanted.hints.libraries,
    };
    let takes = match &swap {
        Some(Ok(swap)) => {
            let host_libraries = Some(&swap.host_libraries);
            let program = fabric::Program {
                host_libraries,
                ..seen
            };
            wanted.policy.takes_hosts(Facts {
                own: own.as_ref(),
                hosts: &swap.implementation,
                // It is looked for only where it decides.
                reaches_more: wanted.policy == Policy::Auto
                    && own.is_some()
                    && fabric::is_worth(host, image, machine, program)?,
                job: wanted.job,
            })
        }
        Some(Err(_)) | None => false,
    };
    let (used, host_libraries, obstacle) = match (swap, own) {
        (Some(Ok(swap)), own) if takes => {
            let theirs = &swap.implementation;
            let what = match own {
                Some(own) => format!("the host's {theirs} stands in for the image's {own}"),
                None => format!("the host's {theirs}; the image has none"),
            };
            findings.push(Finding::works("MPI library", what));
            (swap.implementation, Some(swap.host_libraries), None)
        }
        (Some(Err(reason)), Some(own)) if wanted.policy == Policy::Host => {
            findings.push(Finding::fails(
                "MPI library",
                format!("the host's cannot stand in for the image's {own}: {reason}"),
                "--mpi=container takes the image's",
            ));
            return Ok(findings);
        }
        (swap, Some(own)) => {
            findings.push(Finding::works("MPI library", format!("the image's {own}")));
            (own, None, swap.and_then(Result::err))
        }
        (swap, None) => {
            let mut what = format!("the image has no {}, which it needs", found.family);
            if let Some(Err(reason)) = swap {
                what += &format!(", and {reason}");
            }
            findings.push(lacking(what, program.is_whole));
            return Ok(findings);
        }
    };
    let host_libraries = host_libraries.as_ref();
    let resolved = fabric::resolve(
        host,
        image,
        machine,
        fabric::Program {
            host_libraries,
            ..seen
        },
    )?;
    findings.extend(network(&resolved, obstacle));
    findings.extend(wireup(&used, wanted.job));
    findings.push(match wanted.shared {
        true => Finding::works("shared memory", "ranks on a node share a container, and read each other's memory"),
        false => Finding::slow(
            "shared memory",
            "each rank has a container of its own: none can read another's memory, MPI copies long messages twice, \
             and some libraries do not start",
            "leave --no-share out",
        ),
    });
    Ok(findings)
}

/// Nothing that is looked at has an MPI for the program.
fn lacking(what: String, is_whole: bool) -> Finding {
    let remedy = "load a module with one and leave --mpi=auto, or bind one and name its directory: --env LD_LIBRARY_PATH=…";
    match is_whole {
        true => Finding::fails("MPI library", what, remedy),
        false => Finding::slow(
            "MPI library",
            format!("{what}; what is bound may have it"),
            remedy,
        ),
    }
}

/// Which of the host's networks are reached, and by what. `obstacle` is why the host's MPI cannot stand in.
fn network(resolved: &fabric::Resolved, obstacle: Option<String>) -> Vec<Finding> {
    let finding = |network: &fabric::Reached| match &network.reason {
        None => {
            let mut what = format!("{}, by {}", network.kind, network.by.join(" and "));
            if !resolved.names.is_empty() {
                what += &format!("; injected for it: {}", resolved.names.join(", "));
            }
            Finding::works("network", what)
        }
        Some(reason) => {
            let mut what = format!("this host's {} is not reached: {reason}", network.kind);
            if let Some(obstacle) = &obstacle {
                what += &format!("; the host's MPI cannot stand in: {obstacle}");
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
            "its ranks find each other by {}; no launcher started this",
            ways.join(" or ")
        );
        return (!ways.is_empty()).then(|| Finding::works("wire-up", what));
    };
    Some(match mpi::alone(used, job) {
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

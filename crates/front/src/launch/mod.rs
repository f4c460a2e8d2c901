//! The steps from a request to a running payload: image, host, bundle, session, exec.

mod directories;
mod fabric;
mod fuse_mounts;
mod gpu;
mod instance;
mod interpreter;
mod join;
mod layers;
mod limits;
mod memo;
mod mpi;
mod open;
mod payload;
mod plan;
mod preload;
mod preview;
mod program;
mod rank_report;
mod ranks;
mod record;
mod rights;
mod runscript;
mod view;

use anyhow::{Context, Result};
use sys::ExitCode;

use crate::caller::Caller;
use crate::flags::Sharing;
use crate::messages::{FAILURE, Messages};
use crate::misspelled;
use crate::request::{Request, Source};

use fuse_mounts::FuseMounts;
pub use instance::{InstanceRecord, start_instance};
pub use open::open_image;
use plan::Prepared;
use preview::print;
pub use preview::{Looked, look};
pub use program::ProgramLocation;
use ranks::{Build, Found};
pub use record::Record;

/// Carries out a request. Normally, this process becomes the payload. Returns only if nothing was
/// started, with the exit code of one of the image's scripts, or with that of a payload that ran in
/// a child.
pub fn launch(request: Request, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    sys::check_kernel().map_err(anyhow::Error::msg)?;
    // One rank of a job is enough.
    if { request.job.iter() }.all(|job| job.rank.is_none_or(|rank| rank == 0)) {
        warn_of_names(caller, messages);
        warn_of_words(&request, caller, messages);
        for line in &caller.site()?.unknown {
            messages.warning(line);
        }
    }
    if let Source::Instance(name) = &request.source {
        let name = name.clone();
        return instance::join(&name, request, caller, messages);
    }
    if let Sharing::Job(job) = &request.sharing {
        let job = job.clone();
        return join::join_job(&job, request, caller, messages).map(ExitCode::from);
    }
    let options = request.registry.as_ref();
    let image = open_image(&request.source, options, caller, messages)?;
    if !request.dry_run {
        limits::apply(&request.container.limits)?;
    }
    let build = match ranks::find(&request, &image, caller, messages)? {
        Found::Session(namespaces, record) => {
            return join::enter(namespaces, record, None, request, caller, messages)
                .map(ExitCode::from);
        }
        Found::Refused => return Ok(ExitCode::from(FAILURE)),
        Found::None(build) => build,
    };
    let (dry_run, job) = (request.dry_run, request.job.clone());
    let application = request.application.clone();
    let prepared = match Prepared::new(request, image, None, caller, messages) {
        Ok(prepared) if dry_run => return print(&prepared.bundle.spec),
        Ok(prepared) => prepared,
        Err(error) => {
            messages.fatal(&error);
            build.refuse(job.as_ref());
            return Ok(ExitCode::from(FAILURE));
        }
    };
    if !prepared.has_program()? {
        if let Some(application) = application {
            messages.error(format_args!("No tests for contained app: {application}"));
            build.refuse(job.as_ref());
            return Ok(ExitCode::FAILURE);
        }
        // On standard output, as Apptainer prints it.
        let line = b"No test found in container, executing /bin/sh -c true\n";
        std::io::Write::write_all(&mut std::io::stdout(), line).context("print")?;
        build.refuse(job.as_ref());
        return Ok(ExitCode::SUCCESS);
    }
    if !prepared.rank.may_start(messages) {
        build.refuse(job.as_ref());
        return Ok(ExitCode::from(FAILURE));
    }
    start(prepared, build, caller, messages)
}

/// Warns of variables whose names look like those of flags.
fn warn_of_names(caller: &Caller, messages: &Messages) {
    for warning in misspelled::warnings(&caller.variables) {
        messages.warning(warning);
    }
}

/// Warns of words that mean nothing, and of a working directory that is gone.
fn warn_of_words(request: &Request, caller: &Caller, messages: &Messages) {
    let is_chosen = request.environment.cwd.is_some() || request.is_contained();
    if caller.cwd.is_none() && !is_chosen {
        messages.warning("the working directory no longer exists; using the home instead");
    }
    for word in &request.container.mounts.unknown {
        messages.warning(format_args!("Ignoring unknown mount type '{word}'"));
    }
    if request.environment.has_nameless {
        messages.warning("--env: ignoring a value without a name");
    }
    for word in &request.container.privileges.unknown {
        messages.warning(format_args!("Ignoring unknown capability '{word}'"));
    }
}

/// Makes the container, enters it and becomes the payload.
fn start(
    mut prepared: Prepared,
    build: Build,
    caller: &Caller,
    messages: &Messages,
) -> Result<ExitCode> {
    let Build { permit, no_room } = build;
    let is_first = permit.is_some();
    prepared.shared &= no_room.is_none();
    let namespaces = prepared.open(None, permit, caller, messages)?;
    let fuse_mounts = FuseMounts::new(&prepared.container.mounts.fuse, &caller.variables)?;
    if let Some(job) = prepared.job.as_ref().filter(|_| prepared.rank.is_mpi) {
        match no_room {
            Some(reason) => messages.warning(format_args!(
                "cannot join the container of job {}: {reason}; this rank gets its own, so MPI copies messages twice",
                job.name
            )),
            None if is_first => ranks::warn_of_others(job, &prepared, messages),
            None => {}
        }
    }
    let go = || {
        fuse_mounts.start(&prepared.start, &prepared.rights)?;
        prepared.rights.take()?;
        match prepared.seen_inside {
            true => prepared
                .start
                .seen_inside(messages)?
                .become_payload(messages),
            false => prepared.start.become_payload(messages),
        }
    };
    let code = if prepared.own_processes {
        namespaces.enter_by_child(|| report(go(), messages))?
    } else {
        namespaces.enter()?;
        go()?
    };
    Ok(ExitCode::from(code))
}

/// Prints the reason if nothing was started, and returns the exit code.
fn report(outcome: Result<u8>, messages: &Messages) -> u8 {
    outcome.unwrap_or_else(|error| {
        messages.fatal(&error);
        crate::messages::FAILURE
    })
}

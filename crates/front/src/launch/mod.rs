//! The way from a request to a running payload: image, host, bundle, session, exec.

mod fabric;
mod gpu;
mod instance;
mod interpreter;
mod join;
mod memo;
mod mpi;
mod open;
mod payload;
mod plan;
mod preload;
mod preview;
mod program;
mod rank_report;
mod runscript;

use anyhow::{Context, Result};
use image::Image;
use launcher::Job;
use session::{BuildPermit, Lookup};
use sys::ExitCode;

use crate::caller::Caller;
use crate::flags::Sharing;
use crate::messages::Messages;
use crate::request::{Request, Source};

pub use instance::{InstanceRecord, start_instance};
pub use join::Record;
pub use open::open_image;
use plan::Prepared;
pub use preview::{Looked, look};
use preview::{examine, print};
pub use program::Where;

/// Carries out a request. Returns only when nothing was started, with a code of the image's own, or
/// with that of what ran in an instance; otherwise this process has become the payload.
pub fn launch(request: Request, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    if let Source::Instance(name) = &request.source {
        let name = name.clone();
        return instance::join(&name, request, caller, messages);
    }
    if let Sharing::Job(job) = &request.sharing {
        let job = job.clone();
        return join::join_job(&job, request, caller, messages).map(ExitCode::from);
    }
    let network = request.network.as_ref();
    let image = open_image(&request.source, network, caller, messages)?;
    let mut permit = None;
    let mut no_place = None;
    if let Some(job) = shared_job(&request, &image, caller, messages)? {
        let program = request.action.program();
        let words = request.words(caller);
        let since = caller.sees_image_since();
        match session::lookup(&job.name, &image.root, &words, &program, since) {
            Lookup::Joined(namespaces, about) => {
                let record: Record =
                    serde_json::from_str(&about).context("another version's container")?;
                // Ranks of one job may be of several programs.
                if record.program != program
                    && !examine(&request, &image, caller, messages)?.may_start(messages)
                {
                    return Ok(ExitCode::from(crate::messages::FAILURE));
                }
                return join::enter(namespaces, record, None, request, caller, messages)
                    .map(ExitCode::from);
            }
            Lookup::First(first) => permit = Some(first),
            Lookup::Full(reason) => no_place = Some(reason),
            Lookup::Refused => return Ok(ExitCode::from(crate::messages::FAILURE)),
        }
    }
    let dry_run = request.dry_run;
    let local_size = request.job.as_ref().and_then(|job| job.local_size);
    // What one rank has said holds for the others that wait.
    let refuse = |permit: Option<BuildPermit>| {
        if let Some(permit) = permit {
            permit.refuse(local_size.map(|size| size.saturating_sub(1)));
        }
    };
    let prepared = match Prepared::new(request, image, None, caller, messages) {
        Ok(prepared) => Prepared {
            shared: prepared.shared && no_place.is_none(),
            ..prepared
        },
        Err(error) => {
            messages.fatal(&error);
            refuse(permit);
            return Ok(ExitCode::from(crate::messages::FAILURE));
        }
    };
    if dry_run {
        return print(&prepared.bundle.spec);
    }
    if !prepared.rank.may_start(messages) {
        refuse(permit);
        return Ok(ExitCode::from(crate::messages::FAILURE));
    }
    let privileged = session::is_privileged();
    let is_rank = permit.is_some();
    let namespaces = prepared.open(None, permit, messages)?;
    if let Some(job) = prepared.job.as_ref().filter(|_| prepared.rank.is_mpi) {
        match no_place {
            Some(reason) => messages.warning(format_args!(
                "no place in the container of job {}: {reason}; this rank has one of its own, and MPI copies twice",
                job.name
            )),
            None if is_rank => tell_others_apart(job, &prepared, messages),
            None => {}
        }
    }
    let go = || {
        if !privileged {
            session::shed_privileges()?;
        }
        if prepared.contained {
            session::isolate()?;
        }
        prepared.start.become_payload(messages)
    };
    let code = if prepared.own_processes {
        namespaces.enter_by_child(|| report(go(), messages))?
    } else {
        namespaces.enter()?;
        go()?
    };
    Ok(ExitCode::from(code))
}

/// Returns the job whose container a request asks for. One that is to be kept from others shares its container with the
/// other ranks of an MPI program, which could not work together otherwise, and with nobody else.
fn shared_job<'a>(
    request: &'a Request,
    image: &Image,
    caller: &Caller,
    messages: &Messages,
) -> Result<Option<&'a Job>> {
    let job = request
        .job
        .as_ref()
        .filter(|_| request.is_shared() && !request.dry_run);
    let Some(job) = job.filter(|job| !request.is_isolated() || job.local_size != Some(1)) else {
        return Ok(None);
    };
    let shares =
        !request.is_isolated() || examine(request, image, caller, &messages.of_failures())?.is_mpi;
    Ok(shares.then_some(job))
}

/// Warns a rank whose container is not that of the job's others here.
fn tell_others_apart(job: &Job, prepared: &Prepared, messages: &Messages) {
    if job.local_size.is_some_and(|size| size < 2) {
        return;
    }
    let own = std::process::id().cast_signed();
    let others = session::Shared::all(|name| name == Some(&job.name)).unwrap_or_default();
    let others = others
        .iter()
        .filter(|other| !other.members.is_empty() && !other.members.contains(&own));
    let images = others.filter_map(|other| serde_json::from_str::<Record>(&other.about).ok());
    if let Some(other) = { images }.next() {
        let (theirs, ours) = (other.image.0, &prepared.image.path);
        let what = match &theirs == ours {
            true => "with other flags".to_owned(),
            false => format!("of {}", theirs.display()),
        };
        messages.warning(format_args!(
            "other ranks of job {} on this node are in a container {what}: they and this one cannot read each \
             other's memory, and MPI copies twice",
            job.name
        ));
    }
}

/// Tells why nothing was started; returns the exit code.
fn report(outcome: Result<u8>, messages: &Messages) -> u8 {
    outcome.unwrap_or_else(|error| {
        messages.fatal(&error);
        crate::messages::FAILURE
    })
}

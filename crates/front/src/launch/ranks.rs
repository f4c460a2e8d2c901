//! The ranks of a job on one node: finds the container that they share.

use anyhow::{Context, Result};
use image::Image;
use launcher::Job;
use session::{BuildPermit, Lookup, Namespaces};

use super::plan::Prepared;
use super::preview::examine;
use super::record::Record;
use crate::caller::Caller;
use crate::messages::Messages;
use crate::request::Request;

/// The container that a process finds on this node.
pub(super) enum Found {
    /// The container of its job: the namespaces, and the record that the session publishes.
    Session(Namespaces, Record),
    /// No container that it could join. It makes one.
    None(Build),
    /// The job cannot start. The reason has been printed.
    Refused,
}

/// A container that is to be made.
#[derive(Default)]
pub(super) struct Build {
    /// The right to make the container of a job, for which the other ranks wait.
    pub(super) permit: Option<BuildPermit>,
    /// The reason why the container of its job has no room for this rank.
    pub(super) no_room: Option<String>,
}

impl Build {
    /// Reports to the waiting ranks that there will be no container. One rank has printed the
    /// reason for all.
    pub(super) fn refuse(self, job: Option<&Job>) {
        if let Some(permit) = self.permit {
            let local_size = job.and_then(|job| job.local_size);
            permit.refuse(local_size.map(|size| size.saturating_sub(1)));
        }
    }
}

/// Looks up the container of the request's job.
pub(super) fn find(
    request: &Request,
    image: &Image,
    caller: &Caller,
    messages: &Messages,
) -> Result<Found> {
    let Some(job) = shared_job(request, image, caller, messages)? else {
        return Ok(Found::None(Build::default()));
    };
    let program = request.action.program();
    let words = request.words(caller);
    let since = caller.sees_image_since();
    Ok(
        match session::lookup(&job.name, &image.root, &words, &program, since) {
            Lookup::Joined(namespaces, about) => {
                let record: Record = serde_json::from_str(&about)
                    .context("the container was made by another version of front")?;
                // The ranks of one job may run several programs.
                let may_start = record.program == program
                    || examine(request, image, caller, messages)?.may_start(messages);
                match may_start {
                    true => Found::Session(namespaces, record),
                    false => Found::Refused,
                }
            }
            Lookup::First(permit) => Found::None(Build {
                permit: Some(permit),
                no_room: None,
            }),
            Lookup::Full(reason) => Found::None(Build {
                permit: None,
                no_room: Some(reason),
            }),
            Lookup::Refused => Found::Refused,
        },
    )
}

/// Returns the job whose container a request asks for. An isolated container is shared only with
/// the other ranks of an MPI program, because they could not work together otherwise.
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

/// Warns if other ranks of the job on this node are in another container.
pub(super) fn warn_of_others(job: &Job, prepared: &Prepared, messages: &Messages) {
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
            true => "other flags".to_owned(),
            false => format!("image {}", theirs.display()),
        };
        messages.warning(format_args!(
            "other ranks of job {} on this node are in another container ({what}): these ranks cannot read each \
             other's memory, so MPI copies messages twice",
            job.name
        ));
    }
}

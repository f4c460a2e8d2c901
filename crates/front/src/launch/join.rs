//! Enters a running container.

use std::path::Path;

use anyhow::{Context, Result, bail};
use image::RootFs;
use rootfs::Directory;
use session::{Namespaces, Shared};

use super::payload::Start;
use super::record::Record;
use super::report;
use super::rights::Rights;
use crate::caller::Caller;
use crate::environment::Ingredients;
use crate::flags::{Scope, Sharing};
use crate::messages::Messages;
use crate::request::{Request, Source};

/// Runs a program in the container of a job on this node. Returns only if nothing was started, or
/// with the exit code if the container has processes of its own.
///
/// # Errors
///
/// Fails when the job has no container of this image here, and when nothing was started.
pub fn join_job(job: &str, request: Request, caller: &Caller, messages: &Messages) -> Result<u8> {
    let Source::Path(path) = &request.source else {
        bail!("--join needs the path of the image, as shown by `front ps`");
    };
    let of_the_job = |name: Option<&str>| {
        name.is_some_and(|name| {
            let step = name.strip_prefix(job);
            step.is_some_and(|step| step.is_empty() || step.starts_with(['.', '-']))
        })
    };
    let image = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let all = Shared::all(of_the_job)?.into_iter();
    let records = all.filter_map(|shared| {
        let record: Record = serde_json::from_str(&shared.about).ok()?;
        let theirs = std::fs::canonicalize(&record.image.0);
        (theirs.as_ref().unwrap_or(&record.image.0) == &image).then_some((shared, record))
    });
    // A debugger needs the container with the most ranks of the job.
    let chosen = records.max_by_key(|(shared, _)| shared.members.len());
    let joined = chosen.and_then(|(shared, record)| Some((shared.join()?, record)));
    let (namespaces, record) = joined.with_context(|| {
        format!(
            "job {job} has no container of {} here; `front ps` lists the running ones",
            path.display()
        )
    })?;
    enter(namespaces, record, None, request, caller, messages)
}

/// Enters a container and becomes the payload, or lets a child do so. `instance` is the instance's
/// name, if the container is one.
pub fn enter(
    namespaces: Namespaces,
    record: Record,
    instance: Option<&str>,
    request: Request,
    caller: &Caller,
    messages: &Messages,
) -> Result<u8> {
    let request = request.with_injected(&record.env);
    let is_other = matches!(request.sharing, Sharing::Job(_)) || instance.is_some();
    let is_rank = request.job.is_some() && !is_other;
    if !is_rank {
        refuse_limits(&request)?;
        warn_of_flags(&request, &record, instance, messages);
    }
    if request.dry_run {
        bail!("the container is already running; --dry-run is not possible");
    }
    let cwd = caller.cwd.clone().filter(|_| !record.contained);
    let mut container = request.container;
    if !is_rank {
        // Only a rank asks for the binds that the container has.
        container.mounts.binds.clear();
    }
    container.isolation.files = Scope::own_if(record.contained);
    let rights = Rights::in_running(&record, &container.privileges)?;
    let ingredients = Ingredients {
        here: caller.here,
        called: caller.called,
        caller: caller.variables.clone(),
        request: Request {
            container,
            ..request
        },
        home: record.home,
        image: record.image,
        instance: instance.map(str::to_owned),
        libraries: record.libraries,
    };
    let go = || become_payload(ingredients, &rights, cwd.as_deref(), messages);
    if record.own_processes {
        return Ok(namespaces.enter_by_child(|| report(go(), messages))?);
    }
    namespaces.enter()?;
    go()
}

/// Refuses a flag for a limit: it would hold for a container that is made.
fn refuse_limits(request: &Request) -> Result<()> {
    match request.typed.limit {
        Some(flag) => {
            bail!("{flag}: the container is already running; give limits when it is started")
        }
        None => Ok(()),
    }
}

/// Warns of flags that change nothing in a container that is running already.
fn warn_of_flags(request: &Request, record: &Record, instance: Option<&str>, messages: &Messages) {
    let mut flags = Vec::new();
    if !request.container.mounts.binds.is_empty() || !request.container.devices.vendors.is_empty() {
        flags.extend(["--bind", "GPU flags"]);
    }
    let lacks = |flag: &&&str| !record.apart.iter().any(|own| own == **flag);
    flags.extend(request.typed.apart.iter().filter(lacks));
    let list = match flags.as_slice() {
        [] => return,
        [one] => format!("{one} has no effect"),
        [first @ .., last] => format!("{} and {last} have no effect", first.join(", ")),
    };
    let what = instance.map_or_else(
        || "the container".to_owned(),
        |name| format!("instance {name}"),
    );
    messages.warning(format_args!("{what} is already running: {list}"));
}

fn become_payload(
    ingredients: Ingredients,
    rights: &Rights,
    cwd: Option<&Path>,
    messages: &Messages,
) -> Result<u8> {
    rights.take()?;
    let root = Directory::open_root(Path::new("/")).context("open the container's root")?;
    let root = RootFs::Directory(root);
    let start = Start::new(ingredients, &root, cwd, messages);
    start
        .context("read the container's image")?
        .become_payload(messages)
}

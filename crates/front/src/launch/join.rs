//! Entering a container that runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::RootFs;
use serde::{Deserialize, Serialize};
use session::{Namespaces, Shared};
use tree::Directory;

use super::payload::Start;
use super::report;
use crate::caller::Caller;
use crate::environment::Ingredients;
use crate::flags::{Scope, Sharing};
use crate::messages::Messages;
use crate::request::{Request, Source};

/// What is told of a container to who looks, and who joins must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The image's path and name.
    pub image: (PathBuf, String),
    /// Whether libraries are injected into it.
    pub libraries: bool,
    /// Whether it has a home and temporary directories of its own.
    pub contained: bool,
    /// Whether it has processes of its own.
    pub own_processes: bool,
    /// The program that it was made for, and looked at.
    #[serde(default)]
    pub program: String,
    /// What is injected into it of variables.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Its user's home.
    pub home: PathBuf,
}

/// Runs something in the container of a job on this node. Returns only when nothing was started, or with
/// the exit code where it has processes of its own.
///
/// # Errors
///
/// Fails when the job has none of that image here, and when nothing was started.
pub fn join_job(job: &str, request: Request, caller: &Caller, messages: &Messages) -> Result<u8> {
    let Source::Path(path) = &request.source else {
        bail!("--join takes the image's file or directory, as `front ps` shows it");
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
    // The most of its ranks are what a debugger looks for.
    let chosen = records.max_by_key(|(shared, _)| shared.members.len());
    let joined = chosen.and_then(|(shared, record)| Some((shared.join()?, record)));
    let (namespaces, record) = joined.with_context(|| {
        format!(
            "job {job} has no container of {} here; `front ps` shows those that run",
            path.display()
        )
    })?;
    enter(namespaces, record, None, request, caller, messages)
}

/// Goes in and becomes the payload, or has a child do so. `instance` is the container's name, if it is
/// one.
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
    if !is_rank
        && (!request.container.mounts.binds.is_empty()
            || !request.container.devices.vendors.is_empty())
    {
        let what = instance.map_or_else(
            || "the container".to_owned(),
            |name| format!("instance {name}"),
        );
        messages.warning(format_args!(
            "{what} has its mounts since its start: binds and GPUs have no effect"
        ));
    }
    if request.dry_run {
        bail!("it runs already: there is no config.json to print");
    }
    let cwd = caller.cwd.clone().filter(|_| !record.contained);
    let mut container = request.container;
    if !is_rank {
        // A rank's are those of the container.
        container.mounts.binds.clear();
    }
    container.isolation.files = Scope::own_if(record.contained);
    let ingredients = Ingredients {
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
    let privileged = session::is_privileged();
    let rights = Rights {
        privileged,
        contained: record.contained,
    };
    let go = || become_payload(ingredients, rights, cwd.as_deref(), messages);
    if record.own_processes {
        return Ok(namespaces.enter_by_child(|| report(go(), messages))?);
    }
    namespaces.enter()?;
    go()
}

/// What the payload has of its caller's.
#[derive(Clone, Copy)]
struct Rights {
    /// Real root's.
    privileged: bool,
    /// As little as can be.
    contained: bool,
}

fn become_payload(
    ingredients: Ingredients,
    rights: Rights,
    cwd: Option<&Path>,
    messages: &Messages,
) -> Result<u8> {
    if !rights.privileged {
        session::shed_privileges()?;
    }
    if rights.contained {
        session::isolate()?;
    }
    let root = Directory::open_root(Path::new("/")).context("open the container's root")?;
    let root = RootFs::Directory(root);
    let start = Start::new(ingredients, &root, cwd, messages);
    start
        .context("read the container's image")?
        .become_payload(messages)
}

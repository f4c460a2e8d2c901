//! Making the state and the first process of a container.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use libcontainer::config::YoukiConfig;
use libcontainer::container::{Container as Inner, ContainerStatus};
use libcontainer::notify_socket::{NOTIFY_FILE, NotifyListener};
use libcontainer::oci_spec::runtime::{LinuxIntelRdt, Spec};
use libcontainer::process::intel_rdt::setup_intel_rdt;
use nix::unistd::{Pid, setgroups};
use serde_json::Value;

use super::Create;
use crate::cgroup::{Cgroup, Driver, OpenCgroup};
use crate::init::{self, Plan, Runtime};
use crate::process::{Executor, affinity};
use crate::{Document, Error, State, hooks, readiness, userns};

/// Makes the state and the first process. `is_ours` says that the container is `slipway`'s: it has
/// cgroups of its own, and `born_in` is the one of version 2 that we have made for it.
pub(super) fn build(
    request: &Create,
    document: &Document,
    executor: &dyn Executor,
    born_in: Option<OpenCgroup>,
    is_ours: bool,
) -> Result<(), Error> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::library("write the container's state", error)
    };
    let directory = request.root.join(&request.id);
    DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .map_err(Error::state("create", &directory))?;
    if request.notify_socket.is_some() {
        readiness::make_directory(&directory)?;
    }
    let config = config(document, &request.id)?;
    config.save(&directory).map_err(|error| failed(&error))?;
    let mut inner = Inner::new(
        &request.id,
        ContainerStatus::Creating,
        None,
        &request.bundle,
        &directory,
    )
    .map_err(|error| failed(&error))?;
    let annotations = document.get("annotations").cloned();
    let annotations = annotations.and_then(|list| serde_json::from_value(list).ok());
    inner
        .set_systemd(request.systemd_cgroup)
        .set_annotations(annotations);
    inner.save().map_err(|error| failed(&error))?;
    let listener = NotifyListener::new(&directory.join(NOTIFY_FILE))
        .map_err(|error| Error::library("listen for the start", &error))?;
    // The namespace in which an ordinary user is, is not to be made any more.
    let mut inside = document.clone();
    set_oom_score(document)?;
    userns::enter_if_ordinary(&mut inside)?;
    drop_groups(document);
    let hook_start = match is_ours {
        true => hooks::Start::Wrapped,
        false => hooks::Start::Plain,
    };
    let plan = Plan::new(request, &inside, executor, hook_start, listener)?;
    let runtime = Making {
        document,
        hook_start,
        bundle: &request.bundle,
        is_born_there: born_in.is_some(),
        cgroup: is_ours.then(|| Cgroup {
            path: config.cgroup_path.clone(),
            driver: match request.systemd_cgroup {
                true => Driver::Systemd,
                false => Driver::FileSystem,
            },
            id: request.id.clone(),
        }),
    };
    // Named as runc names these steps, since scripts look for them in its log.
    tracing::debug!("nsexec container setup: make the first process");
    let init = init::make(&plan, &runtime, born_in)?;
    tracing::debug!("init: closing the pipe to signal completion");
    set_rdt(document, &request.id, init, &mut inner)?;
    inner
        .set_status(ContainerStatus::Created)
        .set_creator(nix::unistd::geteuid().as_raw())
        .set_pid(init.as_raw());
    inner.save().map_err(|error| failed(&error))
}

/// Returns the part of the document that is kept with the state.
fn config(document: &Document, id: &str) -> Result<YoukiConfig, Error> {
    let failed =
        |error: &(dyn std::error::Error + 'static)| Error::library("read the specification", error);
    let mut spec = Spec::default();
    let linux = serde_json::json!({"cgroupsPath": document.cgroup()});
    let linux = serde_json::from_value(linux).map_err(|error| failed(&error))?;
    spec.set_linux(Some(linux));
    YoukiConfig::from_spec(&spec, id).map_err(|error| failed(&error))
}

/// Sets how readily the kernel kills the processes that are made from now on when memory runs out
/// (proc_pid_oom_score_adj(5)).
fn set_oom_score(document: &Document) -> Result<(), Error> {
    let score = document
        .pointer("/process/oomScoreAdj")
        .and_then(Value::as_i64);
    match score {
        Some(score) => std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(|source| Error::system("set process.oomScoreAdj", source)),
        None => Ok(()),
    }
}

/// Drops the caller's groups, which the container must not have.
fn drop_groups(document: &Document) {
    let keep = document.pointer("/annotations/run.oci.keep_original_groups");
    if keep.is_none() {
        // The kernel refuses this in a user namespace that an ordinary user made.
        let _ = setgroups(&[]);
    }
}

/// Gives the container its share of the cache and of the memory's bandwidth (resctrl).
fn set_rdt(document: &Document, id: &str, init: Pid, inner: &mut Inner) -> Result<(), Error> {
    let Some(share) = document.pointer("/linux/intelRdt") else {
        return Ok(());
    };
    let refused = |error: serde_json::Error| Error::Refused(format!("linux.intelRdt: {error}"));
    let share: LinuxIntelRdt = serde_json::from_value(share.clone()).map_err(refused)?;
    let (directory, monitoring) = setup_intel_rdt(Some(id), &init, &share)
        .map_err(|error| Error::library("set linux.intelRdt", &error))?;
    inner
        .set_intel_rdt_dir(directory)
        .set_intel_rdt_monitoring_dir(monitoring);
    Ok(())
}

/// The runtime's side while the first process is made.
struct Making<'a> {
    document: &'a Document,
    hook_start: hooks::Start,
    bundle: &'a Path,
    /// Whether the process is born in the cgroup.
    is_born_there: bool,
    cgroup: Option<Cgroup>,
}

impl Runtime for Making<'_> {
    fn place(&self, init: Pid) -> Result<(), Error> {
        tracing::debug!("child process in init(): {init}");
        let Some(cgroup) = &self.cgroup else {
            return Ok(());
        };
        if !self.is_born_there {
            cgroup.place(init, self.document.resources())?;
        }
        affinity::reset(init);
        Ok(())
    }

    fn run_hooks(&self, state: &State) -> Result<(), Error> {
        hooks::EARLY.iter().try_for_each(|point| {
            hooks::run_at(point, self.document, self.hook_start, self.bundle, state)
        })
    }
}

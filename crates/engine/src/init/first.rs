//! The steps of a container's first process, in order.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Process;
use libcontainer::syscall::syscall::SyscallType;
use mounts::{Hierarchy, Mount, Root, Sources};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, setsid};
use serde_json::Value;

use super::channel::{Channel, Message};
use super::namespaces::{Namespaces, enter_time};
use super::sources::{Own, Served};
use super::{Plan, network, settings};
use crate::process::join::{Nobody, become_root};
use crate::process::{self, streams, user};
use crate::{Document, cgroup, hooks};

/// The exit code of a first process that could not become the program.
const FAILURE: i32 = 255;

/// Becomes the container's first process. Reports a failure through the channel, or to the container's
/// standard error once the runtime does not wait any more.
pub(super) fn run(
    plan: &Plan<'_>,
    namespaces: &Namespaces,
    channel: &Channel,
    asks: Option<Channel>,
) -> ! {
    // Found before the host's /proc is gone.
    let nobody = Nobody::find();
    let mut first = First {
        plan,
        namespaces,
        channel,
        init: Pid::from_raw(0),
        nobody,
    };
    if let Err(error) = first.prepare(asks).and_then(|()| first.report_ready()) {
        let _ = channel.send(&Message::Failed(error));
        sys::exit_at_once(1)
    }
    let error = first.wait_and_execute();
    let _ = writeln!(io::stderr(), "{error}");
    sys::exit_at_once(FAILURE)
}

struct First<'a> {
    plan: &'a Plan<'a>,
    namespaces: &'a Namespaces,
    channel: &'a Channel,
    /// This process, by its number in the runtime's PID namespace.
    init: Pid,
    nobody: Nobody,
}

/// Refuses an image's `/dev/console` that would be waited for when it is opened.
fn refuse_console() -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt;
    let found = std::fs::symlink_metadata("/dev/console").map(|found| found.file_type());
    match found.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) {
        true => Err("process.terminal: the image's /dev/console is a FIFO or a socket".to_owned()),
        false => Ok(()),
    }
}

/// Names the step that failed.
fn say<E: Into<io::Error>>(step: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{step}: {}", text::message(&error.into()))
}

impl First<'_> {
    fn document(&self) -> &Document {
        self.plan.document
    }

    /// Does everything up to the wait for the start.
    fn prepare(&mut self, asks: Option<Channel>) -> Result<(), String> {
        match self
            .channel
            .receive()
            .map_err(say("wait for the runtime"))?
        {
            Some(Message::Go(init)) => self.init = Pid::from_raw(init),
            _ => return Err("the runtime has ended".to_owned()),
        }
        if self.namespaces.has_users() {
            become_root(self.nobody)?;
        }
        // Processes of the container may be able to look into this one.
        let _ = nix::sys::prctl::set_dumpable(false);
        setsid().map_err(say("setsid"))?;
        // As in runc, whatever the caller's is.
        umask(Mode::from_bits_truncate(0o022));
        let process = process::settings::typed_process(self.document())?;
        let scheduler = &self.document()["process"]["scheduler"];
        process::settings::set_scheduling(&process, scheduler, self.document())?;
        let is_cgroups = |mount: &Mount| matches!(mount.kind(), "cgroup" | "cgroup2");
        let is_wanted = self.plan.mounts.iter().any(is_cgroups);
        // In a cgroup namespace that exists, or beside the `/proc` of others, our own paths are not
        // those of the host's mounts.
        let cgroups = match is_wanted && !self.namespaces.joins_view() {
            // Found where the whole hierarchy is seen.
            true => cgroup::seen(self.namespaces.has_cgroups()),
            false => (None, Vec::new()),
        };
        self.make_namespaces()?;
        let sources: Box<dyn Sources> = match asks {
            Some(channel) => Box::new(Served(channel)),
            None => Box::new(Own),
        };
        let root = self.make_root(sources.as_ref(), cgroups)?;
        drop(sources);
        self.run_hooks(root.path())?;
        root.enter().map_err(|error| error.to_string())?;
        self.complete(root, &process)?;
        self.plan.executor.prepare()
    }

    fn make_namespaces(&self) -> Result<(), String> {
        self.namespaces
            .make_rest()
            .map_err(say("make namespaces"))?;
        if self.document().makes_namespace("network") {
            sys::bring_up_loopback().map_err(say("bring up the loopback interface"))?;
        }
        if self.namespaces.makes_time() {
            if !settings::clock_offsets(self.document()).is_empty() {
                // The file of an undumpable process belongs to the host's root. Others may not look
                // into this process meanwhile.
                let must_open = !self.plan.is_host_root && !self.namespaces.joins();
                let _ = nix::sys::prctl::set_dumpable(must_open);
                let asked = self.channel.ask(&Message::Clocks);
                let _ = nix::sys::prctl::set_dumpable(false);
                asked.map_err(say("set linux.timeOffsets"))?;
            }
            enter_time().map_err(say("enter the time namespace"))?;
        }
        settings::set_names(self.document())
    }

    /// Makes the root file system with all mounts and devices.
    fn make_root(
        &self,
        sources: &dyn Sources,
        (cgroup, hierarchies): (Option<PathBuf>, Vec<Hierarchy>),
    ) -> Result<Root, String> {
        let document = self.document();
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let path = Path::new(document.root_path().unwrap_or_default());
        let propagation = text("/linux/rootfsPropagation").unwrap_or_default();
        let root = Root::attach(path, self.plan.change, propagation, sources);
        let label = text("/linux/mountLabel").map(str::to_owned);
        let make = |root: Root| {
            let mut root = root.with_label(label).with_cgroups(cgroup, hierarchies);
            root.mount_all(&self.plan.mounts, sources)?;
            root.make_devices(&self.plan.devices)?;
            Ok(root)
        };
        root.and_then(make)
            .map_err(|error: mounts::Error| error.to_string())
    }

    /// Has the runtime run its hooks, and runs those of the container's namespaces, in the container's
    /// root, as runc does.
    fn run_hooks(&self, root: &Path) -> Result<(), String> {
        let document = self.document();
        if hooks::EARLY.iter().any(|point| document.has_hooks(point)) {
            let asked = self.channel.ask(&Message::Hooks);
            asked.map_err(say("wait for the runtime's hooks"))?;
        }
        let state = self.plan.state_with(self.init);
        hooks::run_at(
            "createContainer",
            document,
            self.plan.hook_start,
            root,
            &state,
        )
        .map_err(|error| text::one_line(&error))
    }

    /// Makes everything else that the process has, in its root.
    fn complete(&self, mut root: Root, process: &Process) -> Result<(), String> {
        let document = self.document();
        if !root
            .has_others_devices()
            .map_err(|error| error.to_string())?
        {
            streams::reopen_null()?;
        }
        settings::set_sysctls(document)?;
        let syscall = SyscallType::default().create_syscall();
        if let Some(console) = &self.plan.console {
            refuse_console()?;
            let mounts = root.has_own_mounts();
            libcontainer::tty::setup_console(syscall.as_ref(), console.as_raw_fd(), mounts)
                .map_err(|error| format!("process.terminal: {error}"))?;
            streams::set_console_size(process);
        }
        process::settings::set_personality(document)?;
        root.make_directory(process.cwd());
        let is_read_only = document.pointer("/root/readonly") == Some(&Value::Bool(true));
        let paths = |name: &str| document.texts(&format!("/linux/{name}"));
        root.finish(is_read_only)
            .and_then(|()| root.make_read_only(&paths("readonlyPaths")))
            .and_then(|()| root.mask(&paths("maskedPaths")))
            .map_err(|error| error.to_string())?;
        network::set_up_devices(document, self.channel)?;
        drop(root);
        self.plan.executor.close_files()?;
        user::confine(process)?;
        user::become_user_in(process, syscall.as_ref())?;
        syscall
            .close_range(self.plan.preserve_fds)
            .map_err(|error| format!("close descriptors: {error}"))
    }

    fn report_ready(&self) -> Result<(), String> {
        self.channel
            .send(&Message::Ready)
            .map_err(say("report to the runtime"))
    }

    /// Waits for the start, and becomes the program. Returns only on failure.
    fn wait_and_execute(&self) -> String {
        // Without this, the kernel would ignore what a first process does not handle
        // (pid_namespaces(7)).
        sys::end_by_signals();
        let listener = &self.plan.listener;
        let started = listener.wait_for_container_start();
        match started.and_then(|()| listener.close()) {
            Ok(()) => self.plan.executor.execute(),
            Err(error) => format!("wait for the start: {error}"),
        }
    }
}

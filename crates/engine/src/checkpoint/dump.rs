//! Saving a container's processes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::criu::Criu;
use super::{CriuOptions, DESCRIPTORS, EXTERNAL, outside};
use crate::shadow_bundle::write_whole;
use crate::{Container, Error, Status};

/// The extent of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The container is saved, and removed.
    Whole,
    /// The container is saved, and runs on.
    LeaveRunning,
    /// Only the memory is saved, so that a later checkpoint has less to do.
    MemoryFirst,
}

/// The parameters of a checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// CRIU's options.
    pub options: CriuOptions,
    /// The extent of the checkpoint.
    pub extent: Extent,
    /// The directory of an earlier `MemoryFirst`, relative to the directory of the saved files.
    pub parent: Option<PathBuf>,
    /// Whether connections that are being established are left out.
    pub tcp_skip_in_flight: bool,
    /// Whether a file that was removed may be linked again.
    pub link_remap: bool,
    /// The descriptor to which a zero byte is written once CRIU is ready to serve pages.
    pub status_fd: Option<i32>,
    /// The address and port to which memory is sent, instead of to files.
    pub page_server: Option<(String, u16)>,
}

/// Saves a container's processes.
///
/// # Errors
///
/// Fails when the container does not run, has a terminal, or has something that CRIU cannot save.
/// The container then runs on.
pub fn checkpoint(container: Container, request: &Checkpoint) -> Result<(), Error> {
    if container.status() != Status::Running {
        return Err(Error::WrongStatus("container not running".into()));
    }
    let pid = container.pid().ok_or(Error::Missing)?;
    if let Some(parent) = &request.parent {
        let refused = |reason| {
            Err(Error::Criu(format!(
                "--parent-path {}: {reason}",
                parent.display()
            )))
        };
        if parent.is_absolute() {
            return refused("it must be relative to the directory of the saved files");
        }
        if !request.options.images.join(parent).is_dir() {
            return refused("it is no directory");
        }
    }
    let document = container.document()?;
    if document.has_terminal() {
        return Err(Error::Criu(
            "a container with a terminal cannot be saved".to_owned(),
        ));
    }
    let verb = match request.extent {
        Extent::MemoryFirst => "pre-dump",
        _ => "dump",
    };
    let mut criu = Criu::new(verb, &request.options)?;
    let command = &mut criu.command;
    command.args(["--tree", &pid.to_string()]);
    command.args(["--root", document.root_path().unwrap_or("/")]);
    for (destination, _) in outside(&document) {
        command.args(["--external", &format!("mnt[{destination}]:{destination}")]);
    }
    for (kind, name, key) in EXTERNAL {
        if let Some(path) = document.joined_namespace(kind) {
            let namespace = fs::metadata(path).map_err(Error::state("open", path))?;
            command.args(["--external", &format!("{name}[{}]:{key}", namespace.ino())]);
        }
    }
    match request.extent {
        Extent::Whole => {}
        Extent::LeaveRunning => drop(command.arg("--leave-running")),
        Extent::MemoryFirst => drop(command.arg("--track-mem")),
    }
    if let Some(parent) = &request.parent {
        command
            .arg("--track-mem")
            .arg("--prev-images-dir")
            .arg(parent);
    }
    if request.tcp_skip_in_flight {
        command.arg("--skip-in-flight");
    }
    if request.link_remap {
        command.arg("--link-remap");
    }
    if let Some(fd) = request.status_fd {
        command.args(["--status-fd", &fd.to_string()]);
    }
    if let Some((address, port)) = &request.page_server {
        command.args([
            "--page-server",
            "--address",
            address,
            "--port",
            &port.to_string(),
        ]);
    }
    let streams: Vec<String> = (0..3)
        .map(|number| fs::read_link(format!("/proc/{pid}/fd/{number}")))
        .map(|target| target.map_or_else(|_| "/dev/null".into(), |path| path.display().to_string()))
        .collect();
    criu.run()?;
    let text = serde_json::to_vec(&streams).unwrap_or_default();
    write_whole(&request.options.images.join(DESCRIPTORS), &text)?;
    match request.extent {
        Extent::Whole => container.remove(true),
        _ => Ok(()),
    }
}

//! Why there is no session.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no session. One variant per step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A process could not be made.
    #[error("start the session's builder")]
    Fork(#[source] io::Error),
    /// The builder's socket failed, or the builder ended without a message.
    #[error("the session's builder ended before the container was ready")]
    Protocol(#[source] io::Error),
    /// A process that built the session was stopped.
    #[error(
        "the process that builds the container was stopped (SIGSTOP) and has been killed; try again"
    )]
    Stopped,
    /// User namespaces are not available.
    #[error("create a user namespace")]
    UserNamespace(#[source] io::Error),
    /// The ids could not be mapped.
    #[error("map user and group ids in {}", path.display())]
    IdMap {
        /// The file of `/proc` that refused the map.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The ids that are delegated to the caller were mapped in part.
    #[error("map the delegated users and groups: {0}; --ignore-subuid does without them")]
    Delegated(String),
    /// The mount or cgroup namespace could not be made.
    #[error("create a mount namespace")]
    MountNamespace(#[source] io::Error),
    /// No directory of the host can be covered by the session.
    #[error(
        "no free top-level directory to mount the session on: all are bound into the container"
    )]
    NoDirectory,
    /// A mount failed.
    #[error("mount {what} on {}", target.display())]
    Mount {
        /// The source of the mount, or a description.
        what: String,
        /// The mount point.
        target: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A directory cannot keep changes.
    #[error("overlay {}", path.display())]
    Overlay {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file or directory of the session could not be made.
    #[error("write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The image could not be extracted.
    #[error("extract the image to {}", path.display())]
    Extract {
        /// The target directory.
        path: PathBuf,
        /// The cause.
        source: squashfs::Error,
    },
    /// The engine could not make the container.
    #[error("create the container: {0}")]
    Engine(String),
    /// The container's namespaces could not be opened.
    #[error("open the container's {what} namespace")]
    Namespace {
        /// The kind of namespace.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The namespaces could not be opened by the caller.
    #[error("open the container's namespaces")]
    OpenNamespaces(#[source] io::Error),
    /// The namespaces could not be entered.
    #[error("enter the container's namespaces")]
    Enter(#[source] io::Error),
    /// There is an instance of that name.
    #[error("instance {0} already exists")]
    Taken(String),
    /// The name of an instance is held by another process.
    #[error(
        "the name {0} is held by a process of another user, or by an instance that is starting or \
         stopping; try again, or choose another name"
    )]
    Held(String),
    /// An instance's monitor does not answer.
    #[error(
        "instance {0} does not answer: its name is held by a process of another user, or it receives too many connections; try again"
    )]
    Busy(String),
    /// The instance has ended meanwhile.
    #[error("the instance has ended")]
    Ended,
    /// The instances could not be listed.
    #[error("list the instances in /proc/net/unix")]
    Instances(#[source] io::Error),
    /// There was no time to ask under all names.
    #[error(
        "too many socket names are taken by other processes; not all could be queried in 2 s; see /proc/net/unix"
    )]
    TooManyNames,
    /// The instance could not be signalled.
    #[error("signal the instance")]
    Signal(#[source] io::Error),
    /// An error that the builder reported, as text.
    #[error("{0}")]
    Builder(String),
}

/// Returns a function that turns an errno of mount(2) into an error.
pub(crate) fn mount_error<'a>(
    what: &'a str,
    target: &'a Path,
) -> impl FnOnce(nix::errno::Errno) -> Error + 'a {
    move |errno| Error::Mount {
        what: what.to_owned(),
        target: target.to_owned(),
        source: errno.into(),
    }
}

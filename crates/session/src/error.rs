//! Why there is no session.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no session. One variant per step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A process could not be made.
    #[error("start the session's builder: {0}")]
    Fork(#[source] io::Error),
    /// The builder's socket failed, or the builder ended without a word.
    #[error("the session's builder ended before the container was ready: {0}")]
    Protocol(#[source] io::Error),
    /// A process that built the session was stopped.
    #[error(
        "a process that builds the container was stopped (SIGSTOP) by another of this user, and was ended; try again"
    )]
    Stopped,
    /// User namespaces are not to be had.
    #[error("create a user namespace: {source}{hint}")]
    UserNamespace {
        /// Why.
        source: io::Error,
        /// What to do about it, after a separator; empty if unknown.
        hint: &'static str,
    },
    /// The ids could not be mapped.
    #[error("map user and group ids in {}: {source}", path.display())]
    IdMap {
        /// The file of `/proc` that refused.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mount or cgroup namespace could not be made.
    #[error("create a mount namespace: {0}")]
    MountNamespace(#[source] io::Error),
    /// No directory of the host can carry the session.
    #[error(
        "no directory to mount the session on: each at the top of the host's tree is bound into the container"
    )]
    NoDirectory,
    /// A mount failed.
    #[error("mount {what} on {}: {source}", target.display())]
    Mount {
        /// What was to be mounted.
        what: String,
        /// Where.
        target: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory of the session could not be made.
    #[error("write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image could not be extracted.
    #[error("extract the image to {}: {source}", path.display())]
    Extract {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: squashfs::Error,
    },
    /// The engine could not make the container.
    #[error("create the container: {0}")]
    Engine(String),
    /// The container's namespaces could not be opened.
    #[error("open the container's {what} namespace: {source}")]
    Namespace {
        /// Which namespace.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The namespaces could not be opened by the caller.
    #[error("open the container's namespaces: {0}")]
    OpenNamespaces(#[source] io::Error),
    /// The namespaces could not be entered.
    #[error("enter the container's namespaces: {0}")]
    Enter(#[source] io::Error),
    /// There is an instance of that name.
    #[error("instance {0} already exists")]
    Taken(String),
    /// Somebody else is in the place of an instance.
    #[error(
        "the name {0} is held by a process of another user, or by an instance that is just starting or \
         ending: try again, or choose another"
    )]
    Held(String),
    /// An instance's monitor does not answer.
    #[error(
        "instance {0} does not answer: its name is held by a process of another user, or others call it without end; try again"
    )]
    Busy(String),
    /// The instance has ended meanwhile.
    #[error("the instance has ended")]
    Ended,
    /// The instances could not be listed.
    #[error("list the instances in /proc/net/unix: {0}")]
    Instances(#[source] io::Error),
    /// There was no time to ask under all names.
    #[error(
        "other processes have taken too many names of sockets, and not all could be asked in two seconds; \
         /proc/net/unix lists them"
    )]
    TooManyNames,
    /// The instance could not be told.
    #[error("signal the instance: {0}")]
    Signal(#[source] io::Error),
    /// What the builder reported, already in words.
    #[error("{0}")]
    Builder(String),
}

/// Returns what turns an errno of mount(2) into an error.
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

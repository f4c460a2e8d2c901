//! A container's process: how it joins, which privileges it drops, and how it becomes its program.

pub(crate) mod affinity;
pub(crate) mod drop_privileges;
pub(crate) mod exec;
pub(crate) mod join;
pub(crate) mod rlimits;
pub(crate) mod scheduling;
pub(crate) mod selinux;
pub(crate) mod settings;
pub(crate) mod streams;
pub(crate) mod user;

/// Names the step that failed.
fn say<E: std::fmt::Display>(step: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{step}: {error}")
}

/// The last steps of a container's first process, in its root and as its user.
pub trait Executor: std::fmt::Debug {
    /// Closes the host's files, before paths of the container are followed: a link may lead to any
    /// of them by `/proc/self/fd` (CVE-2024-21626).
    ///
    /// # Errors
    ///
    /// Returns a message about a file that cannot be closed.
    fn close_files(&self) -> Result<(), String> {
        Ok(())
    }

    /// Prepares the program, and drops the rights that are not needed to start it. The container is
    /// ready to be started then.
    ///
    /// # Errors
    ///
    /// Returns a message about a program that cannot be started.
    fn prepare(&self) -> Result<(), String>;

    /// Becomes the program.
    fn execute(&self) -> !;
}

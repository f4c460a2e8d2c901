//! A process of a container's: how it joins, what it gives up, and how it becomes its program.

pub(crate) mod drop_privileges;
pub(crate) mod exec;
pub(crate) mod join;
pub(crate) mod rlimits;
pub(crate) mod selinux;

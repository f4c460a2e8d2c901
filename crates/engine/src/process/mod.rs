//! A container's process: how it joins, which privileges it drops, and how it becomes its program.

pub(crate) mod drop_privileges;
pub(crate) mod exec;
pub(crate) mod join;
pub(crate) mod rlimits;
pub(crate) mod selinux;

//! Drives libcontainer: create, start, wait, kill, delete, state.
//!
//! libcontainer stays a plain dependency. What it refuses but the specification allows is put
//! right in front of it ([`normalise`]), what it gets wrong around it is done here.

#![forbid(unsafe_code)]

mod cgroup;
mod checkpoint;
mod container;
mod create;
mod error;
mod exec;
mod fd_passing;
mod first_process;
mod foreground;
mod home;
mod hooks_dir;
mod identifier;
mod leftovers;
mod namespaces;
pub mod normalise;
mod pidfd;
mod proc_mounts;
mod process;
mod rdt;
mod scratch;
mod seccomp;
mod shadow_bundle;
mod stage;
mod state;
mod supervise;
mod terminal;
mod userns;
mod watch;

pub use cgroup::{HOOK_OUTSIDE, cover_cgroups, hook_outside, own_cgroup};
pub use checkpoint::{Checkpoint, CriuOptions, Extent, Restore, checkpoint, restore};
pub use container::{Container, forget, list};
pub use create::{Create, ExecutorBox, create};
pub use error::Error;
pub use exec::{Exec, exec};
pub use foreground::{Foreground, run};
pub use libcontainer::oci_spec::runtime::Spec;
pub use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
pub use scratch::free_directory;
pub use state::{State, Status};
pub use userns::in_user_namespace;
pub use watch::{Event, Watch};

//! Drives libcontainer: create, start, wait, kill, delete, state.
//!
//! libcontainer stays a plain dependency. Specifications that it refuses although they are valid
//! are corrected beforehand ([`normalise`]). Steps that it gets wrong are done here.

#![forbid(unsafe_code)]

mod cgroup;
mod checkpoint;
mod claims;
mod container;
mod create;
mod descendants;
mod document;
mod error;
mod exec;
mod first_process;
mod foreground;
mod home;
mod hooks;
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
mod state_root;
mod supervise;
mod terminal;
mod userns;
mod watch;
mod workers;

pub use cgroup::{mask_cgroups, own_cgroup};
pub use checkpoint::{Checkpoint, CriuOptions, Extent, Restore, checkpoint, restore};
pub use container::Container;
pub use create::surroundings::bring_up_loopback;
pub use create::{Create, ExecutorBox, create};
pub use document::Document;
pub use error::Error;
pub use exec::{Exec, exec};
pub use foreground::{Foreground, run};
pub use hooks::{HOOK, LOOK, become_hook, look_at_mounts};
pub use libcontainer::oci_spec::runtime::Spec;
pub use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
pub use scratch::free_directory;
pub use state::{State, Status};
pub use state_root::{forget, list};
pub use userns::in_user_namespace;
pub use watch::{Event, Watch};

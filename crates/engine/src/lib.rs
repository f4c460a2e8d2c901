//! Containers: create, start, wait, kill, delete, state.
//!
//! The first process of a container is made here. libcontainer and libcgroups have the types of the
//! specification, the format of the state, the cgroups, and single system calls.

#![forbid(unsafe_code)]

mod cgroup;
mod check;
mod checkpoint;
mod claims;
mod container;
mod create;
mod descendants;
mod document;
mod endings;
mod error;
mod exec;
mod first_process;
mod foreground;
mod home;
mod hooks;
mod identifier;
mod init;
mod namespaces;
pub mod normalise;
mod pidfd;
mod process;
mod rdt;
mod readiness;
mod scratch;
mod seccomp;
mod shadow_bundle;
mod state;
mod state_root;
mod supervise;
mod terminal;
mod userns;
mod watch;
mod workers;

pub use cgroup::{is_unified as has_unified_cgroups_alone, mask_cgroups, own_cgroup};
pub use checkpoint::{Checkpoint, CriuOptions, Extent, Restore, checkpoint, restore};
pub use container::Container;
pub use create::{Create, create};
pub use document::Document;
pub use error::Error;
pub use exec::{Exec, exec};
pub use foreground::{Foreground, run};
pub use hooks::{HOOK, become_hook};
pub use libcontainer::oci_spec::runtime::Spec;
pub use mounts::words as mount_options;
pub use process::Executor;
pub use scratch::free_directory;
pub use state::{State, Status};
pub use state_root::{forget, list};
pub use userns::in_user_namespace;
pub use watch::{Event, Watch};

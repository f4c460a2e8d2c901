//! Sessions: namespaces that an unprivileged user can have, and the image mounted in them.
//!
//! Three processes take part, and at most two stay.
//!
//! - The **caller** asks for a session, waits until it is ready, [enters](Namespaces::enter) its
//!   namespaces and becomes the payload by exec. No process of ours stands between a launcher and
//!   its program: pid, session, process group, terminal, descriptors, signals and exit status are
//!   the program's own.
//! - The **builder**, which is not a child of the caller, makes the namespaces, mounts the image,
//!   and has the engine make the container from the bundle. It then hands the namespaces over and
//!   becomes the **monitor**: it admits other callers with the same request, such as the ranks of a
//!   job, waits for the end of the last member, and ends the processes that a killed member left.
//! - An **instance** outlives its caller. Its first process is the container's own, in a pid
//!   namespace, and its monitor stays until that process ends. Others join it through a child
//!   process.
//! - The **server** answers for a squashfs over FUSE, if the user has no privileges. It stays
//!   outside the mount namespace, so that the kernel ends the mount, and with it the server, when
//!   the last process inside is gone.

#![forbid(unsafe_code)]

mod builder;
mod call;
mod caller;
mod cgroup;
mod client;
mod connections;
mod delegated;
mod directories;
mod error;
mod execute;
mod fuse;
mod image_mount;
mod instance;
mod layers;
mod layout;
mod list;
mod monitor;
mod mounts;
mod name;
mod nested;
mod observer;
mod payload;
mod peer;
mod process;
mod protocol;
mod proxy;
mod root_filter;
mod secret;
mod spec;
mod stopped;
mod userns;

pub use client::{BuildPermit, Lookup, Namespaces, lookup, open};
pub use error::Error;
pub use fuse::mount_fuse;
pub use instance::{Instance, Running, Start};
pub use layout::Layout;
pub use name::identity;
pub use nested::enter_nested_namespace;
pub use payload::{
    ExecError, Payload, enter_directory, enter_same_directory, exec, find_program, isolate,
    limit_privileges,
};
pub use root_filter::act_as_root;
pub use spec::{Changes, Note, SessionSpec, Users, WorkingDirectory};
pub use userns::{
    become_root_of_delegated_users, has_other_users, is_real_root as is_privileged, try_namespaces,
};

pub use list::{Listed, Shared};
pub use observer::Observer;

//! System calls without a safe wrapper, each as one function. The only crate with unsafe code.

#![allow(unsafe_code)]

mod bpf;
mod containment;
mod descriptors;
mod environment;
mod fd_passing;
mod file;
mod heap;
mod kernel;
mod keyring;
mod kill;
mod limits;
mod loopback;
mod loopdev;
mod mountattr;
mod mounts;
mod name_service;
mod namespace;
mod new_mount;
mod peer;
mod pidfd;
mod process;
mod process_stat;
mod read;
mod scheduler;
mod seccomp;
mod signals;
mod start;

pub use bpf::{attach_device_program, replace_device_programs};
pub use containment::forbid_terminal_input_and_keys;
pub use descriptors::{
    Inherited, close_all_except, close_inherited, has_reader, inherited_among, let_go_of_files,
    let_go_of_own_files,
};
pub use environment::wipe_environment;
pub use fd_passing::{Received, connect, receive_fd, receive_with_fd, send_fd};
pub use file::replace_file;
pub use heap::keep_freed_memory;
pub use kernel::check_kernel;
pub use keyring::new_session_keyring;
pub use kill::kill;
pub use limits::{LowLimit, raise_low_limits, restore_limits};
pub use loopback::bring_up_loopback;
pub use loopdev::attach_loop;
pub use mountattr::{
    MountAttributes, Propagation, change_mount, map_mount_ids, mount_bits, set_all_read_only,
    set_mount_attributes, set_mount_propagation,
};
pub use mounts::{MountInfo, mount_points};
pub use name_service::load_no_name_service;
pub use namespace::{in_first_user_namespace, parent_user_namespace};
pub use new_mount::{bind, bind_open, errno_of, new_file_system, new_file_system_of};
pub use peer::peer_process;
pub use pidfd::exit_status;
pub use process::{Fork, exit_at_once, fork, fork_at, fork_into, fork_untraced};
pub use process_stat::ProcessStat;
pub use read::{open_regular, read_all, read_at_most, read_file};
pub use scheduler::{Scheduling, set_personality, set_scheduling};
pub use seccomp::{
    SECCOMP_LOG, SECCOMP_NEW_LISTENER, SECCOMP_SPEC_ALLOW, SECCOMP_WAIT_KILLABLE,
    filter_instruction, load_seccomp,
};
pub use signals::{
    Children, end_by_signals, heed_children, is_ignored, reset_broken_pipe, reset_signals,
};
pub use start::{ExitCode, start};

//! System calls that no safe wrapper covers, each as one function, and errors in words. The only
//! crate with unsafe code.

#![allow(unsafe_code)]

mod bpf;
mod containment;
mod descriptors;
mod device_program;
mod file;
mod heap;
mod keyring;
mod kill;
mod limits;
mod loopdev;
mod mountattr;
mod mounts;
mod name_service;
mod namespace;
mod peer;
mod pidfd;
mod process;
mod process_stat;
mod read;
mod seccomp;
mod signal_names;
mod signals;
mod start;
mod words;

pub use bpf::{attach_device_program, widen_device_programs};
pub use containment::forbid_terminal_input_and_keys;
pub use descriptors::{Inherited, close_all_except, close_inherited, let_go_of_own_files};
pub use device_program::DeviceRule;
pub use file::replace_file;
pub use heap::keep_freed_memory;
pub use keyring::new_session_keyring;
pub use kill::kill;
pub use limits::{LowLimit, raise_low_limits, restore_limits};
pub use loopdev::attach_loop;
pub use mountattr::{
    MountAttributes, Propagation, map_mount_ids, set_all_read_only, set_mount_attributes,
    set_mount_propagation,
};
pub use mounts::mount_points;
pub use name_service::load_no_name_service;
pub use namespace::parent_user_namespace;
pub use peer::peer_process;
pub use pidfd::exit_status;
pub use process::{Fork, exit_at_once, fork, fork_at, fork_untraced};
pub use process_stat::ProcessStat;
pub use read::{open_regular, read_all, read_at_most, read_file};
pub use seccomp::{
    SECCOMP_LOG, SECCOMP_NEW_LISTENER, SECCOMP_SPEC_ALLOW, SECCOMP_WAIT_KILLABLE, load_seccomp,
};
pub use signal_names::signal_number;
pub use signals::{Children, heed_children, reset_broken_pipe, reset_signals};
pub use start::{ExitCode, start};
pub use words::{one_line, printable, printable_lines, words};

//! `slipway create`

use anyhow::Result;
use sys::ExitCode;

use crate::cli::{Create, Global};

pub fn run(global: &Global, args: Create) -> Result<ExitCode> {
    engine::create(request(global, args)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the engine's request, for `create` and for `run`.
pub fn request(global: &Global, args: Create) -> Result<engine::Create> {
    let root = super::root(global)?;
    super::close_to_others(global, &root)?;
    Ok(engine::Create {
        pid_file: args.pid_file,
        console_socket: args.console_socket,
        preserve_fds: args.preserve_fds.into(),
        config: args.config,
        pidfd_socket: args.pidfd_socket,
        no_new_keyring: args.no_new_keyring,
        no_pivot: args.no_pivot,
        systemd_cgroup: global.systemd_cgroup,
        notify_socket: super::notify_socket(),
        hooks_directories: global.hooks_dir.clone(),
        ..engine::Create::new(args.id, root, args.bundle)
    })
}

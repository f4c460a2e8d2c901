//! `slipway restore`

use anyhow::Result;
use engine::{Create, Foreground};
use sys::ExitCode;

use crate::cli::{Global, Restore};

pub fn run(global: &Global, args: Restore) -> Result<ExitCode> {
    let mode = if args.detach {
        Foreground::Detached
    } else {
        Foreground::Attached { keep: false }
    };
    let request = engine::Restore {
        container: Create {
            pid_file: args.pid_file,
            systemd_cgroup: global.systemd_cgroup,
            ..Create::new(args.id, super::root(global)?, args.bundle)
        },
        options: super::checkpoint::options(global, args.criu),
        lsm_profile: args.lsm_profile,
        lsm_mount_context: args.lsm_mount_context,
    };
    Ok(ExitCode::from(engine::restore(request, mode)?))
}

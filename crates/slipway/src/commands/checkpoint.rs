//! `slipway checkpoint`

use anyhow::{Context, Result};
use engine::{CriuOptions, Extent};
use sys::ExitCode;

use crate::cli::{Checkpoint, Criu, Global};

pub fn run(global: &Global, args: Checkpoint) -> Result<ExitCode> {
    let container = super::load(global, &args.id)?;
    let extent = match (args.pre_dump, args.leave_running) {
        (true, _) => Extent::MemoryFirst,
        (false, true) => Extent::LeaveRunning,
        (false, false) => Extent::Whole,
    };
    let request = engine::Checkpoint {
        options: options(global, args.criu),
        extent,
        parent: args.parent_path,
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        status_fd: args.status_fd,
        page_server: args.page_server.as_deref().map(address).transpose()?,
    };
    engine::checkpoint(container, &request)?;
    Ok(ExitCode::SUCCESS)
}

fn address(text: &str) -> Result<(String, u16)> {
    let expected = || format!("--page-server {text}: expected ADDRESS:PORT");
    let (address, port) = text.rsplit_once(':').with_context(expected)?;
    Ok((address.to_owned(), port.parse().with_context(expected)?))
}

/// Returns the options of CRIU, for `checkpoint` and for `restore`.
pub fn options(global: &Global, args: Criu) -> CriuOptions {
    CriuOptions {
        program: global.criu.clone(),
        images: args.image_path.unwrap_or_else(|| "checkpoint".into()),
        work: args.work_path,
        tcp_established: args.tcp_established,
        external_sockets: args.ext_unix_sk,
        shell_job: args.shell_job,
        file_locks: args.file_locks,
        lazy_pages: args.lazy_pages,
        auto_dedup: args.auto_dedup,
        manage_cgroups: args.manage_cgroups_mode,
        empty_network: args.empty_ns.is_some(),
    }
}

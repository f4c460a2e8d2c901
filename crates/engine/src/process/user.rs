//! The user of a container's process, the directory that it begins in, and its confinement.

use std::path::Path;

use libcontainer::oci_spec::runtime::{Process, User};
use libcontainer::syscall::Syscall;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chdir, setgroups};

use crate::process::say;

/// Confines the calling process as far as this lasts over the start of a program: the profile of
/// AppArmor, no new privileges, and the umask.
pub(crate) fn confine(process: &Process) -> Result<(), String> {
    if let Some(profile) = process
        .apparmor_profile()
        .as_ref()
        .filter(|profile| !profile.is_empty())
    {
        libcontainer::apparmor::apply_profile(profile).map_err(say("process.apparmorProfile"))?;
    }
    if process.no_new_privileges() == Some(true) {
        nix::sys::prctl::set_no_new_privs().map_err(say("process.noNewPrivileges"))?;
    }
    if let Some(bits) = process.user().umask() {
        umask(Mode::from_bits_truncate(bits));
    }
    Ok(())
}

/// Enters the directory and becomes the user. The directory is entered first with the rights of root,
/// as in runc, and then as the user: it may be on a file system that refuses root.
pub(crate) fn become_user_in(process: &Process, syscall: &dyn Syscall) -> Result<(), String> {
    let cwd = process.cwd();
    let entered = enter_directory(cwd);
    become_user(process.user(), syscall)?;
    if entered.is_err() {
        enter_directory(cwd)?;
    }
    refuse_outside(cwd)
}

fn enter_directory(cwd: &Path) -> Result<(), String> {
    chdir(cwd).map_err(|errno| {
        format!(
            "chdir to cwd {:?}: {}",
            cwd.display().to_string(),
            text::message(&errno.into())
        )
    })?;
    refuse_outside(cwd)
}

/// Refuses a working directory outside the container. Asks the kernel directly: the C library may
/// hide that the directory is "(unreachable)", getcwd(3).
fn refuse_outside(cwd: &Path) -> Result<(), String> {
    let found = rustix::process::getcwd(Vec::new());
    if found.is_ok_and(|path| path.as_bytes().starts_with(b"/")) {
        return Ok(());
    }
    Err(format!(
        "cwd {:?} leads to a directory outside of the container, or to one that was removed",
        cwd.display().to_string()
    ))
}

fn become_user(user: &User, syscall: &dyn Syscall) -> Result<(), String> {
    let groups: Vec<Gid> = user
        .additional_gids()
        .iter()
        .flatten()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    match setgroups(&groups) {
        Ok(()) => {}
        // Not permitted in a user namespace made by an ordinary user.
        Err(Errno::EPERM) if groups.is_empty() => {}
        Err(errno) => return Err(say("process.user.additionalGids")(errno)),
    }
    syscall
        .set_id(Uid::from_raw(user.uid()), Gid::from_raw(user.gid()))
        .map_err(say("process.user"))
}

//! A filter of system calls for root of a user namespace with one user. It answers success to requests
//! of root that the kernel would refuse there, and which package managers make: to give files to
//! other users, to become another user, to make devices. Nothing is done, so all files belong to
//! root, who is the caller outside.
//!
//! Charliecloud has shown that this is enough for most packages ([Priedhorsky 2024]).
//!
//! [Priedhorsky 2024]: https://arxiv.org/abs/2405.06085

use std::collections::BTreeMap;
use std::fs;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use sys::filter_instruction as instruction;

use crate::ExecError;
use crate::delegated::ids;

/// Makes the calling process root of its user namespace, as far as programs can tell: loads the
/// filter. A namespace with other users needs it only for devices.
///
/// # Errors
///
/// Fails when the kernel refuses the filter, and on machines for which there is none.
pub fn act_as_root() -> Result<(), ExecError> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let program = program(is_single(&map))
        .map_err(|reason| ExecError::Filter(std::io::Error::other(reason.to_string())))?;
    sys::load_seccomp(&program, 0).map_err(ExecError::Filter)?;
    Ok(())
}

/// Whether a namespace has one user, from its map.
fn is_single(map: &str) -> bool {
    ids(map) < 2
}

/// Calls that do nothing and succeed, whatever their arguments.
#[cfg(target_arch = "x86_64")]
const OLD: [i64; 3] = [libc::SYS_chown, libc::SYS_lchown, libc::SYS_mknod];
#[cfg(not(target_arch = "x86_64"))]
const OLD: [i64; 0] = [];

/// setxattrat(2), which the C library has no number for; the same on all machines since Linux 6.13.
const SETXATTRAT: i64 = 463;

/// Calls that give files to others, change the caller's users and groups, or set attributes that
/// only root may set. The name of an attribute is in memory, where a filter cannot look.
const IDENTITY: [i64; 15] = [
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
];

/// Makes the filter. `is_single` says whether root is the only user.
fn program(is_single: bool) -> Result<Vec<u64>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    if is_single {
        let old = OLD.into_iter().filter(|call| !is_mknod(*call));
        rules.extend(
            IDENTITY
                .into_iter()
                .chain(old)
                .map(|call| (call, Vec::new())),
        );
    }
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_mknod, devices(1)?);
    rules.insert(libc::SYS_mknodat, devices(2)?);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        // The kernel takes this as the result 0.
        SeccompAction::Errno(0),
        architecture,
    )?;
    let compiled: BpfProgram = filter.try_into()?;
    // The filter ends processes of another architecture. Programs of 32 bits shall run, without
    // its help.
    let first = compiled.first().map(|load| load.k).unwrap_or_default();
    let native = compiled.get(1).map(|jump| jump.k).unwrap_or_default();
    let mut program = vec![
        instruction(LOAD, 0, 0, first),
        instruction(JUMP_IF_EQUAL, 1, 0, native),
        instruction(RETURN, 0, 0, ALLOW),
    ];
    let own = compiled.iter();
    program.extend(own.map(|one| instruction(one.code, one.jt, one.jf, one.k)));
    Ok(program)
}

#[cfg(target_arch = "x86_64")]
fn is_mknod(call: i64) -> bool {
    call == libc::SYS_mknod
}

#[cfg(not(target_arch = "x86_64"))]
fn is_mknod(_: i64) -> bool {
    false
}

/// Returns the rules for a call that makes a file, if the file is a device. The mode is the argument
/// of this number.
fn devices(mode: u8) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let kinds = [libc::S_IFCHR, libc::S_IFBLK].into_iter();
    let rules = kinds.map(|kind| {
        let mask = SeccompCmpOp::MaskedEq(u64::from(libc::S_IFMT));
        let is_kind = SeccompCondition::new(mode, SeccompCmpArgLen::Dword, mask, u64::from(kind));
        SeccompRule::new(vec![is_kind?])
    });
    rules.collect()
}

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K` and `BPF_RET | BPF_K` of `linux/filter.h`.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;

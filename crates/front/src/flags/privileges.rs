//! The privileges of a container's program.

use std::str::FromStr;

use anyhow::{Result, bail};
use caps::{Capability, CapsHashSet};
use clap::Args;

use super::{Group, Variable};
use crate::variables::Variables;

/// The flags for privileges.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Privileges")]
pub struct PrivilegeFlags {
    /// Be root inside: package managers work, and files that it makes belong to you
    #[arg(short, long)]
    pub fakeroot: bool,
    /// Add capabilities, several separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub add_caps: Vec<String>,
    /// Drop capabilities, several separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub drop_caps: Vec<String>,
    /// Drop all capabilities of root
    #[arg(long)]
    pub no_privs: bool,
    /// Do nothing: root keeps its capabilities by default
    #[arg(long, hide = true)]
    pub keep_privs: bool,
    /// Do nothing for root, whose containers run setuid programs by default
    #[arg(long, hide = true)]
    pub allow_setuid: bool,
    /// Map only one user with --fakeroot, even if the user has subordinate ones
    #[arg(long, hide = true)]
    pub ignore_subuid: bool,
    /// Do nothing: front never uses the program fakeroot
    #[arg(long, hide = true)]
    pub ignore_fakeroot_command: bool,
}

const FAKEROOT: Variable = Variable::of("fakeroot", &["FAKEROOT"]);
const ADD_CAPS: Variable = Variable::of("add_caps", &["ADD_CAPS"]);
const DROP_CAPS: Variable = Variable::of("drop_caps", &["DROP_CAPS"]);
const NO_PRIVS: Variable = Variable::of("no_privs", &["NO_PRIVS"]);
const KEEP_PRIVS: Variable = Variable::of("keep_privs", &["KEEP_PRIVS"]);
const ALLOW_SETUID: Variable = Variable::of("allow_setuid", &["ALLOW_SETUID"]);
pub(super) const IGNORE_SUBUID: Variable = Variable::of("ignore_subuid", &["IGNORE_SUBUID"]);
const IGNORE_FAKEROOT_COMMAND: Variable =
    Variable::of("ignore_fakeroot_command", &["IGNORE_FAKEROOT_COMMAND"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[
    FAKEROOT,
    ADD_CAPS,
    DROP_CAPS,
    NO_PRIVS,
    KEEP_PRIVS,
    ALLOW_SETUID,
    IGNORE_SUBUID,
    IGNORE_FAKEROOT_COMMAND,
];

/// The privileges of a container's program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Privileges {
    /// Whether the caller is root inside. Never set for real root.
    pub fakeroot: Option<Fakeroot>,
    /// The capabilities to add, sorted.
    pub added: Vec<u8>,
    /// The capabilities to drop, sorted.
    pub dropped: Vec<u8>,
    /// Words that name no capability.
    pub unknown: Vec<String>,
}

/// The users that exist inside for a caller who is root there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fakeroot {
    /// Those that the system has delegated to the caller, or else root alone.
    Delegated,
    /// Root alone.
    Single,
}

impl Group for PrivilegeFlags {
    const LONG: &'static [&'static str] = &[
        "fakeroot",
        "add-caps",
        "drop-caps",
        "no-privs",
        "keep-privs",
        "allow-setuid",
        "ignore-subuid",
        "ignore-fakeroot-command",
    ];
    const SHORT: &'static str = "f";
}

impl PrivilegeFlags {
    /// Combines flags and variables.
    ///
    /// # Errors
    ///
    /// Fails on invalid values, and on flags that only real root may use.
    pub fn resolve(&self, variables: &Variables) -> Result<Privileges> {
        for (name, flag, variable) in [
            ("--allow-setuid", self.allow_setuid, ALLOW_SETUID),
            ("--keep-privs", self.keep_privs, KEEP_PRIVS),
        ] {
            if (flag || variables.is_set(&variable)?) && !session::is_privileged() {
                bail!("{name} requires root privileges");
            }
        }
        let list = |flags: &[String], variable: &Variable| match flags.is_empty() {
            true => variables.list(variable),
            false => flags.to_vec(),
        };
        let mut unknown = Vec::new();
        let added = numbers(&list(&self.add_caps, &ADD_CAPS), &mut unknown);
        let mut dropped = numbers(&list(&self.drop_caps, &DROP_CAPS), &mut unknown);
        if self.no_privs || variables.is_set(&NO_PRIVS)? {
            dropped = all().filter(|number| !added.contains(number)).collect();
        }
        let single = self.ignore_subuid || variables.is_set(&IGNORE_SUBUID)?;
        let fakeroot = self.fakeroot || variables.is_set(&FAKEROOT)?;
        let fakeroot = fakeroot && !session::is_privileged();
        let kind = match single {
            true => Fakeroot::Single,
            false => Fakeroot::Delegated,
        };
        Ok(Privileges {
            fakeroot: fakeroot.then_some(kind),
            added,
            dropped,
            unknown,
        })
    }
}

fn all() -> impl Iterator<Item = u8> {
    let mut all: Vec<u8> = caps::all().iter().map(Capability::index).collect();
    all.sort_unstable();
    all.into_iter()
}

/// Returns the numbers of capabilities, sorted. Words that name none are added to `unknown`.
fn numbers(words: &[String], unknown: &mut Vec<String>) -> Vec<u8> {
    let mut numbers = Vec::new();
    for word in words {
        let name = word.trim().to_ascii_uppercase();
        let full = match name.starts_with("CAP_") {
            true => name.clone(),
            false => format!("CAP_{name}"),
        };
        match Capability::from_str(&full) {
            Ok(capability) => numbers.push(capability.index()),
            Err(_) if name == "ALL" => numbers.extend(all()),
            Err(_) if name.is_empty() => {}
            Err(_) => unknown.push(word.clone()),
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

impl Privileges {
    /// Returns the capabilities that a program gets of those that it would have otherwise.
    pub fn of(&self, usual: &CapsHashSet) -> CapsHashSet {
        let known = caps::all();
        let named = |numbers: &[u8], capability: &Capability| numbers.contains(&capability.index());
        let kept = known.into_iter().filter(|one| {
            (usual.contains(one) || named(&self.added, one)) && !named(&self.dropped, one)
        });
        kept.collect()
    }

    /// Whether the user asked for other capabilities than the usual ones.
    pub fn changes_capabilities(&self) -> bool {
        !self.added.is_empty() || !self.dropped.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_dropped_by_any_spelling() {
        let variables = [
            ("APPTAINER_ADD_CAPS", "CAP_SYS_PTRACE,chown,nosuch"),
            ("APPTAINER_DROP_CAPS", "chown"),
        ];
        let flags = PrivilegeFlags::default();
        let found = flags.resolve(&Variables::of(&variables)).unwrap();
        assert_eq!(found.unknown, ["nosuch"]);
        let usual = CapsHashSet::from([Capability::CAP_KILL]);
        let expected = [Capability::CAP_KILL, Capability::CAP_SYS_PTRACE];
        assert_eq!(found.of(&usual), CapsHashSet::from(expected));
        let none = [("APPTAINER_NO_PRIVS", "1")];
        let found = flags.resolve(&Variables::of(&none)).unwrap();
        assert_eq!(found.of(&usual), CapsHashSet::new());
    }
}

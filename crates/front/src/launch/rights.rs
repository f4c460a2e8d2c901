//! The privileges with which a container's program runs.

use std::collections::BTreeSet;

use anyhow::Result;
use bundle::Account;
use caps::CapsHashSet;

use crate::caller::Caller;
use crate::flags::{Fakeroot, Privileges};
use crate::request::Container;

/// The privileges with which a container's program runs.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    user: User,
    /// Whether the program is kept from the user's things outside.
    contained: bool,
    privileges: Privileges,
}

/// The program's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// The caller.
    Ordinary,
    /// The caller, who is root inside.
    Fakeroot,
    /// Real root.
    Root,
}

impl Rights {
    /// Returns the rights in a container. `fakeroot` says whether its user is root inside only.
    pub(super) fn new(fakeroot: bool, contained: bool, privileges: &Privileges) -> Self {
        let user = match fakeroot {
            _ if session::is_privileged() => User::Root,
            true => User::Fakeroot,
            false => User::Ordinary,
        };
        Self {
            user,
            contained,
            privileges: privileges.clone(),
        }
    }

    /// Returns the capabilities, or `None` if the program keeps all that the caller has inside.
    fn capabilities(&self) -> Option<CapsHashSet> {
        let usual = match self.user {
            User::Ordinary => CapsHashSet::new(),
            User::Root if !self.privileges.changes_capabilities() => return None,
            User::Fakeroot | User::Root => caps::all(),
        };
        Some(self.privileges.of(&usual))
    }

    /// Whether the program gains no privileges by an exec. Root inside needs programs such as sudo,
    /// except in a container that is apart.
    fn is_for_good(&self) -> bool {
        match self.user {
            User::Ordinary => true,
            User::Fakeroot => self.contained,
            User::Root => false,
        }
    }

    /// Describes the rights for `config.json`: the names of the capabilities, and whether no exec
    /// gains others.
    pub(super) fn described(&self) -> (BTreeSet<String>, bool) {
        let callers = || caps::read(None, caps::CapSet::Bounding).unwrap_or_default();
        let kept = self.capabilities().unwrap_or_else(callers);
        let names = kept.iter().map(ToString::to_string).collect();
        (names, self.is_for_good())
    }

    /// Gives the calling process these rights. It is in the container.
    pub(super) fn take(&self) -> Result<()> {
        self.nest()?;
        match self.capabilities() {
            Some(kept) => session::limit_privileges(&kept, self.is_for_good())?,
            None if self.is_for_good() => session::limit_privileges(&caps::all(), true)?,
            None => {}
        }
        self.finish()
    }

    /// Does the same for a process that the engine has given its capabilities.
    pub(super) fn take_behind_the_engine(&self) -> Result<()> {
        self.nest()?;
        self.finish()
    }

    /// Enters a user namespace below the session's, in which a program with capabilities cannot undo
    /// what contains it.
    fn nest(&self) -> Result<()> {
        let has_some = self.capabilities().is_none_or(|kept| !kept.is_empty());
        if self.contained && self.user != User::Root && has_some {
            session::enter_nested_namespace()?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        if self.contained {
            session::isolate()?;
        }
        if self.user == User::Fakeroot {
            session::act_as_root()?;
        }
        Ok(())
    }
}

impl Container {
    /// Returns the caller's account as the container shows it.
    pub(super) fn account(&self, account: Account) -> Account {
        let account = match self.privileges.fakeroot {
            Some(_) => Account {
                uid: 0,
                gid: 0,
                name: "root".to_owned(),
                gecos: "root".to_owned(),
                home: "/root".into(),
                groups: Vec::new(),
                ..account
            },
            None => account,
        };
        self.home.account(account)
    }

    /// Returns the variables that root inside needs, unless the caller has them.
    pub(super) fn variables(&self, caller: &Caller) -> Vec<(String, String)> {
        let is_given = caller.variables.get("APT_CONFIG").is_some();
        let asked = self.privileges.fakeroot.is_some() && !is_given;
        let apt = asked.then(|| ("APT_CONFIG".to_owned(), bundle::APT_CONFIG.to_owned()));
        apt.into_iter().collect()
    }

    /// Returns the users in the container's user namespace. `name` is the caller's.
    pub(super) fn users<'a>(&self, name: &'a str) -> session::Users<'a> {
        match self.privileges.fakeroot {
            None => session::Users::Caller,
            Some(Fakeroot::Single) => session::Users::Root,
            Some(Fakeroot::Delegated) => session::Users::Delegated(name),
        }
    }
}

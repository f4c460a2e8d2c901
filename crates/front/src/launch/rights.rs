//! The privileges with which a container's program runs.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use bundle::Account;
use caps::CapsHashSet;

use super::record::Record;
use crate::caller::Caller;
use crate::flags::{Fakeroot, Privileges};
use crate::request::Container;

/// The privileges with which a container's program runs.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    user: User,
    /// Whether the program is kept from the user's things outside.
    contained: bool,
    /// Whether each program of the container is in a user namespace of its own.
    nests: bool,
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
    /// Returns the rights in a new container. `fakeroot` says whether its user is root inside only.
    pub(super) fn new(fakeroot: bool, contained: bool, privileges: &Privileges) -> Self {
        let user = match fakeroot {
            _ if session::is_privileged() => User::Root,
            true => User::Fakeroot,
            false => User::Ordinary,
        };
        let mut rights = Self {
            user,
            contained,
            nests: false,
            privileges: privileges.clone(),
        };
        rights.nests = contained && user != User::Root && rights.has_capabilities();
        rights
    }

    /// Returns the rights in a running container.
    ///
    /// # Errors
    ///
    /// Fails if the program would have capabilities in a contained container whose programs have
    /// none: these could take over this process while it enters a namespace of its own, because
    /// they are in the one above.
    pub(super) fn in_running(record: &Record, privileges: &Privileges) -> Result<Self> {
        let mut rights = Self::new(record.fakeroot, record.contained, privileges);
        if rights.nests && !record.nests {
            bail!("--add-caps: give it to a contained container when it starts");
        }
        rights.nests = record.nests;
        Ok(rights)
    }

    /// Whether each program of the container is in a user namespace of its own.
    pub(super) fn nests(&self) -> bool {
        self.nests
    }

    fn has_capabilities(&self) -> bool {
        self.capabilities().is_none_or(|kept| !kept.is_empty())
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

    /// Gives the calling process the rights of a program that serves the container: none.
    pub(super) fn take_for_server(&self) -> Result<()> {
        self.nest()?;
        session::limit_privileges(&CapsHashSet::new(), true)?;
        if self.contained {
            session::isolate()?;
        }
        Ok(())
    }

    /// Enters a user namespace below the session's, in which a program with capabilities cannot undo
    /// what contains it.
    fn nest(&self) -> Result<()> {
        if self.nests {
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

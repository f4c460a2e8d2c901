//! The sessions that run on this machine, as their user sees them.

use std::time::Instant;

use crate::call::Reply;
use crate::name::{self, NO_JOB, Name};
use crate::protocol::{Command, Message, PATIENCE};
use crate::{Error, Namespaces};

/// A session that others may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The session's job, if it has one.
    pub job: Option<String>,
    /// The description that the session's first member gave.
    pub about: String,
    /// The process ids of the members.
    pub members: Vec<i32>,
    name: String,
}

/// A session in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// One that this program can ask and join.
    Own(Shared),
    /// One of another version or copy of this program, by its job, which the name tells.
    Others(Option<String>),
}

impl Shared {
    /// Longest name of a job, in bytes: the space in an abstract socket's name besides the rest of
    /// it.
    const LONGEST_JOB: usize = 40;

    /// Whether `job` is a valid name of a job: letters, digits, `-`, `.` and `_`, within the length
    /// limit.
    #[must_use]
    pub fn is_job(job: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let length = (1..=Self::LONGEST_JOB).contains(&job.len());
        length && job != NO_JOB && job.bytes().all(fits)
    }

    /// Returns those of the caller's sessions for whose job `wanted` is true, by name.
    ///
    /// # Errors
    ///
    /// Fails when the kernel's list of sockets cannot be read, or there are too many names to ask
    /// under.
    pub fn all(wanted: impl Fn(Option<&str>) -> bool) -> Result<Vec<Self>, Error> {
        let all = Self::list(wanted)?.into_iter();
        let own = all.filter_map(|listed| match listed {
            Listed::Own(shared) => Some(shared),
            Listed::Others(_) => None,
        });
        Ok(own.collect())
    }

    /// Lists the same, and the sessions of other versions of this program.
    ///
    /// # Errors
    ///
    /// As [`all`](Self::all).
    pub fn list(wanted: impl Fn(Option<&str>) -> bool) -> Result<Vec<Listed>, Error> {
        let names = name::names(&name::sessions()).map_err(Error::Instances)?;
        let look = |name: &str, end, busy| {
            let (job, _) = name.split_once('/')?;
            let job = Some(job).filter(|job| *job != NO_JOB);
            if !wanted(job) {
                return None;
            }
            let is_name = job.is_none_or(Self::is_job);
            let job = job.map(str::to_owned);
            let session = Name::session(name)?;
            let Some(call) = session.call(Command::Look, end, busy).ok()? else {
                let is_others = is_name && session.is_of_another_version(busy);
                return is_others.then_some(Listed::Others(job));
            };
            let Ok(Message::Session { about, members }) = call.next() else {
                return None;
            };
            let name = name.to_owned();
            Some(Listed::Own(Self {
                job,
                about,
                members,
                name,
            }))
        };
        name::ask_all(names.iter(), look)
    }

    /// Joins the session. Returns `None` if it has ended meanwhile.
    #[must_use]
    pub fn join(&self) -> Option<Namespaces> {
        let end = Instant::now() + PATIENCE;
        let call = Name::session(&self.name)?
            .call(Command::Join, end, end)
            .ok()??;
        match call.reply() {
            Reply::Joined(namespaces, _) => Some(Namespaces::new(namespaces)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_plain_names() {
        for name in ["123.0", "slurm-7.batch", &"x".repeat(40)] {
            assert!(Shared::is_job(name), "{name}");
        }
        for name in ["", "-", "a/b", "a b", "a\n", &"x".repeat(41)] {
            assert!(!Shared::is_job(name), "{name}");
        }
    }
}

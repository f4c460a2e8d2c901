//! The filter of a container's system calls: compiled once, kept, and loaded by us.
//!
//! libcontainer compiles it anew in each container, which takes 15 ms for the profile that engines
//! use, has the two numbers of `SCMP_CMP_MASKED_EQ` the wrong way round, and can do nothing for
//! a process that enters a container.

mod cache;
mod compile;
mod courier;

use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use libcontainer::oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};
use serde_json::Value;

pub(crate) use courier::Courier;
use courier::Post;

use crate::Error;

/// A filter, ready to be loaded.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    program: Rc<[u64]>,
    flags: u32,
    post: Option<Rc<Post>>,
}

impl Filter {
    /// Prepares the filter of a container's document, if it has one. `state` is the container's, for
    /// who listens to what the filter reports; the courier must be waited for once the process that
    /// loads the filter has been made.
    pub(crate) fn of(
        document: &Value,
        root: &Path,
        state: impl FnOnce() -> Value,
    ) -> Result<Option<(Self, Option<Courier>)>, Error> {
        let Some(profile) = document
            .pointer("/linux/seccomp")
            .filter(|profile| !profile.is_null())
        else {
            return Ok(None);
        };
        let wrong = |error: String| Error::Refused(format!("linux.seccomp: {error}"));
        let text = profile.to_string();
        let seccomp: LinuxSeccomp =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let cache = cache::Cache::new(root, &text);
        let program = match cache.read() {
            Some(program) => program,
            None => {
                let program = compile::compile(&seccomp).map_err(wrong)?;
                cache.write(&program);
                program
            }
        };
        let mut flags = flags(&seccomp);
        let mut sent = None;
        if reports(&seccomp) {
            let path = seccomp
                .listener_path()
                .as_ref()
                .ok_or_else(|| wrong("SCMP_ACT_NOTIFY needs a listenerPath".to_owned()))?;
            flags |= sys::SECCOMP_NEW_LISTENER;
            let metadata = seccomp.listener_metadata().as_deref().unwrap_or_default();
            sent = Some(Courier::send(path, metadata, state())?);
        }
        let (courier, post) = sent.map_or((None, None), |(courier, post)| {
            (Some(courier), Some(Rc::new(post)))
        });
        let program = program.into();
        Ok(Some((
            Self {
                program,
                flags,
                post,
            },
            courier,
        )))
    }

    /// Puts the calling process under the filter. It needs `CAP_SYS_ADMIN` or no new privileges.
    pub(crate) fn load(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("linux.seccomp: {}", sys::words(&error));
        let listener = sys::load_seccomp(&self.program, self.flags).map_err(failed)?;
        match (&self.post, listener) {
            (Some(post), Some(listener)) => post.hand_in(listener.as_fd()),
            _ => Ok(()),
        }
    }
}

/// The flags of seccomp(2).
fn flags(seccomp: &LinuxSeccomp) -> u32 {
    let flags = seccomp.flags().iter().flatten();
    flags.fold(0, |flags, flag| {
        flags
            | match flag {
                // There is one thread.
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => sys::SECCOMP_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => sys::SECCOMP_SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                    sys::SECCOMP_WAIT_KILLABLE
                }
            }
    })
}

/// Whether some calls are to be answered by who listens.
fn reports(seccomp: &LinuxSeccomp) -> bool {
    let rules = seccomp.syscalls().iter().flatten();
    rules
        .into_iter()
        .any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

//! The filter of a container's system calls: compiled once, kept, and loaded by us.
//!
//! libcontainer compiles it anew in each container, which takes 15 ms for the profile that engines
//! use, has the two numbers of `SCMP_CMP_MASKED_EQ` the wrong way round, and can do nothing for
//! a process that enters a container.

mod cache;
mod compile;
mod notify;

use std::os::fd::{AsFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

pub(crate) use notify::Courier;
use notify::Post;

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
        let cache = cache::Cache::new(root, &text);
        // What was compiled once was checked then.
        let program = match cache.read() {
            Some(program) => program,
            None => {
                let seccomp = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
                let program = compile::compile(&seccomp).map_err(wrong)?;
                cache.write(&program);
                program
            }
        };
        let mut flags = flags(profile);
        let mut sent = None;
        if reports(profile) {
            let path = profile["listenerPath"].as_str();
            let path =
                path.ok_or_else(|| wrong("SCMP_ACT_NOTIFY needs a listenerPath".to_owned()))?;
            flags |= sys::SECCOMP_NEW_LISTENER;
            let metadata = profile["listenerMetadata"].as_str().unwrap_or_default();
            sent = Some(Courier::send(Path::new(path), metadata, state())?);
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

    /// Whether calls are reported to a listener.
    pub(crate) fn reports(&self) -> bool {
        self.post.is_some()
    }

    /// Returns the descriptor by which the listener is told, which has to stay open until then.
    pub(crate) fn socket(&self) -> Option<RawFd> {
        self.post.as_ref().map(|post| post.as_raw_fd())
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

/// The flags of seccomp(2). There is one thread, so that `TSYNC` says nothing.
fn flags(profile: &Value) -> u32 {
    let flags = profile["flags"].as_array().into_iter().flatten();
    flags
        .map(|flag| match flag.as_str() {
            Some("SECCOMP_FILTER_FLAG_LOG") => sys::SECCOMP_LOG,
            Some("SECCOMP_FILTER_FLAG_SPEC_ALLOW") => sys::SECCOMP_SPEC_ALLOW,
            Some("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") => sys::SECCOMP_WAIT_KILLABLE,
            _ => 0,
        })
        .fold(0, |flags, flag| flags | flag)
}

/// Whether some calls are to be answered by who listens.
fn reports(profile: &Value) -> bool {
    let mut rules = profile["syscalls"].as_array().into_iter().flatten();
    rules.any(|rule| rule["action"] == "SCMP_ACT_NOTIFY")
}

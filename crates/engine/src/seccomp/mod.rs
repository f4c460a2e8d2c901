//! The filter of a container's system calls: compiled once, cached, and loaded by us.
//!
//! libcontainer compiles the filter anew for each container, which takes 15 ms for the profile that
//! engines use. It swaps the two numbers of `SCMP_CMP_MASKED_EQ`, and does nothing for a process
//! that enters a container.

mod cache;
mod compile;
mod newer;
mod notify;

use std::os::fd::{AsFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

pub(crate) use notify::Relay;
use notify::RelaySocket;

use crate::{Document, Error};

/// A filter, ready to be loaded.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    program: Rc<[u64]>,
    flags: u32,
    socket: Option<Rc<RelaySocket>>,
}

impl Filter {
    /// Prepares the filter of a container's document, if it has one. `state` is the container's
    /// state, for the listener to which the filter reports. The relay must be waited for once the
    /// process that loads the filter has been made.
    pub(crate) fn of(
        document: &Document,
        root: &Path,
        state: impl FnOnce() -> Value,
    ) -> Result<Option<(Self, Option<Relay>)>, Error> {
        let Some(profile) = document
            .pointer("/linux/seccomp")
            .filter(|profile| !profile.is_null())
        else {
            return Ok(None);
        };
        let wrong = |error: String| Error::Refused(format!("linux.seccomp: {error}"));
        let text = profile.to_string();
        let cache = cache::Cache::new(root, &text);
        // A cached program was checked when it was compiled.
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
            sent = Some(Relay::send(Path::new(path), metadata, state())?);
        }
        let (relay, socket) = sent.map_or((None, None), |(relay, socket)| {
            (Some(relay), Some(Rc::new(socket)))
        });
        tracing::debug!("seccomp filter flags: {flags}");
        let program = program.into();
        Ok(Some((
            Self {
                program,
                flags,
                socket,
            },
            relay,
        )))
    }

    /// Whether calls are reported to a listener.
    pub(crate) fn reports(&self) -> bool {
        self.socket.is_some()
    }

    /// Returns the descriptor through which the listener is informed. It has to stay open until
    /// then.
    pub(crate) fn socket(&self) -> Option<RawFd> {
        self.socket.as_ref().map(|socket| socket.as_raw_fd())
    }

    /// Puts the calling process under the filter. This needs `CAP_SYS_ADMIN` or no new privileges.
    pub(crate) fn load(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("linux.seccomp: {}", text::message(&error));
        let listener = sys::load_seccomp(&self.program, self.flags).map_err(failed)?;
        match (&self.socket, listener) {
            (Some(socket), Some(listener)) => socket.send(listener.as_fd()),
            _ => Ok(()),
        }
    }
}

/// Returns the flags of seccomp(2). There is only one thread, so `TSYNC` has no effect.
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

/// Whether a listener answers some of the calls.
fn reports(profile: &Value) -> bool {
    let mut rules = profile["syscalls"].as_array().into_iter().flatten();
    rules.any(|rule| rule["action"] == "SCMP_ACT_NOTIFY")
}

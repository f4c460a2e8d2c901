//! Why something cannot be had from the network.

use std::io;

use reqwest::StatusCode;
use serde_json::Value;

/// Why something cannot be had from the network; every variant names what was wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What a user wrote is no reference.
    #[error("{text:?} is no image's name: {reason}")]
    Reference {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Credentials cannot be read.
    #[error("credentials for {host}: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// Why.
        reason: String,
    },
    /// The registry wants other credentials, or some.
    #[error("{what}: {host} has none of that name, or not for {}; `front registry login {host}` says who you are", .user.as_ref().map_or_else(
        || "everybody".to_owned(), |user| format!("user {user:?} with this password")))]
    Unauthorized {
        /// What was wanted.
        what: String,
        /// The registry.
        host: String,
        /// As whom.
        user: Option<String>,
    },
    /// There is no such image, blob or page.
    #[error("{what}: {host} has none of that name")]
    NotFound {
        /// What was wanted.
        what: String,
        /// The server.
        host: String,
    },
    /// The server cannot be reached.
    #[error("{what}: {host} cannot be reached: {reason}")]
    Unreachable {
        /// What was wanted.
        what: String,
        /// The server.
        host: String,
        /// Why.
        reason: String,
    },
    /// The server went away.
    #[error("{what}: {reason}")]
    Interrupted {
        /// What was wanted.
        what: String,
        /// Why.
        reason: String,
    },
    /// The server has too much to do, or fails.
    #[error("{what}: {reason}")]
    Busy {
        /// What was wanted.
        what: String,
        /// What it says.
        reason: String,
    },
    /// The server refuses, or its answer makes no sense.
    #[error("{what}: {reason}")]
    Refused {
        /// What was wanted.
        what: String,
        /// What it says.
        reason: String,
    },
    /// What came is not what its digest says.
    #[error("{what}: {source}")]
    Content {
        /// What was wanted.
        what: String,
        /// What is wrong with it.
        source: oci::Error,
    },
    /// What came cannot be written.
    #[error("write {what}: {}", sys::words(source))]
    Write {
        /// What.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("start the network's threads: {}", sys::words(.0))]
    Start(io::Error),
    /// A certificate cannot be read.
    #[error("certificate {path}: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether another server may have it where this one could not be asked, or has no time.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.is_silent() || matches!(self, Self::Busy { .. })
    }

    /// Whether the server said nothing.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Interrupted { .. })
    }

    /// Reads a refusal of a registry's (distribution-spec, error codes); `None` where it wants to know who asks.
    pub(crate) fn of_answer(
        status: StatusCode,
        text: &[u8],
        what: &str,
        host: &str,
    ) -> Option<Self> {
        let document: Value = serde_json::from_slice(text).unwrap_or_default();
        let first = &document["errors"][0];
        let code = first["code"].as_str().unwrap_or_default();
        let line = String::from_utf8_lossy(text);
        let line = line.lines().next().unwrap_or_default().trim();
        let message = match first["message"].as_str() {
            Some(message) => sys::printable(message),
            // A page for people is no message.
            None if line.starts_with(['<', '{']) => String::new(),
            None => sys::printable(line),
        };
        let said = [code, &message].into_iter().filter(|part| !part.is_empty());
        let said: Vec<&str> = said.collect();
        let mut reason = format!("{host} answers with status {}", status.as_u16());
        if !said.is_empty() {
            reason = format!("{reason}: {}", said.join(": "));
        }
        let what = what.to_owned();
        Some(match (status, code) {
            (_, "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "NOT_FOUND" | "BLOB_UNKNOWN")
            | (StatusCode::NOT_FOUND, _) => Self::NotFound {
                what,
                host: host.to_owned(),
            },
            (StatusCode::FORBIDDEN, _) | (_, "UNAUTHORIZED" | "DENIED") => return None,
            (status, code)
                if status == StatusCode::TOO_MANY_REQUESTS
                    || status.is_server_error()
                    || code == "TOOMANYREQUESTS" =>
            {
                Self::Busy { what, reason }
            }
            // In Go's words, in which registries are written.
            (StatusCode::BAD_REQUEST, _) if message.contains("HTTP request to an HTTPS server") => {
                Self::Unreachable {
                    what,
                    host: host.to_owned(),
                    reason: "it wants TLS".to_owned(),
                }
            }
            _ => Self::Refused { what, reason },
        })
    }

    /// What the transport says, in our words.
    pub(crate) fn of_request(error: &reqwest::Error, what: &str, host: &str) -> Self {
        let what = what.to_owned();
        let reason = innermost(error);
        if error.is_connect() || error.is_timeout() {
            let host = host.to_owned();
            let reason = match error.is_timeout() {
                true => "it does not answer in time".to_owned(),
                false if reason.contains("certificate") => format!(
                    "{reason}; --no-https takes it all the same, and one to trust goes to \
                     /etc/containers/certs.d/{host}/ca.crt"
                ),
                false => in_words(reason),
            };
            Self::Unreachable { what, host, reason }
        } else if error.is_builder() || error.is_redirect() {
            Self::Refused { what, reason }
        } else {
            Self::Interrupted {
                what,
                reason: format!("the connection to {host} broke: {reason}"),
            }
        }
    }
}

/// Words of libraries, in ours.
fn in_words(reason: String) -> String {
    if reason.starts_with("no records found") {
        "there is no server of that name".to_owned()
    } else if reason.contains("InvalidContentType") {
        "it does not speak TLS; --no-https asks it without".to_owned()
    } else {
        reason
    }
}

/// What lies at the ground of an error: what wraps it says only that something failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    match error.downcast_ref::<io::Error>() {
        Some(error) => sys::words(error),
        None => error.to_string(),
    }
}

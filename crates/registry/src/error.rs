//! Why something could not be fetched from the network.

use std::io;

use reqwest::StatusCode;
use serde_json::Value;

/// Why something could not be fetched from the network. Every variant names the thing that was
/// requested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The user's text is not a reference.
    #[error("{text:?} is no image's name: {reason}")]
    Reference {
        /// The user's text.
        text: String,
        /// Why it is not a reference.
        reason: String,
    },
    /// Credentials cannot be read.
    #[error("credentials for {host}: {reason}")]
    Credentials {
        /// The registry.
        host: String,
        /// Why they cannot be read.
        reason: String,
    },
    /// The registry wants credentials, or other credentials.
    #[error("{what}: {host} has none of that name, or not for {}; `front registry login {host}` says who you are", .user.as_ref().map_or_else(
        || "everybody".to_owned(), |user| format!("user {user:?} with this password")))]
    Unauthorized {
        /// The thing that was requested.
        what: String,
        /// The registry.
        host: String,
        /// The name of the user, if there was one.
        user: Option<String>,
    },
    /// The server has no such image, blob or page.
    #[error("{what}: {host} has none of that name")]
    NotFound {
        /// The thing that was requested.
        what: String,
        /// The server.
        host: String,
    },
    /// The server cannot be reached.
    #[error("{what}: {host} cannot be reached: {reason}")]
    Unreachable {
        /// The thing that was requested.
        what: String,
        /// The server.
        host: String,
        /// Why the server cannot be reached.
        reason: String,
    },
    /// The server closed the connection.
    #[error("{what}: {reason}")]
    Interrupted {
        /// The thing that was requested.
        what: String,
        /// Why the connection ended.
        reason: String,
    },
    /// The server is too busy, or has an internal error.
    #[error("{what}: {reason}")]
    Busy {
        /// The thing that was requested.
        what: String,
        /// The server's message.
        reason: String,
    },
    /// The server refuses, or its answer is invalid.
    #[error("{what}: {reason}")]
    Refused {
        /// The thing that was requested.
        what: String,
        /// The server's message, or why its answer is invalid.
        reason: String,
    },
    /// The received bytes do not match their digest.
    #[error("{what}")]
    Content {
        /// The thing that was requested.
        what: String,
        /// How they differ.
        source: oci::Error,
    },
    /// The received bytes cannot be written.
    #[error("write {what}")]
    Write {
        /// The thing that was requested.
        what: String,
        /// Why they cannot be written.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("start the network's threads")]
    Start(#[source] io::Error),
    /// A certificate cannot be read.
    #[error("certificate {path}: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// Why it cannot be read.
        reason: String,
    },
}

impl Error {
    /// Whether another server may succeed: this one could not be reached or is busy.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.is_silent() || matches!(self, Self::Busy { .. })
    }

    /// Whether the server gave no answer.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Interrupted { .. })
    }

    /// Converts a registry's refusal into an error (distribution-spec, error codes). Returns `None`
    /// when the registry asks for credentials.
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
            Some(message) => text::printable(message),
            // An HTML page is not a message.
            None if line.starts_with(['<', '{']) => String::new(),
            None => text::printable(line),
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
            // The message of Go's HTTP server; most registries are written in Go.
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

    /// Converts the error of a failed request, with a clearer message.
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

/// Replaces the messages of libraries by clearer ones.
fn in_words(reason: String) -> String {
    if reason.starts_with("no records found") {
        "there is no server of that name".to_owned()
    } else if reason.contains("InvalidContentType") {
        "it does not speak TLS; --no-https asks it without".to_owned()
    } else {
        reason
    }
}

/// Returns the innermost cause of an error. The errors around it say only that something failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    match error.downcast_ref::<io::Error>() {
        Some(error) => text::message(error),
        None => error.to_string(),
    }
}

//! Why something cannot be had from the network.

use std::io;

use oci_client::errors::{OciDistributionError, OciErrorCode};

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
    /// The server went away, or is overloaded.
    #[error("{what}: {reason}")]
    Interrupted {
        /// What was wanted.
        what: String,
        /// Why.
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
    /// Whether another server may have it where this one could not be asked.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Interrupted { .. })
    }

    /// What the client says, in our words.
    pub(crate) fn of_client(
        error: OciDistributionError,
        what: &str,
        host: &str,
        user: Option<&str>,
    ) -> Self {
        use OciDistributionError as E;
        let what = what.to_owned();
        let unauthorized = |what| Self::Unauthorized {
            what,
            host: host.to_owned(),
            user: user.map(str::to_owned),
        };
        match error {
            E::RequestError(error) => Self::of_request(&error, &what, host),
            E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => unauthorized(what),
            E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. } => Self::NotFound {
                what,
                host: host.to_owned(),
            },
            E::ServerError { code, message, .. } if code == 429 || code >= 500 => {
                Self::Interrupted {
                    what,
                    reason: said(host, code, &message),
                }
            }
            E::ServerError { code: 403, .. } => unauthorized(what),
            // In Go's words, in which registries are written.
            E::ServerError {
                code: 400, message, ..
            } if message.contains("HTTP request to an HTTPS server") => Self::Unreachable {
                what,
                host: host.to_owned(),
                reason: "it wants TLS".to_owned(),
            },
            E::ServerError { code, message, .. } => Self::Refused {
                what,
                reason: said(host, code, &message),
            },
            E::RegistryError { envelope, .. } => {
                let first = envelope.errors.into_iter().next();
                match first {
                    Some(error) => match error.code {
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NotFound
                        | OciErrorCode::BlobUnknown => Self::NotFound {
                            what,
                            host: host.to_owned(),
                        },
                        OciErrorCode::Unauthorized | OciErrorCode::Denied => unauthorized(what),
                        OciErrorCode::Toomanyrequests => Self::Interrupted {
                            what,
                            reason: format!("{host} has had too many requests: {}", error.message),
                        },
                        code => Self::Refused {
                            what,
                            reason: format!("{host} answers {code:?}: {}", error.message),
                        },
                    },
                    None => Self::Refused {
                        what,
                        reason: format!("{host} refuses, and does not say why"),
                    },
                }
            }
            E::IoError(error) => Self::Interrupted {
                what,
                reason: sys::words(&error),
            },
            E::DigestError(error) => Self::Refused {
                reason: format!("{host} sends another content than it says: {error}"),
                what,
            },
            other => Self::Refused {
                what,
                reason: format!("{host}: {}", sys::one_line(&other)),
            },
        }
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
                false => reason,
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

fn said(host: &str, code: u16, message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    // A page for people is no message.
    match line.starts_with('<') || line.is_empty() {
        true => format!("{host} answers with status {code}"),
        false => format!("{host} answers with status {code}: {line}"),
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

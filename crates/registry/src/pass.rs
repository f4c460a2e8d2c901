//! Proof of the right to use a repository.

use reqwest::header::HeaderValue;

/// The `Authorization` header that a registry accepted.
#[derive(Clone)]
pub(crate) enum Pass {
    /// A token from the registry's token server.
    Token(HeaderValue),
    /// A user's name and password.
    Login(HeaderValue),
}

impl Pass {
    pub(crate) fn header(&self) -> HeaderValue {
        match self {
            Self::Token(value) | Self::Login(value) => value.clone(),
        }
    }
}

//! Images of a docker daemon, read through its socket (Docker Engine API).

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use oci::{Digest, LONGEST_DOCUMENT};
use reqwest::Client;

use crate::Error;
use crate::ask::document;
use crate::receive::Receiver;
use progress::Task;

/// A daemon that listens on a socket of this machine.
pub struct Daemon {
    runtime: tokio::runtime::Runtime,
    client: Client,
    socket: PathBuf,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The oldest version of the API that has the requests we use. Every daemon since 2016 has it.
const API: &str = "http://docker/v1.24";
/// Longest pause between two parts of an answer. The daemon assembles an image before it sends the
/// first byte.
const SILENCE: Duration = Duration::from_secs(600);

impl Daemon {
    /// Prepares a client for the daemon behind a socket.
    ///
    /// # Errors
    ///
    /// Fails when threads cannot be started.
    pub fn new(socket: PathBuf) -> Result<Self, Error> {
        let runtime = crate::runtime()?;
        let client = Client::builder()
            .unix_socket(socket.clone())
            .no_proxy()
            // The socket has no TLS, and reading the machine's certificates would take longer than
            // everything else.
            .tls_certs_only([])
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| Error::of_request(&error, "docker", "this machine"))?;
        Ok(Self {
            runtime,
            client,
            socket,
        })
    }

    /// Returns the digest by which the daemon knows an image.
    ///
    /// # Errors
    ///
    /// Fails when the daemon does not answer, or has no such image.
    pub fn identify(&self, name: &str) -> Result<Digest, Error> {
        let text = self.runtime.block_on(async {
            let answer = self.ask(name, "json").await?;
            document(answer, LONGEST_DOCUMENT, name, "the docker daemon").await
        })?;
        let document: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| Error::Refused {
                what: name.to_owned(),
                reason: format!("the docker daemon's answer is no JSON: {error}"),
            })?;
        let id = document["Id"].as_str().unwrap_or_default();
        id.parse().map_err(|source| Error::Content {
            what: name.to_owned(),
            source,
        })
    }

    /// Receives an image as an archive, as `docker save` writes it.
    ///
    /// # Errors
    ///
    /// Fails when the daemon does not answer, has no such image, or the file cannot be written.
    pub fn save(&self, name: &str, file: &mut File, task: &dyn Task) -> Result<(), Error> {
        let mut receiver = Receiver::new(file, None, name, task)?;
        self.runtime.block_on(async {
            let answer = self.ask(name, "get").await?;
            receiver.take(answer.bytes_stream()).await
        })
    }

    async fn ask(&self, name: &str, what: &str) -> Result<reqwest::Response, Error> {
        let mut url = reqwest::Url::parse(API).map_err(|error| Error::Refused {
            what: name.to_owned(),
            reason: error.to_string(),
        })?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("images").extend(name.split('/')).push(what);
        }
        let answer = self.client.get(url).send().await;
        let answer = answer.map_err(|error| self.failed(&error, name))?;
        match answer.status().as_u16() {
            200 => Ok(answer),
            404 => Err(Error::NotFound {
                what: name.to_owned(),
                host: "the docker daemon".to_owned(),
            }),
            code => Err(Error::Refused {
                what: name.to_owned(),
                reason: format!("the docker daemon answers with status {code}"),
            }),
        }
    }

    fn failed(&self, error: &reqwest::Error, name: &str) -> Error {
        let daemon = format!("the docker daemon behind {}", self.socket.display());
        Error::of_request(error, name, &daemon)
    }
}

//! A registry: manifests and blobs of one repository (distribution-spec 1.1).

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci::Digest;
use reqwest::StatusCode;

use crate::endpoint::Endpoint;
use crate::receive::{Receiver, elsewhere, goes_on};
use crate::{Error, Options, Reference};
use progress::Task;

/// The servers that may have one repository.
pub struct Registry {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) endpoints: Vec<Endpoint>,
    /// The index of the server that answered.
    pub(crate) chosen: AtomicUsize,
    name: String,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Prepares clients for the servers that may have the image of a reference. Nothing is sent
    /// yet.
    ///
    /// # Errors
    ///
    /// Fails when credentials or certificates cannot be read.
    pub fn new(reference: &Reference, options: &Options) -> Result<Self, Error> {
        Ok(Self {
            endpoints: Endpoint::all(reference, options)?,
            runtime: crate::runtime()?,
            chosen: AtomicUsize::new(0),
            name: reference.whole(),
        })
    }

    /// Returns the manifest or the index that the reference names.
    ///
    /// # Errors
    ///
    /// Fails when no server can be reached, there is no such image, the user may not read it, or
    /// the content does not match its digest.
    pub fn manifest(&self) -> Result<Vec<u8>, Error> {
        let mut last: Option<Error> = None;
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            match self.manifest_from(endpoint, &endpoint.reference, &self.name) {
                Ok(text) => {
                    self.chosen.store(number, Ordering::Relaxed);
                    return Ok(text);
                }
                // The last error is returned, but an error of a server that gave no answer does not
                // replace one from a server that did.
                Err(error)
                    if error.is_silent() && last.as_ref().is_some_and(|last| !last.is_silent()) =>
                {
                    tracing::debug!(%error, host = endpoint.host(), "no answer");
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Refused {
            what: self.name.clone(),
            reason: "there is no server to ask".to_owned(),
        }))
    }

    /// Returns a manifest by its digest.
    ///
    /// # Errors
    ///
    /// As for [`Registry::manifest`].
    pub fn manifest_of(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let endpoint = self.endpoint()?;
        let reference = endpoint.reference.clone_with_digest(digest.to_string());
        self.manifest_from(endpoint, &reference, &format!("manifest {digest}"))
    }

    pub(crate) fn manifest_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let text = self.runtime.block_on(endpoint.manifest(reference, what))?;
        if let Some(digest) = reference.digest() {
            let digest: Digest = digest.parse().map_err(|source| Error::Content {
                what: what.to_owned(),
                source,
            })?;
            digest.check(&text).map_err(|source| Error::Content {
                what: what.to_owned(),
                source,
            })?;
        }
        Ok(text)
    }

    /// Receives a blob into a file, which may already have the first part of it. A broken
    /// connection is resumed at the next byte. The digest of the whole file is checked.
    ///
    /// # Errors
    ///
    /// Fails when the blob cannot be fetched, does not match its digest, or the file cannot be
    /// written.
    pub fn blob(
        &self,
        digest: &Digest,
        size: Option<u64>,
        file: &mut File,
        task: &dyn Task,
    ) -> Result<(), Error> {
        let what = format!("layer {digest}");
        let mut receiver = Receiver::new(file, size, &what, task)?.or_document();
        self.runtime.block_on(async {
            let begun = receiver.at();
            let received = self.receive(digest, &mut receiver, &what).await;
            let was_resumed = begun > 0 || receiver.was_broken();
            match received.and_then(|()| receiver.check(digest)) {
                // The first part of the file, or a server that resumed at a wrong offset, may be
                // the cause.
                Err(error) if was_resumed && !error.is_unreachable() => {
                    receiver.begin_anew()?;
                    self.receive(digest, &mut receiver, &what).await?;
                    receiver.check(digest)
                }
                received => received,
            }
        })
    }

    async fn receive(
        &self,
        digest: &Digest,
        receiver: &mut Receiver<'_>,
        what: &str,
    ) -> Result<(), Error> {
        let endpoint = self.endpoint()?;
        while !receiver.is_whole() {
            let received = match endpoint.blob(digest, receiver.at(), what).await {
                Ok(answer) => {
                    if answer.status() != StatusCode::PARTIAL_CONTENT {
                        receiver.begin_anew()?;
                    } else if !goes_on(&answer, receiver.at()) {
                        return Err(elsewhere(what));
                    }
                    receiver.take(answer.bytes_stream()).await
                }
                Err(error) => Err(error),
            };
            match received {
                Ok(()) => return Ok(()),
                Err(error) => receiver.broke(error).await?,
            }
        }
        Ok(())
    }

    pub(crate) fn endpoint(&self) -> Result<&Endpoint, Error> {
        let chosen = self.chosen.load(Ordering::Relaxed);
        self.endpoints.get(chosen).ok_or_else(|| Error::Refused {
            what: self.name.clone(),
            reason: "there is no server to ask".to_owned(),
        })
    }
}

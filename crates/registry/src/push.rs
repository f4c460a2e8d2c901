//! Sending: blobs first, then the manifest that names them.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::Ordering;

use futures_util::stream;
use oci::Digest;

use crate::ask::Pass;
use crate::endpoint::Endpoint;
use crate::{Error, Registry, Task};

/// Bytes that are sent at a time.
const CHUNK: usize = 1 << 20;

impl Registry {
    /// Sends a blob, unless the registry has it.
    ///
    /// # Errors
    ///
    /// Fails when the registry cannot be reached, or refuses.
    pub fn send_blob(
        &self,
        digest: &Digest,
        size: u64,
        open: &dyn Fn() -> std::io::Result<File>,
        task: Box<dyn Task>,
    ) -> Result<(), Error> {
        let what = format!("blob {digest}");
        let task = std::sync::Arc::from(task);
        self.with_endpoint(|endpoint| {
            let failed =
                |error| Error::of_client(error, &what, endpoint.host(), endpoint.user.as_deref());
            let content = open().map_err(|source| Error::Write {
                what: what.clone(),
                source,
            })?;
            self.runtime.block_on(async {
                endpoint
                    .client()?
                    .auth(
                        &endpoint.reference,
                        &endpoint.auth,
                        oci_client::RegistryOperation::Push,
                    )
                    .await
                    .map_err(failed)?;
                let reference = &endpoint.reference;
                let client = endpoint.client()?;
                let text = digest.to_string();
                if client.blob_exists(reference, &text).await.map_err(failed)? {
                    return Ok(());
                }
                let sent = chunks(content, std::sync::Arc::clone(&task));
                client
                    .push_blob_stream(reference, sent, &text, Some(size))
                    .await
                    .map_err(failed)?;
                Ok(())
            })
        })
    }

    /// Sends a manifest under the reference's tag.
    ///
    /// # Errors
    ///
    /// As for [`Registry::send_blob`].
    pub fn send_manifest(&self, text: &[u8], media_type: &str) -> Result<(), Error> {
        self.with_endpoint(|endpoint| {
            let reference = &endpoint.reference;
            let kind =
                reqwest::header::HeaderValue::from_str(media_type).map_err(|_| Error::Refused {
                    what: reference.whole(),
                    reason: format!("its manifest is said to be {media_type:?}"),
                })?;
            let sent = endpoint
                .client()?
                .push_manifest_raw(reference, text.to_vec(), kind);
            self.runtime.block_on(sent).map(drop).map_err(|error| {
                let what = reference.whole();
                Error::of_client(error, &what, endpoint.host(), endpoint.user.as_deref())
            })
        })
    }

    /// Asks whether the registry takes the user's credentials.
    ///
    /// # Errors
    ///
    /// Fails when it does not, or cannot be reached.
    pub fn check_login(&self) -> Result<(), Error> {
        self.with_endpoint(|endpoint| {
            let greeted = self.runtime.block_on(endpoint.greet("login"))?;
            if let Some(Pass::Token(_)) = greeted {
                return Ok(());
            }
            // Without tokens, only a request tells; what it asks for need not be there.
            match self.manifest_from(endpoint, &endpoint.reference, "login") {
                Err(Error::NotFound { .. } | Error::Refused { .. }) | Ok(_) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    /// Speaks to the first server that answers, and to that one from then on. Mirrors are for reading.
    fn with_endpoint(
        &self,
        mut speak: impl FnMut(&Endpoint) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            if number < self.chosen.load(Ordering::Relaxed)
                || endpoint.reference.namespace().is_some()
            {
                continue;
            }
            result = speak(endpoint);
            match &result {
                Err(error) if error.is_unreachable() => {}
                _ => {
                    self.chosen.store(number, Ordering::Relaxed);
                    break;
                }
            }
        }
        result
    }
}

fn chunks(
    content: File,
    task: std::sync::Arc<dyn Task>,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, oci_client::errors::OciDistributionError>>
+ Send {
    stream::unfold((content, task), |(mut content, task)| async move {
        let mut chunk = vec![0; CHUNK];
        match content.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                task.advance(count as u64);
                Some((Ok(bytes::Bytes::from(chunk)), (content, task)))
            }
            Err(error) => Some((Err(error.into()), (content, task))),
        }
    })
}

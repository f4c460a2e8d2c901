//! Sending an image: first its blobs, then the manifest that names them.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::Ordering;

use futures_util::stream;
use oci::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Body, Method, StatusCode, Url};

use crate::ask::Request;
use crate::endpoint::Endpoint;
use crate::pass::Pass;
use crate::{Error, Registry};
use progress::Task;

/// Number of bytes that are sent at a time.
const CHUNK: usize = 1 << 20;

impl Registry {
    /// Sends a blob, unless the registry has it already.
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
            let content = open().map_err(|source| Error::Write {
                what: what.clone(),
                source,
            })?;
            self.runtime.block_on(async {
                if endpoint.has_blob(digest, &what).await? {
                    return Ok(());
                }
                let url = endpoint.place_of_upload(digest, &what).await?;
                let body = Body::wrap_stream(chunks(content, std::sync::Arc::clone(&task)));
                let mut headers = HeaderMap::new();
                let kind = HeaderValue::from_static("application/octet-stream");
                headers.insert(CONTENT_TYPE, kind);
                headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
                let answer = endpoint.upload(url, headers, body, &what).await?;
                endpoint.accept(answer, &what).await.map(drop)
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
            let what = reference.whole();
            let kind = HeaderValue::from_str(media_type).map_err(|_| Error::Refused {
                what: what.clone(),
                reason: format!("its manifest is said to be {media_type:?}"),
            })?;
            let name = reference.digest().or(reference.tag()).unwrap_or("latest");
            let mut request = writing(
                Method::PUT,
                endpoint.url(&format!("manifests/{name}"), &what)?,
                &what,
            );
            request.headers.insert(CONTENT_TYPE, kind);
            request.body = Some(text.to_vec());
            self.runtime.block_on(async {
                let answer = endpoint.ask(&request).await?;
                endpoint.accept(answer, &what).await.map(drop)
            })
        })
    }

    /// Checks that the registry accepts the user's credentials.
    ///
    /// # Errors
    ///
    /// Fails when the registry refuses them or cannot be reached.
    pub fn check_login(&self) -> Result<(), Error> {
        self.with_endpoint(|endpoint| {
            let greeted = self.runtime.block_on(endpoint.greet("login"))?;
            if let Some(Pass::Token(_)) = greeted {
                return Ok(());
            }
            // A registry without tokens checks the password at the first real request. The manifest
            // need not exist.
            match self.manifest_from(endpoint, &endpoint.reference, "login") {
                Err(Error::NotFound { .. } | Error::Refused { .. }) | Ok(_) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    /// Calls `speak` with the first server that answers, and remembers that server. Mirrors are
    /// left out, because they are only for reading.
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

/// Makes a request that changes the repository.
fn writing(method: Method, url: Url, what: &str) -> Request<'_> {
    Request {
        method,
        actions: "pull,push",
        ..Request::get(url, what)
    }
}

impl Endpoint {
    async fn has_blob(&self, digest: &Digest, what: &str) -> Result<bool, Error> {
        let url = self.url(&format!("blobs/{digest}"), what)?;
        let answer = self.ask(&writing(Method::HEAD, url, what)).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            // The answer to HEAD has no body, so it cannot say that the server wants TLS. A GET
            // can.
            StatusCode::BAD_REQUEST => {
                let greeted = self.ask(&Request::get(self.url("", what)?, what)).await?;
                self.accept(greeted, what).await?;
                self.accept(answer, what).await.map(|_| true)
            }
            _ => self.accept(answer, what).await.map(|_| true),
        }
    }

    /// Asks for the address to which a blob is sent (distribution-spec, pushing a blob
    /// monolithically).
    async fn place_of_upload(&self, digest: &Digest, what: &str) -> Result<Url, Error> {
        let mut request = writing(Method::POST, self.url("blobs/uploads/", what)?, what);
        request.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        let answer = self.ask(&request).await?;
        let answer = self.accept(answer, what).await?;
        let place = answer.headers().get(LOCATION);
        let place = place.and_then(|place| answer.url().join(place.to_str().ok()?).ok());
        let mut place = place.ok_or_else(|| Error::Refused {
            what: what.to_owned(),
            reason: format!("{} does not say where a blob is to go", self.host()),
        })?;
        place
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        Ok(place)
    }
}

fn chunks(
    content: File,
    task: std::sync::Arc<dyn Task>,
) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send {
    stream::unfold((content, task), |(mut content, task)| async move {
        let mut chunk = vec![0; CHUNK];
        match content.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                task.advance(count as u64);
                Some((Ok(bytes::Bytes::from(chunk)), (content, task)))
            }
            Err(error) => Some((Err(error), (content, task))),
        }
    })
}

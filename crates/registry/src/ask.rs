//! Requests to a registry, with credentials (distribution/docs/spec/auth/token.md), and answers of
//! a limited size.

use std::time::Duration;

use futures_util::StreamExt;
use oci::{Digest, LONGEST_DOCUMENT};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use reqwest::{Body, Method, Response, StatusCode, Url};

use crate::challenge::{Challenge, challenge};
use crate::endpoint::Endpoint;
use crate::pass::Pass;
use crate::{Error, Login, Reference};

/// The media types of the manifests that images have.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
                         application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// The header in which a registry states the digest of its answer.
const DIGEST: &str = "Docker-Content-Digest";

/// Longest time in which a document must arrive.
const DOCUMENT: Duration = Duration::from_secs(300);
/// Largest error answer or token answer that is read, in bytes.
const LONGEST_WORDS: u64 = 1 << 20;

/// A request that can be repeated.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    /// The actions on the repository, in the form of a token's scope: `pull`, `pull,push`.
    pub(crate) actions: &'a str,
    /// The subject of the request, for error messages.
    pub(crate) what: &'a str,
}

impl<'a> Request<'a> {
    /// Makes a request that reads.
    pub(crate) fn get(url: Url, what: &'a str) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            actions: "pull",
            what,
        }
    }
}

impl Endpoint {
    /// Returns the manifest that the tag or digest of `reference` names.
    pub(crate) async fn manifest(
        &self,
        reference: &Reference,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let name = reference.digest().or(reference.tag()).unwrap_or("latest");
        let mut request = Request::get(self.url(&format!("manifests/{name}"), what)?, what);
        let kinds = HeaderValue::from_static(MANIFESTS);
        request.headers.insert(ACCEPT, kinds);
        let answer = self.accepted(&request).await?;
        let said = answer.headers().get(DIGEST).and_then(|it| it.to_str().ok());
        let said: Option<Digest> = said.and_then(|said| said.parse().ok());
        let text = document(answer, LONGEST_DOCUMENT, what, self.host()).await?;
        if let Some(said) = said {
            said.check(&text).map_err(|source| Error::Content {
                what: what.to_owned(),
                source,
            })?;
        }
        Ok(text)
    }

    /// Begins to receive a blob, from the byte `at`.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        at: u64,
        what: &str,
    ) -> Result<Response, Error> {
        let mut request = Request::get(self.url(&format!("blobs/{digest}"), what)?, what);
        if at > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={at}-"))
        {
            request.headers.insert(RANGE, range);
        }
        self.accepted(&request).await
    }

    /// Asks the registry which credentials it wants before any other request. Returns `None` when
    /// it wants none.
    pub(crate) async fn greet(&self, what: &str) -> Result<Option<Pass>, Error> {
        let request = Request::get(self.url("", what)?, what);
        let answer = self.send(&request, None).await?;
        self.challenged(&answer, &request).await
    }

    async fn accepted(&self, request: &Request<'_>) -> Result<Response, Error> {
        let answer = self.ask(request).await?;
        self.accept(answer, request.what).await
    }

    /// Sends a request, with credentials if the registry asks for them. Returns the answer whether
    /// it is a success or not.
    pub(crate) async fn ask(&self, request: &Request<'_>) -> Result<Response, Error> {
        let answer = self.send(request, self.known_pass()).await?;
        let Some(pass) = self.challenged(&answer, request).await? else {
            return Ok(answer);
        };
        if let Ok(mut known) = self.pass.lock() {
            *known = Some(pass.clone());
        }
        self.send(request, Some(pass)).await
    }

    fn known_pass(&self) -> Option<Pass> {
        self.pass.lock().ok().and_then(|pass| pass.clone())
    }

    pub(crate) fn url(&self, path: &str, what: &str) -> Result<Url, Error> {
        let reference = &self.reference;
        let (scheme, host) = (self.scheme(), self.host());
        let text = match path {
            "" => format!("{scheme}://{host}/v2/"),
            path => format!("{scheme}://{host}/v2/{}/{path}", reference.repository()),
        };
        let mut url = Url::parse(&text).map_err(|error| Error::Refused {
            what: what.to_owned(),
            reason: format!("{host}: {error}"),
        })?;
        if let Some(namespace) = reference.namespace() {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }

    async fn send(&self, request: &Request<'_>, pass: Option<Pass>) -> Result<Response, Error> {
        let mut headers = request.headers.clone();
        // The digest is that of the blob without any content coding. docker and podman send this
        // header too.
        let identity = HeaderValue::from_static("identity");
        headers.insert(ACCEPT_ENCODING, identity);
        // The client drops this header when it follows a redirect to another host.
        if let Some(pass) = pass {
            headers.insert(AUTHORIZATION, pass.header());
        }
        let what = request.what;
        self.patience
            .ask(what, self.host(), async || {
                let mut sent = self
                    .client()?
                    .request(request.method.clone(), request.url.clone())
                    .headers(headers.clone());
                if let Some(body) = &request.body {
                    sent = sent.body(body.clone());
                }
                let sent = sent.send().await;
                sent.map_err(|error| Error::of_request(&error, what, self.host()))
            })
            .await
    }

    /// Sends a body that cannot be sent twice, to the address that the registry gave.
    pub(crate) async fn upload(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Body,
        what: &str,
    ) -> Result<Response, Error> {
        let mut headers = headers;
        let own = self.url("", what)?;
        // Only the registry itself may see the credentials.
        if let Some(pass) = self.known_pass().filter(|_| url.origin() == own.origin()) {
            headers.insert(AUTHORIZATION, pass.header());
        }
        let sent = self.client()?.put(url).headers(headers).body(body);
        let answer = sent.send().await;
        answer.map_err(|error| Error::of_request(&error, what, self.host()))
    }

    /// Returns the credentials that an answer asks for, if there are any.
    async fn challenged(
        &self,
        answer: &Response,
        request: &Request<'_>,
    ) -> Result<Option<Pass>, Error> {
        // Only the registry itself may see the credentials.
        if answer.status() != StatusCode::UNAUTHORIZED
            || answer.url().origin() != request.url.origin()
        {
            return Ok(None);
        }
        let login = self.login.as_ref().and_then(basic);
        match challenge(answer.headers()) {
            Some(Challenge::Token { realm, service }) => {
                let token = self.token(&realm, service.as_deref(), login, request);
                Ok(Some(Pass::Token(token.await?)))
            }
            Some(Challenge::Login) => Ok(login.map(Pass::Login)),
            None => Ok(None),
        }
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        login: Option<HeaderValue>,
        request: &Request<'_>,
    ) -> Result<HeaderValue, Error> {
        let what = request.what;
        let refused = |reason: &str| Error::Refused {
            what: what.to_owned(),
            reason: format!("{}: {reason}", self.host()),
        };
        let mut url =
            Url::parse(realm).map_err(|_| refused("its server of tokens has no address"))?;
        // A password that is meant for a TLS connection must not be sent without TLS.
        if url.scheme() != "https" && url.scheme() != self.scheme() {
            return Err(refused("its server of tokens is without TLS"));
        }
        let repository = self.reference.repository();
        let scope = format!("repository:{repository}:{}", request.actions);
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let ask = Request::get(url, what);
        let answer = self.send(&ask, login.map(Pass::Login)).await?;
        let status = answer.status();
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
            return Err(self.unauthorized(what));
        }
        if !status.is_success() {
            return Err(self.refusal(answer, what).await);
        }
        let text = document(answer, LONGEST_WORDS, what, self.host()).await?;
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let token = ["token", "access_token"].map(|name| document[name].as_str());
        let token = token.into_iter().flatten().next();
        let header = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let mut header = header.ok_or_else(|| refused("its server of tokens gives none"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Returns the answer if it is a success, and an error otherwise.
    pub(crate) async fn accept(&self, answer: Response, what: &str) -> Result<Response, Error> {
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(self.refusal(answer, what).await),
        }
    }

    /// Converts the registry's refusal into an error.
    async fn refusal(&self, answer: Response, what: &str) -> Error {
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            return self.unauthorized(what);
        }
        let words = document(answer, LONGEST_WORDS, "", self.host()).await;
        Error::of_answer(status, &words.unwrap_or_default(), what, self.host())
            .unwrap_or_else(|| self.unauthorized(what))
    }

    fn unauthorized(&self, what: &str) -> Error {
        Error::Unauthorized {
            what: what.to_owned(),
            host: self.host().to_owned(),
            user: self.login.as_ref().map(|login| login.user.clone()),
        }
    }
}

/// Reads a whole document of at most `most` bytes.
pub(crate) async fn document(
    answer: Response,
    most: u64,
    what: &str,
    host: &str,
) -> Result<Vec<u8>, Error> {
    let refused = |reason: String| Error::Refused {
        what: what.to_owned(),
        reason: format!("{host} {reason}"),
    };
    let read = async {
        let mut text = Vec::new();
        let mut stream = std::pin::pin!(answer.bytes_stream());
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| Error::of_request(&error, what, host))?;
            if text.len() as u64 + bytes.len() as u64 > most {
                return Err(refused(format!(
                    "sends a document of more than {most} bytes, which is more than is read"
                )));
            }
            text.extend(bytes);
        }
        Ok(text)
    };
    match tokio::time::timeout(DOCUMENT, read).await {
        Ok(read) => read,
        Err(_) => Err(refused(format!(
            "does not come to an end of a document in {} seconds",
            DOCUMENT.as_secs()
        ))),
    }
}

fn basic(login: &Login) -> Option<HeaderValue> {
    use base64::Engine;
    let plain = format!("{}:{}", login.user, login.password);
    let text = base64::engine::general_purpose::STANDARD.encode(plain);
    let mut header = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests;

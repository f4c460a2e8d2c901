//! Asking a registry: requests that say who asks (distribution/docs/spec/auth/token.md), and answers that
//! have an end.

use std::time::Duration;

use futures_util::StreamExt;
use oci::{Digest, LONGEST_DOCUMENT};
use oci_client::errors::{OciDistributionError, OciEnvelope};
use oci_client::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RANGE, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};

use crate::Error;
use crate::endpoint::Endpoint;

/// The kinds of manifest that images have.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
                         application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// The header by which a registry says what it sends.
const DIGEST: &str = "Docker-Content-Digest";

/// How long a document may take.
const DOCUMENT: Duration = Duration::from_secs(300);
/// The most bytes of what a registry says when it refuses, and of a token.
const LONGEST_WORDS: u64 = 1 << 20;

/// Credentials that a registry accepted.
#[derive(Clone)]
pub(crate) enum Pass {
    /// By a token that a server of the registry's gave.
    Token(HeaderValue),
    /// By name and password.
    Login(HeaderValue),
}

impl Pass {
    fn header(&self) -> HeaderValue {
        match self {
            Self::Token(value) | Self::Login(value) => value.clone(),
        }
    }
}

/// The credentials that a registry wants (RFC 9110, 11.6.1).
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Token {
        realm: String,
        service: Option<String>,
    },
    Login,
}

impl Endpoint {
    /// Returns a manifest, which `reference` names by a tag or a digest.
    pub(crate) async fn manifest(
        &self,
        reference: &oci_client::Reference,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let name = reference.digest().or(reference.tag()).unwrap_or("latest");
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let answer = self
            .get(&format!("manifests/{name}"), headers, what)
            .await?;
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

    /// Begins to receive a blob, from a place in it on.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        at: u64,
        what: &str,
    ) -> Result<Response, Error> {
        let mut headers = HeaderMap::new();
        if at > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={at}-"))
        {
            headers.insert(RANGE, range);
        }
        self.get(&format!("blobs/{digest}"), headers, what).await
    }

    /// Says who asks, as far as the registry wants to know before it is asked for anything.
    pub(crate) async fn greet(&self, what: &str) -> Result<Option<Pass>, Error> {
        let url = self.url("", what)?;
        let answer = self.send(&url, HeaderMap::new(), None, what).await?;
        self.challenged(&answer, &url, what).await
    }

    async fn get(&self, path: &str, headers: HeaderMap, what: &str) -> Result<Response, Error> {
        let url = self.url(path, what)?;
        let known = self.pass.lock().ok().and_then(|pass| pass.clone());
        let answer = self.send(&url, headers.clone(), known, what).await?;
        let Some(pass) = self.challenged(&answer, &url, what).await? else {
            return self.accept(answer, what).await;
        };
        if let Ok(mut known) = self.pass.lock() {
            *known = Some(pass.clone());
        }
        let answer = self.send(&url, headers, Some(pass), what).await?;
        self.accept(answer, what).await
    }

    fn url(&self, path: &str, what: &str) -> Result<Url, Error> {
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

    async fn send(
        &self,
        url: &Url,
        mut headers: HeaderMap,
        pass: Option<Pass>,
        what: &str,
    ) -> Result<Response, Error> {
        // Where the answer leads to another host, the client leaves it out.
        if let Some(pass) = pass {
            headers.insert(AUTHORIZATION, pass.header());
        }
        let sent = self
            .reader()?
            .get(url.clone())
            .headers(headers)
            .send()
            .await;
        sent.map_err(|error| Error::of_request(&error, what, self.host()))
    }

    /// Returns the credentials that an answer asks for, if there are any.
    async fn challenged(
        &self,
        answer: &Response,
        url: &Url,
        what: &str,
    ) -> Result<Option<Pass>, Error> {
        // Another server than the registry is told nothing.
        if answer.status() != StatusCode::UNAUTHORIZED || answer.url().origin() != url.origin() {
            return Ok(None);
        }
        let login = match &self.auth {
            RegistryAuth::Basic(user, password) => Some(basic(user, password)),
            _ => None,
        };
        match challenge(answer.headers()) {
            Some(Challenge::Token { realm, service }) => {
                let token = self.token(&realm, service.as_deref(), login, what).await?;
                Ok(Some(Pass::Token(token)))
            }
            Some(Challenge::Login) => Ok(login.flatten().map(Pass::Login)),
            None => Ok(None),
        }
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        login: Option<Option<HeaderValue>>,
        what: &str,
    ) -> Result<HeaderValue, Error> {
        let refused = |reason: &str| Error::Refused {
            what: what.to_owned(),
            reason: format!("{}: {reason}", self.host()),
        };
        let mut url =
            Url::parse(realm).map_err(|_| refused("its server of tokens has no address"))?;
        // Passwords for TLS are not sent without it.
        if url.scheme() != "https" && url.scheme() != self.scheme() {
            return Err(refused("its server of tokens is without TLS"));
        }
        let scope = format!("repository:{}:pull", self.reference.repository());
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let pass = login.flatten().map(Pass::Login);
        let answer = self.send(&url, HeaderMap::new(), pass, what).await?;
        let status = answer.status();
        if !status.is_success() {
            let error = match status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                true => OciDistributionError::UnauthorizedError {
                    url: url.to_string(),
                },
                false => self.said(answer).await,
            };
            return Err(self.refusal(error, what));
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

    async fn accept(&self, answer: Response, what: &str) -> Result<Response, Error> {
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            _ => {
                let error = self.said(answer).await;
                Err(self.refusal(error, what))
            }
        }
    }

    /// Reads a refusal of the registry's.
    async fn said(&self, answer: Response) -> OciDistributionError {
        let (status, url) = (answer.status(), answer.url().to_string());
        if status == StatusCode::UNAUTHORIZED {
            return OciDistributionError::UnauthorizedError { url };
        }
        let words = document(answer, LONGEST_WORDS, "", self.host()).await;
        let words = words.unwrap_or_default();
        let envelope: Option<OciEnvelope> = serde_json::from_slice(&words).ok();
        match envelope {
            Some(envelope) if status.is_client_error() => {
                OciDistributionError::RegistryError { envelope, url }
            }
            _ => OciDistributionError::ServerError {
                code: status.as_u16(),
                url,
                message: String::from_utf8_lossy(&words).into_owned(),
            },
        }
    }

    fn refusal(&self, error: OciDistributionError, what: &str) -> Error {
        Error::of_client(error, what, self.host(), self.user.as_deref())
    }
}

/// Reads a document whole, which has at most `most` bytes.
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

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    use base64::Engine;
    let plain = format!("{user}:{password}");
    let text = base64::engine::general_purpose::STANDARD.encode(plain);
    let mut header = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The first challenge that is understood; a token is asked for before a password.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let all = headers.get_all(WWW_AUTHENTICATE).iter();
    let all: Vec<&str> = all.filter_map(|value| value.to_str().ok()).collect();
    let of_scheme = |scheme: &str| {
        all.iter().find_map(|text| {
            let (found, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            found.eq_ignore_ascii_case(scheme).then_some(rest)
        })
    };
    let token = of_scheme("Bearer").and_then(|rest| {
        Some(Challenge::Token {
            realm: parameter(rest, "realm")?,
            service: parameter(rest, "service"),
        })
    });
    token.or_else(|| of_scheme("Basic").map(|_| Challenge::Login))
}

/// The value of `name=value` or `name="value"` among others, which commas part.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while let Some((found, after)) = rest.split_once('=') {
        let found = found.trim_matches([' ', ',']);
        let mut value = String::new();
        rest = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut letters = quoted.chars();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => value.push(letters.next()?),
                        letter => value.push(letter),
                    }
                }
                letters.as_str()
            }
            None => {
                let (plain, after) = after.split_once(',').unwrap_or((after, ""));
                value.push_str(plain.trim());
                after
            }
        };
        if found.eq_ignore_ascii_case(name) {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{Credentials, Login, Options, Registry, Silent};

    /// A registry on this machine that answers each request as `answer` says, given its first line and what
    /// it says of who asks. Returns its name.
    fn served(
        answer: impl Fn(&str, &str, &mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                // A client that wants TLS says nothing that is text.
                let Some(Ok(first)) = lines.next() else {
                    continue;
                };
                let rest = lines.map_while(Result::ok);
                let rest: Vec<String> = rest.take_while(|line| !line.is_empty()).collect();
                let who = rest.iter().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("authorization").then_some(value)
                });
                // It goes away as soon as nobody listens.
                let _ = answer(&first, who.unwrap_or_default(), &mut stream);
            }
        });
        host
    }

    fn say(stream: &mut TcpStream, head: &str, body: &str) -> std::io::Result<()> {
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }

    fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[b' '; 1 << 16])?;
        }
    }

    fn registry(host: &str, login: Option<Login>) -> Registry {
        let options = Options {
            credentials: Credentials {
                given: login,
                files: Vec::new(),
            },
            ..Options::default()
        };
        let reference = crate::reference(&format!("{host}/a/b:c")).unwrap();
        Registry::new(&reference, &options).unwrap()
    }

    #[test]
    fn documents_without_end_are_refused() {
        let host = served(|_, _, stream| endless(stream));
        let error = registry(&host, None).manifest().unwrap_err().to_string();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
        let address = host.clone();
        let of_token = served(move |_, _, stream| {
            let head = "401 No\r\nWWW-Authenticate: Bearer realm=\"http://";
            say(stream, &format!("{head}{address}/token\""), "")
        });
        let error = registry(&of_token, None).manifest().unwrap_err();
        let error = error.to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn a_registry_learns_who_asks_and_gives_what_it_has() {
        let host = served(|first, who, stream| {
            let own = stream.local_addr()?;
            let wants = format!(
                "401 No\r\nWWW-Authenticate: Bearer realm=\"http://{own}/token\",service=\"a,b\""
            );
            match (first.split(' ').nth(1).unwrap_or_default(), who) {
                ("/token?scope=repository%3Aa%2Fb%3Apull&service=a%2Cb", "Basic dTpw") => {
                    say(stream, "200 OK", "{\"token\": \"t\"}")
                }
                ("/v2/a/b/manifests/c", "Bearer t") => say(stream, "200 OK", "{}"),
                (path, "Bearer t") if path.starts_with("/v2/a/b/blobs/sha256:") => {
                    say(stream, "200 OK", "blob")
                }
                (_, "") => say(stream, &wants, ""),
                _ => say(stream, "404 No", ""),
            }
        });
        let login = Login {
            user: "u".to_owned(),
            password: "p".to_owned(),
        };
        let registry = registry(&host, Some(login));
        assert_eq!(registry.manifest().unwrap(), b"{}");
        registry.check_login().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let blob = |file: &mut std::fs::File, of: &[u8]| {
            registry.blob(&Digest::of(of), Some(4), file, &Silent)
        };
        blob(&mut file, b"blob").unwrap();
        let error = blob(&mut file, b"another").unwrap_err().to_string();
        assert!(error.contains("the content is another"), "{error}");
    }

    #[test]
    fn challenges_are_read() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(text));
            challenge(&headers)
        };
        let token = |realm: &str, service: Option<&str>| {
            Some(Challenge::Token {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
            })
        };
        let docker = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull\"";
        assert_eq!(
            read(docker),
            token("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        let plain = "bearer service=x, realm=\"a=b,c\\\"d\"";
        assert_eq!(read(plain), token("a=b,c\"d", Some("x")));
        assert_eq!(read("Basic realm=\"x\""), Some(Challenge::Login));
        for text in [
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
            "Negotiate",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

//! Files behind an address.

use std::fs::File;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode};

use crate::endpoint::{AGENT, CONNECT, SILENCE};
use crate::receive::{Receiver, elsewhere, goes_on};
use crate::{Error, Options, Task, trust};

/// Fetches files.
pub struct Web {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web").finish_non_exhaustive()
    }
}

/// What is known of a file before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many bytes it has.
    pub size: Option<u64>,
    /// What changes when the file changes: the server's own mark, or the time of the last change.
    pub mark: Option<String>,
}

/// How often a file may move.
const REDIRECTS: usize = 10;

impl Web {
    /// Gets ready.
    ///
    /// # Errors
    ///
    /// Fails when threads cannot be started.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let runtime = crate::runtime()?;
        let mut client = Client::builder();
        let authorities = trust::authorities(options.authorities.as_deref());
        if let Some(all) =
            authorities.and_then(|text| reqwest::Certificate::from_pem_bundle(&text).ok())
        {
            client = client.tls_certs_only(all);
        }
        let client = client
            .user_agent(AGENT)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .pool_idle_timeout(Duration::from_secs(1))
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .danger_accept_invalid_certs(options.insecure)
            .build()
            .map_err(|error| Error::of_request(&error, "HTTP", "this machine"))?;
        Ok(Self { runtime, client })
    }

    /// Asks what there is at an address.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached, or has nothing there.
    pub fn look(&self, address: &str) -> Result<Page, Error> {
        self.runtime.block_on(async {
            let answer = self.client.head(address).send().await;
            let answer = accept(answer, address)?;
            Ok(page(&answer))
        })
    }

    /// Receives what is at an address into a file; connections that break are taken up where they broke,
    /// as long as the file stays the same.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be had, or the file cannot be written.
    pub fn fetch(
        &self,
        address: &str,
        page: &Page,
        file: &mut File,
        task: &dyn Task,
    ) -> Result<(), Error> {
        let mut receiver = Receiver::new(file, page.size, address, task)?;
        // Nothing says whether a beginning is that of the same file.
        receiver.begin_anew()?;
        self.runtime.block_on(async {
            loop {
                match self.receive(address, page, &mut receiver).await {
                    Ok(()) => return Ok(()),
                    Err(error) => receiver.broke(error).await?,
                }
            }
        })
    }

    async fn receive(
        &self,
        address: &str,
        page: &Page,
        receiver: &mut Receiver<'_>,
    ) -> Result<(), Error> {
        let mut request = self.client.get(address);
        if let Some(mark) = page.mark.as_deref().filter(|_| receiver.at() > 0) {
            request = request
                .header(RANGE, format!("bytes={}-", receiver.at()))
                .header(IF_RANGE, mark);
        }
        let answer = accept(request.send().await, address)?;
        if answer.status() == StatusCode::PARTIAL_CONTENT && !goes_on(&answer, receiver.at()) {
            return Err(elsewhere(address));
        }
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            receiver.begin_anew()?;
        }
        receiver.take(answer.bytes_stream()).await
    }
}

fn page(answer: &Response) -> Page {
    let text = |name| {
        let value = answer.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    Page {
        size: text(CONTENT_LENGTH).and_then(|size| size.parse().ok()),
        mark: text(ETAG)
            .filter(|tag| !tag.starts_with("W/"))
            .or_else(|| text(LAST_MODIFIED)),
    }
}

fn accept(answer: reqwest::Result<Response>, address: &str) -> Result<Response, Error> {
    let host = || {
        let url = reqwest::Url::parse(address).ok();
        let host = url.and_then(|url| url.host_str().map(str::to_owned));
        host.unwrap_or_else(|| "the server".to_owned())
    };
    let answer = answer.map_err(|error| Error::of_request(&error, address, &host()))?;
    let status = answer.status();
    let what = address.to_owned();
    if status.is_success() {
        Ok(answer)
    } else if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        Err(Error::NotFound { what, host: host() })
    } else {
        let reason = format!("{} answers with status {}", host(), status.as_u16());
        Err(match status.is_server_error() {
            true => Error::Interrupted { what, reason },
            false => Error::Refused { what, reason },
        })
    }
}

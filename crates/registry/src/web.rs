//! Files behind an address.

use std::fs::File;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use crate::endpoint::client;
use crate::receive::{Receiver, elsewhere, goes_on};
use crate::trust::Trusted;
use crate::{Error, Options, Patience, Task};

/// Fetches files.
pub struct Web {
    runtime: tokio::runtime::Runtime,
    client: Client,
    patience: Patience,
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
        let trusted = Trusted::authorities(options.authorities.as_deref());
        let failed = |reason| Error::Refused {
            what: "HTTP".to_owned(),
            reason,
        };
        let client = client(&trusted, options.insecure)
            .map_err(failed)?
            .pool_idle_timeout(Duration::from_secs(1))
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .build()
            .map_err(|error| failed(sys::one_line(&error)))?;
        let patience = options.patience.clone();
        Ok(Self {
            runtime,
            client,
            patience,
        })
    }

    /// Asks what there is at an address.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached, or has nothing there.
    pub fn look(&self, address: &str) -> Result<Page, Error> {
        self.runtime.block_on(async {
            let answer = self.ask(address, &|| self.client.head(address)).await?;
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
        let at = receiver.at();
        let request = || match page.mark.as_deref().filter(|_| at > 0) {
            Some(mark) => self
                .client
                .get(address)
                .header(RANGE, format!("bytes={at}-"))
                .header(IF_RANGE, mark),
            None => self.client.get(address),
        };
        let answer = self.ask(address, &request).await?;
        if answer.status() == StatusCode::PARTIAL_CONTENT && !goes_on(&answer, receiver.at()) {
            return Err(elsewhere(address));
        }
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            receiver.begin_anew()?;
        }
        receiver.take(answer.bytes_stream()).await
    }
}

impl Web {
    async fn ask(
        &self,
        address: &str,
        request: &(dyn Fn() -> RequestBuilder + Sync),
    ) -> Result<Response, Error> {
        let host = host(address);
        let send = async || {
            let sent = request().send().await;
            sent.map_err(|error| Error::of_request(&error, address, &host))
        };
        let answer = self.patience.ask(address, &host, send).await?;
        let status = answer.status();
        let what = address.to_owned();
        if status.is_success() {
            Ok(answer)
        } else if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            Err(Error::NotFound { what, host })
        } else {
            let reason = format!("{host} answers with status {}", status.as_u16());
            Err(match status.is_server_error() {
                true => Error::Busy { what, reason },
                false => Error::Refused { what, reason },
            })
        }
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

/// The server's name, for people.
fn host(address: &str) -> String {
    let url = reqwest::Url::parse(address).ok();
    let host = url.and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| "the server".to_owned())
}

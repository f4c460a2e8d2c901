//! Files at an HTTP address.

use std::fs::File;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use crate::endpoint::client;
use crate::receive::{Receiver, elsewhere, goes_on};
use crate::trust::Trusted;
use crate::{Error, Options, Patience};
use progress::Task;

/// A client that fetches files.
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

/// Facts about a file before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The file's size, in bytes.
    pub size: Option<u64>,
    /// A value that changes with the file: its `ETag`, or the time of its last change.
    pub mark: Option<String>,
}

/// Largest number of redirects.
const REDIRECTS: usize = 10;

impl Web {
    /// Prepares a client.
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
            .map_err(|error| failed(text::one_line(&error)))?;
        let patience = options.patience.clone();
        Ok(Self {
            runtime,
            client,
            patience,
        })
    }

    /// Asks for the size and the mark of the file at an address.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be reached, or has no file there.
    pub fn look(&self, address: &str) -> Result<Page, Error> {
        self.runtime.block_on(async {
            let answer = self.ask(address, &|| self.client.head(address)).await?;
            Ok(page(&answer))
        })
    }

    /// Receives the file at an address. A broken connection is resumed at the next byte as long as
    /// the file on the server stays the same.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be fetched or written.
    pub fn fetch(
        &self,
        address: &str,
        page: &Page,
        file: &mut File,
        task: &dyn Task,
    ) -> Result<(), Error> {
        let mut receiver = Receiver::new(file, page.size, address, task)?;
        // Nothing shows whether the bytes that are already there belong to the same file.
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

/// Returns the server's name, for messages.
fn host(address: &str) -> String {
    let url = reqwest::Url::parse(address).ok();
    let host = url.and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| "the server".to_owned())
}

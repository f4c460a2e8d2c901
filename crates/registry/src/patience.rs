//! Waiting for a server that is busy (RFC 9110, 10.2.3 and 15.6.4; RFC 6585, 4).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use crate::Error;

/// Longest time to wait for one answer, all pauses together.
const LONGEST: Duration = Duration::from_secs(90);
/// First pause when the server does not name one. Each further pause is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest silence of a server before the user is informed.
const QUIET: Duration = Duration::from_secs(3);
/// Number of attempts when the server does not say how long to wait.
const ATTEMPTS: u32 = 4;

type Note = dyn Fn(&str) + Send + Sync;

/// How to wait for servers that are busy.
#[derive(Clone, Default)]
pub struct Patience {
    /// The function that is called for each pause.
    note: Option<Arc<Note>>,
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience").finish_non_exhaustive()
    }
}

impl Patience {
    /// Reports each pause to `note`.
    pub fn telling(note: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            note: Some(Arc::new(note)),
        }
    }

    /// Sends a request again until the server is no longer busy.
    ///
    /// # Errors
    ///
    /// Fails when the server stays busy for too long, or cannot be reached.
    pub(crate) async fn ask(
        &self,
        what: &str,
        host: &str,
        mut send: impl AsyncFnMut() -> Result<Response, Error>,
    ) -> Result<Response, Error> {
        let mut waited = Duration::ZERO;
        let mut attempts = 1;
        loop {
            let answer = self.tell_silence(host, send()).await?;
            if !matches!(
                answer.status(),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            ) {
                return Ok(answer);
            }
            let said = answer
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| after(value.to_str().ok()?));
            let pause = match said {
                Some(pause) => pause.max(PAUSE),
                None if attempts >= ATTEMPTS => return Ok(answer),
                None => PAUSE * (1 << (attempts - 1)),
            };
            let status = answer.status().as_u16();
            if waited + pause > LONGEST {
                return Err(Error::Busy {
                    what: what.to_owned(),
                    reason: format!(
                        "{host} answers with status {status}, and wants to be asked again in {} s; try later",
                        pause.as_secs()
                    ),
                });
            }
            if let Some(note) = &self.note {
                note(&format!(
                    "{host} answers with status {status}; asking again in {} s",
                    pause.as_secs()
                ));
            }
            // Other requests may use the connection meanwhile.
            drop(answer);
            tokio::time::sleep(pause).await;
            waited += pause;
            attempts += 1;
        }
    }
}

impl Patience {
    /// Waits for an answer, and reports once that there is none yet.
    async fn tell_silence<T>(&self, host: &str, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        match tokio::time::timeout(QUIET, answer.as_mut()).await {
            Ok(answer) => answer,
            Err(_) => {
                if let Some(note) = &self.note {
                    note(&format!("{host} does not answer yet"));
                }
                answer.await
            }
        }
    }
}

/// Reads the `Retry-After` header: seconds or a date.
fn after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((date.to_utc() - Utc::now()).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_seconds_or_dates() {
        assert_eq!(after("17"), Some(Duration::from_secs(17)));
        assert_eq!(after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        let later = Utc::now() + Duration::from_secs(100);
        let later = later.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let pause = after(&later).unwrap();
        assert!((98..=100).contains(&pause.as_secs()), "{pause:?}");
        for text in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(text), None, "{text}");
        }
    }
}

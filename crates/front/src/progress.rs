//! How far a fetch or a build is: bars on a terminal, a line for each thing done in a log.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use registry::{Progress, Task};

use crate::messages::Messages;

/// What is shown to the user.
pub struct Bars {
    messages: Messages,
    /// The bars, where there is a terminal and the user wants to see them.
    drawn: Option<MultiProgress>,
}

/// What a bar looks like, when the whole is known and when it is not.
const OF_KNOWN: &str = "{prefix:14} {bar:24} {binary_bytes:>11} / {binary_total_bytes:11} {binary_bytes_per_sec:>13} {eta:>4}";
const OF_UNKNOWN: &str = "{prefix:14} {spinner} {binary_bytes:>11} {binary_bytes_per_sec:>13}";
/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(100);

impl Bars {
    /// Decides what is shown.
    pub fn new(messages: &Messages) -> Self {
        let drawn = (stderr().is_terminal() && messages.is_informing()).then(MultiProgress::new);
        Self {
            messages: *messages,
            drawn,
        }
    }
}

impl Progress for Bars {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        // The end of an address tells more than its beginning.
        let name: String = sys::printable(what.rsplit('/').next().unwrap_or(what))
            .chars()
            .take(14)
            .collect();
        let Some(drawn) = &self.drawn else {
            return Box::new(Line {
                messages: self.messages,
                name,
                start: Instant::now(),
                done: AtomicU64::new(0),
            });
        };
        let bar = drawn.add(match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        });
        let style = match total {
            Some(_) => ProgressStyle::with_template(OF_KNOWN),
            None => ProgressStyle::with_template(OF_UNKNOWN),
        };
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name);
        if total.is_none() {
            bar.enable_steady_tick(TURN);
        }
        Box::new(Bar(bar))
    }

    fn note(&self, text: &str) {
        match &self.drawn {
            Some(drawn) => drawn.suspend(|| self.messages.info(text)),
            None => self.messages.info(text),
        }
    }
}

struct Bar(ProgressBar);

impl Task for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A line when it is done.
struct Line {
    messages: Messages,
    name: String,
    start: Instant,
    done: AtomicU64,
}

impl Task for Line {
    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let seconds = self.start.elapsed().as_secs_f64();
        let bytes = HumanBytes(self.done.load(Ordering::Relaxed));
        self.messages
            .info(format_args!("{}: {bytes} in {seconds:.1} s", self.name));
    }
}

//! The progress of a fetch or a build: bars on a terminal, or in a log one line for each finished
//! task.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use progress::{Progress, Task};

use crate::messages::Messages;

/// The progress that the user sees.
pub struct Bars {
    messages: Messages,
    /// The bars, if there is a terminal and the user wants messages.
    drawn: Option<MultiProgress>,
}

/// Layouts of a bar: with a known total, and without.
const OF_KNOWN: &str = "{prefix:14} {bar:24} {binary_bytes:>11} / {binary_total_bytes:11} {binary_bytes_per_sec:>13} {eta:>4}";
const OF_UNKNOWN: &str = "{prefix:14} {spinner} {binary_bytes:>11} {binary_bytes_per_sec:>13}";
/// Time between two steps of a spinner.
const TURN: Duration = Duration::from_millis(100);

impl Bars {
    /// Chooses between bars and lines.
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
        // The end of a URL is more useful than its beginning.
        let name: String = text::printable(what.rsplit('/').next().unwrap_or(what))
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

/// Prints a line when the task is finished.
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

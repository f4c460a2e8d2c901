//! The log, in the formats that engines read: logfmt, or one JSON object per line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Mutex;
use std::time::SystemTime;

use rustix::fs::{MemfdFlags, memfd_create};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{Global, LogFormat};

/// Longest error message, in characters.
const LONGEST: usize = 1000;

/// The log. The last error goes to the log, and as plain text to standard error.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    format: LogFormat,
    causes: Option<File>,
    /// The beginning of the error that ends the program.
    prefix: String,
}

impl Log {
    /// Opens the log and makes the libraries write to it.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be opened.
    pub fn open(global: &Global, prefix: Option<String>) -> io::Result<Self> {
        let open = |path| File::options().append(true).create(true).open(path);
        let file = global.log.as_ref().map(open).transpose()?;
        // The file is in memory, and shared with the processes that libcontainer makes:
        // libcontainer's errors lose their causes on the way back to this process.
        let causes = memfd_create("causes", MemfdFlags::CLOEXEC)
            .ok()
            .map(File::from);
        let sink = Sink {
            causes: causes.as_ref().map(File::try_clone).transpose()?,
            file: file
                .as_ref()
                .map(File::try_clone)
                .transpose()?
                .map(Mutex::new),
            format: global.log_format,
            debug: global.debug,
        };
        // This fails only for a second subscriber; main opens the log once.
        let _ = tracing_subscriber::registry().with(sink).try_init();
        Ok(Self {
            file,
            format: global.log_format,
            causes,
            prefix: prefix.unwrap_or_default(),
        })
    }

    /// Returns the first message of the libraries, unless the error already contains it.
    fn first_cause(&self, error: &str) -> Option<String> {
        let mut file = self.causes.as_ref()?;
        let mut text = String::new();
        file.rewind()
            .and_then(|()| file.read_to_string(&mut text))
            .ok()?;
        let cause = text.lines().next()?;
        let mut ends = cause
            .match_indices(": ")
            .filter_map(|(at, _)| cause.get(at + 2..));
        let is_told = error.contains(cause) || ends.any(|end| end.len() > 8 && error.contains(end));
        (!is_told).then(|| cause.to_owned())
    }

    /// Writes the error that ends the program.
    pub fn fatal(&self, error: &anyhow::Error) {
        let mut text = text::one_line(error.as_ref());
        if let Some(cause) = self.first_cause(&text) {
            text = format!("{text} ({cause})");
        }
        // The invalid text in a message may be as long as a file.
        if let Some((end, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(end);
            text.push('…');
        }
        let text = format!("{}{text}", self.prefix);
        let line = line(self.format, "error", &text);
        match &self.file {
            Some(file) => {
                let _ = (&*file).write_all(line.as_bytes());
                eprintln!("slipway: {text}");
            }
            None => eprint!("{line}"),
        }
    }
}

/// Receives the libraries' events. libcontainer reports each error once at every level of the call
/// stack. Only `--debug` shows all of these reports, because the last one contains the others.
struct Sink {
    causes: Option<File>,
    file: Option<Mutex<File>>,
    format: LogFormat,
    debug: bool,
}

impl<S: Subscriber> Layer<S> for Sink {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let own = is_own(metadata);
        if self.debug {
            *metadata.level() <= Level::DEBUG
        } else {
            let most = if own { Level::WARN } else { Level::ERROR };
            *metadata.level() <= most
        }
    }

    /// Events below this level then cost nothing; libcontainer has many of them.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.debug {
            LevelFilter::DEBUG
        } else {
            LevelFilter::WARN
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let own = is_own(event.metadata());
        if *event.metadata().level() == Level::ERROR && !own {
            // If the memory file cannot be written, the cause is lost.
            let _ = self
                .causes
                .as_ref()
                .map(|mut file| writeln!(file, "{}", text.0));
            if !self.debug {
                return;
            }
        }
        let level = match *event.metadata().level() {
            Level::ERROR if self.debug => "debug",
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        let line = line(self.format, level, &text.0);
        match self.file.as_ref().map(Mutex::lock) {
            Some(Ok(mut file)) => drop(file.write_all(line.as_bytes())),
            _ => eprint!("{line}"),
        }
    }
}

fn is_own(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.target().starts_with("engine") || metadata.target().starts_with("slipway")
}

/// An event's message and fields, in one line.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

fn line(format: LogFormat, level: &str, text: &str) -> String {
    let time = timestamp(SystemTime::now());
    match format {
        LogFormat::Json => {
            let object = serde_json::json!({"level": level, "msg": text, "time": time});
            format!("{object}\n")
        }
        LogFormat::Text => {
            let text = serde_json::Value::from(text);
            format!("time=\"{time}\" level={level} msg={text}\n")
        }
    }
}

/// Formats a time in UTC as RFC 3339, in seconds. The calendar uses Howard Hinnant's
/// `civil_from_days`.
fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86400, seconds % 86400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_right() {
        let rows = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_224_887, "2026-11-21T01:34:47Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ];
        for (seconds, text) in rows {
            assert_eq!(
                timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                text
            );
        }
    }

    #[test]
    fn a_line_is_one_line() {
        let json = line(LogFormat::Json, "error", "a \"b\"\nc");
        assert!(
            json.starts_with(r#"{"level":"error","msg":"a \"b\"\nc","time":""#),
            "{json}"
        );
        assert_eq!(json.matches('\n').count(), 1);
        let text = line(LogFormat::Text, "warning", "a\nb");
        assert!(text.contains(r#" level=warning msg="a\nb""#), "{text}");
    }
}

//! Reporting work that takes time.

#![forbid(unsafe_code)]

/// A receiver of reports, such as bars on a terminal.
pub trait Progress: Sync {
    /// Begins a piece of work. `total` is in bytes; `None` when it is not known.
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task>;
    /// Reports something that the user should know.
    fn note(&self, text: &str);
}

/// A piece of work, which ends when this value is dropped.
pub trait Task: Send + Sync {
    /// Reports that `bytes` more bytes are done.
    fn advance(&self, bytes: u64);
}

/// Discards all reports.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Self)
    }

    fn note(&self, _: &str) {}
}

impl Task for Silent {
    fn advance(&self, _: u64) {}
}

//! What is told of work that takes time.

/// Who is told.
pub trait Progress: Sync {
    /// A piece of work begins. `total` is in bytes; `None` when it is not known.
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task>;
    /// Something that the user should know.
    fn note(&self, text: &str);
}

/// A piece of work, which ends when this is dropped.
pub trait Task: Send + Sync {
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
}

/// Tells nobody.
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

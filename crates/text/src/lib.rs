//! Texts that people read and write: error messages, foreign texts on a terminal, names of signals.

mod error;
mod printable;
mod signal;

pub use error::{message, one_line, with_advice};
pub use printable::{printable, printable_lines};
pub use signal::signal_number;

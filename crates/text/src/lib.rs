//! Texts that people read and write: error messages, foreign texts on a terminal, names of signals,
//! sizes.

mod error;
mod printable;
mod signal;
mod size;

pub use error::{message, one_line, with_advice};
pub use printable::{printable, printable_lines};
pub use signal::signal_number;
pub use size::{parse_size, scaled};

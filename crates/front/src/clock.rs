//! The time, in seconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::caller::Caller;

/// Returns the time.
///
/// # Errors
///
/// Fails when the clock is before 1970.
pub fn now() -> Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

/// Returns the time, or the time in `SOURCE_DATE_EPOCH`, by which builds can be repeated.
///
/// # Errors
///
/// Fails as [`now`] does, and when `SOURCE_DATE_EPOCH` is not a number.
pub fn build_time(caller: &Caller) -> Result<i64> {
    chosen_time(caller)?.map_or_else(now, Ok)
}

/// Returns the time in `SOURCE_DATE_EPOCH`, if it is set.
///
/// # Errors
///
/// Fails when it is not a number.
pub fn chosen_time(caller: &Caller) -> Result<Option<i64>> {
    let Some(text) = caller.variables.get(CHOSEN_TIME) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    let time = text.parse();
    time.map(Some)
        .with_context(|| format!("{CHOSEN_TIME}={text}: expected seconds since 1970"))
}

/// The variable of a time that makes builds repeatable ([reproducible-builds.org]).
///
/// [reproducible-builds.org]: https://reproducible-builds.org/specs/source-date-epoch/
pub const CHOSEN_TIME: &str = "SOURCE_DATE_EPOCH";

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
    let Some(text) = caller.variables.get("SOURCE_DATE_EPOCH") else {
        return now();
    };
    let text = text.to_string_lossy();
    text.parse()
        .with_context(|| format!("SOURCE_DATE_EPOCH={text}: expected seconds since 1970"))
}

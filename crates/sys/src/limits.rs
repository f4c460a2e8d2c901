//! Limits of this process that are too low to work with ([getrlimit(2)]).
//!
//! [getrlimit(2)]: https://man7.org/linux/man-pages/man2/getrlimit.2.html

use std::fmt;
use std::sync::Mutex;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A limit, and the least value with which our programs work: the measured need and a margin.
struct Need {
    resource: Resource,
    /// The thing that is limited.
    what: &'static str,
    /// The flag of the shell's `ulimit`, and the number of bytes in its unit.
    flag: char,
    unit: u64,
    least: u64,
}

const NEEDS: [Need; 4] = [
    Need {
        resource: Resource::Nofile,
        what: "open files",
        flag: 'n',
        unit: 1,
        least: 40,
    },
    Need {
        resource: Resource::Stack,
        what: "stack",
        flag: 's',
        unit: 1 << 10,
        least: 1 << 20,
    },
    Need {
        resource: Resource::Fsize,
        what: "size of files",
        flag: 'f',
        unit: 1 << 10,
        least: 4 << 20,
    },
    Need {
        resource: Resource::As,
        what: "address space",
        flag: 'v',
        unit: 1 << 10,
        least: 160 << 20,
    },
];

/// A limit that is too low, and may not be raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowLimit {
    what: &'static str,
    flag: char,
    has: u64,
    least: u64,
}

impl fmt::Display for LowLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            flag,
            has,
            least,
        } = self;
        write!(
            f,
            "the limit of this process's {what} is too low: `ulimit -{flag}` is {has}, and {least} is the least"
        )
    }
}

impl std::error::Error for LowLimit {}

/// The limits before they were raised.
static BEFORE: Mutex<Vec<(Resource, Rlimit)>> = Mutex::new(Vec::new());

/// Raises those soft limits of this process that are too low, as far as it may. [`restore_limits`]
/// undoes this.
///
/// # Errors
///
/// Returns the limit that is too low and may not be raised.
pub fn raise_low_limits() -> Result<(), LowLimit> {
    for need in NEEDS {
        let before = getrlimit(need.resource);
        if before.current.is_none_or(|current| current >= need.least) {
            continue;
        }
        let raised = Rlimit {
            current: Some(
                before
                    .maximum
                    .map_or(need.least, |most| most.min(need.least)),
            ),
            maximum: before.maximum,
        };
        let allowed = before.maximum.is_none_or(|most| most >= need.least);
        if !allowed || setrlimit(need.resource, raised).is_err() {
            return Err(LowLimit {
                what: need.what,
                flag: need.flag,
                has: before.current.unwrap_or(0) / need.unit,
                least: need.least / need.unit,
            });
        }
        if let Ok(mut all) = BEFORE.lock() {
            all.push((need.resource, before));
        }
    }
    Ok(())
}

/// Restores the limits with which this process was started, before it becomes a program of the
/// caller's.
pub fn restore_limits() {
    let Ok(mut all) = BEFORE.lock() else { return };
    for (resource, before) in all.drain(..) {
        // A limit that was set meanwhile, for example by a specification, stays.
        let now = getrlimit(resource);
        if now.maximum == before.maximum {
            let _ = setrlimit(resource, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_named_in_the_shells_units() {
        let low = LowLimit {
            what: "stack",
            flag: 's',
            has: 64,
            least: 1024,
        };
        assert!(low.to_string().contains("`ulimit -s` is 64, and 1024"));
    }
}

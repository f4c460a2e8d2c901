//! Container ids: names in the state directory.

use crate::Error;
use crate::shadow_bundle::SHADOWS;

/// Checks an id as runc does: it may have letters, digits and `_+-.`, and must not lead out of a
/// directory. An id with the name of the state's own directories is refused, too.
pub(crate) fn check(id: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let is_own = id.starts_with(SHADOWS);
    let is_directory = id == "." || id == "..";
    if id.is_empty() || id.len() > 1024 || is_directory || is_own || !id.chars().all(allowed) {
        return Err(Error::InvalidId(id.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_lead_away() {
        for id in ["a", "A-b_c.d+1", "..a"] {
            assert!(check(id).is_ok(), "{id}");
        }
        for id in [
            "",
            ".",
            "..",
            ".bundles",
            ".bundles.cgroup",
            "a/b",
            "a b",
            "ä",
            "a\0",
            "\n",
        ] {
            assert!(check(id).is_err(), "{id:?}");
        }
    }
}

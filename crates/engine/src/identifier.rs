//! Container ids: names in the state directory.

use crate::Error;

/// Checks an id as runc does: letters, digits and `_+-.`, and no way out of a directory.
pub(crate) fn check(id: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.chars().all(allowed) {
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
        for id in ["", ".", "..", "a/b", "a b", "ä", "a\0", "\n"] {
            assert!(check(id).is_err(), "{id:?}");
        }
    }
}

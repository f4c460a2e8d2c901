//! Names of devices: `nvidia.com/gpu=0`.

use std::fmt;

use crate::Error;

/// The full name of a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The vendor and class, such as `nvidia.com/gpu`.
    pub kind: String,
    /// The device within the kind, such as `0`.
    pub device: String,
}

impl Name {
    /// Parses `vendor/class=name`.
    ///
    /// # Errors
    ///
    /// Fails on any other form.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Name(text.to_owned());
        let (kind, device) = text.split_once('=').ok_or_else(wrong)?;
        if !is_kind(kind) || !is_device(device) {
            return Err(wrong());
        }
        Ok(Self {
            kind: kind.to_owned(),
            device: device.to_owned(),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

/// Whether a text is `vendor/class`. Each part begins with a letter, ends with a letter or digit,
/// and has letters, digits, `_`, `-` and `.` in between.
pub(crate) fn is_kind(text: &str) -> bool {
    let Some((vendor, class)) = text.split_once('/') else {
        return false;
    };
    is_word(vendor, "_-.", false) && is_word(class, "_-.", false)
}

/// Whether a text is a device's name. The rules are those of a vendor, but `:` is allowed and the
/// first character may be a digit.
pub(crate) fn is_device(text: &str) -> bool {
    is_word(text, "_-.:", true)
}

fn is_word(text: &str, others: &str, digit_first: bool) -> bool {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else {
        return false;
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    (first.is_ascii_alphabetic() || digit_first && first.is_ascii_digit())
        && last.is_ascii_alphanumeric()
        && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_three_parts() {
        for text in [
            "nvidia.com/gpu=0",
            "a/b=c",
            "vendor.com/my-class=GPU-1:2",
            "amd.com/gpu=all",
        ] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "gpu",
            "nvidia.com/gpu",
            "/gpu=0",
            "a/=0",
            "a/b=",
            "a/b/c=0",
            "1a/b=0",
            "a/b=x y",
            "a/b=-",
        ] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
    }
}

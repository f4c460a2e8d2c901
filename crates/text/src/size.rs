//! Numbers of bytes.

/// Parses a number of bytes such as `4096`, `500M` or `2GiB`. Letters stand for units of powers of
/// 1024. Returns `None` if the text is no such number, or is too large.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = match text.find(|letter: char| !letter.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let power = match unit.trim_end_matches("iB").trim_end_matches(['B', 'b']) {
        "" => 0,
        "K" | "k" => 1,
        "M" | "m" => 2,
        "G" | "g" => 3,
        "T" | "t" => 4,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << (10 * power))
}

/// Divides a number of bytes by 1024 until it is below 1024 or the units are used up. The first unit is
/// that of `value`. Returns the quotient and its unit.
#[must_use]
pub fn scaled(mut value: f64, units: &[&'static str]) -> (f64, &'static str) {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while value >= 1024.0
        && let Some(larger) = units.next()
    {
        value /= 1024.0;
        unit = larger;
    }
    (value, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("100", Some(100)),
            (" 1K ", Some(1 << 10)),
            ("500M", Some(500 << 20)),
            ("64mb", Some(64 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1T", Some(1 << 40)),
            ("", None),
            ("G", None),
            ("5 apples", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("99999999999T", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn the_largest_unit_has_no_bound() {
        let units = ["KiB", "MiB"];
        assert_eq!(scaled(1023.0, &units), (1023.0, "KiB"));
        assert_eq!(scaled(1024.0, &units), (1.0, "MiB"));
        assert_eq!(scaled(3.0 * 1024.0 * 1024.0, &units), (3072.0, "MiB"));
    }
}

//! Signals by name or number.

use nix::sys::signal::Signal;

/// Returns the number of a signal such as `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `0`; `None` if the
/// text is not a signal.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=nix::libc::SIGRTMAX())
            .contains(&number)
            .then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let real_time = |prefix: &str, base: i32, sign: i32| {
        let rest = name.strip_prefix(prefix)?;
        let offset = if rest.is_empty() {
            0
        } else {
            rest.get(1..)?.parse::<i32>().ok()?
        };
        let number = base + sign * offset;
        (nix::libc::SIGRTMIN()..=nix::libc::SIGRTMAX())
            .contains(&number)
            .then_some(number)
    };
    let found = match name {
        "IOT" => Some(nix::libc::SIGABRT),
        "POLL" => Some(nix::libc::SIGIO),
        "CLD" => Some(nix::libc::SIGCHLD),
        name => format!("SIG{name}")
            .parse::<Signal>()
            .ok()
            .map(|signal| signal as i32),
    };
    found
        .or_else(|| real_time("RTMIN", nix::libc::SIGRTMIN(), 1))
        .or_else(|| real_time("RTMAX", nix::libc::SIGRTMAX(), -1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_spelling() {
        let rows = [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("0", 0),
            ("SIGUSR1", 10),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
            ("IOT", 6),
        ];
        for (text, number) in rows {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for text in ["", "FOO", "65", "-1", "RTMIN+99", "SIG"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}

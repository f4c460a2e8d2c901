//! The devices that a container may use in the unified hierarchy, as rules for a program that the
//! kernel runs on each access. libcgroups has such a program too, but needs a C library for it at
//! build time, and lets everything pass without it.

use device_filter::Rule;
use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Returns the rules of every container (runc's list): it may make any node, and use null, zero,
/// full, random, urandom, tty, console, ptmx and the terminals.
fn always() -> impl Iterator<Item = Rule> {
    let node = |kind| Rule {
        allow: true,
        kind: Some(kind),
        major: None,
        minor: None,
        access: Rule::MKNOD,
    };
    let known = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (136, None),
    ];
    let known = known.into_iter().map(|(major, minor)| Rule {
        allow: true,
        kind: Some(Rule::CHARACTER),
        major: Some(major),
        minor,
        access: Rule::ANY,
    });
    let nodes = [Rule::CHARACTER, Rule::BLOCK].map(node);
    nodes.into_iter().chain(known)
}

/// Reads a rule of the specification. A negative number means any, as in runc.
fn read(rule: &LinuxDeviceCgroup) -> Rule {
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::B => Some(Rule::BLOCK),
        LinuxDeviceType::C | LinuxDeviceType::U => Some(Rule::CHARACTER),
        LinuxDeviceType::A | LinuxDeviceType::P => None,
    };
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let letters = rule.access().as_deref().unwrap_or("rwm");
    let bit = |letter: char, bit: u32| if letters.contains(letter) { bit } else { 0 };
    Rule {
        allow: rule.allow(),
        kind,
        major: number(rule.major()),
        minor: number(rule.minor()),
        access: bit('m', Rule::MKNOD) | bit('r', Rule::READ) | bit('w', Rule::WRITE),
    }
}

/// Returns the rules of a specification and those of every container. The last rule that matches
/// decides.
pub(super) fn rules(rules: &[LinuxDeviceCgroup]) -> Vec<Rule> {
    rules.iter().map(read).chain(always()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_the_specification_is_read_as_runc_reads_it() {
        let of = |text: &str| read(&serde_json::from_str(text).unwrap());
        let denied = of(r#"{"allow": false, "access": "rwm"}"#);
        let expected = Rule {
            allow: false,
            kind: None,
            major: None,
            minor: None,
            access: Rule::ANY,
        };
        assert_eq!(denied, expected);
        let fuse = of(r#"{"allow": true, "type": "c", "major": 10, "minor": -1, "access": "r"}"#);
        let expected = Rule {
            allow: true,
            kind: Some(Rule::CHARACTER),
            major: Some(10),
            minor: None,
            access: Rule::READ,
        };
        assert_eq!(fuse, expected);
        assert_eq!(of(r#"{"allow": true}"#).access, Rule::ANY);
    }
}

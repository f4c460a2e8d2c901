//! Which devices a container may use, in the unified hierarchy: rules for a program that the kernel asks.
//! libcgroups' own needs a C library at build time, and without it lets everything pass.

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use sys::DeviceRule;

/// What every container may use (runc's list): make any node; null, zero, full, random, urandom, tty,
/// console, ptmx and the terminals.
fn always() -> impl Iterator<Item = DeviceRule> {
    let node = |kind| DeviceRule {
        allow: true,
        kind: Some(kind),
        major: None,
        minor: None,
        access: DeviceRule::MKNOD,
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
    let known = known.into_iter().map(|(major, minor)| DeviceRule {
        allow: true,
        kind: Some(DeviceRule::CHARACTER),
        major: Some(major),
        minor,
        access: DeviceRule::ANY,
    });
    let nodes = [DeviceRule::CHARACTER, DeviceRule::BLOCK].map(node);
    nodes.into_iter().chain(known)
}

/// Reads a rule of the specification; a negative number means any, as runc has it.
fn read(rule: &LinuxDeviceCgroup) -> DeviceRule {
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::B => Some(DeviceRule::BLOCK),
        LinuxDeviceType::C | LinuxDeviceType::U => Some(DeviceRule::CHARACTER),
        LinuxDeviceType::A | LinuxDeviceType::P => None,
    };
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let letters = rule.access().as_deref().unwrap_or("rwm");
    let bit = |letter: char, bit: u32| if letters.contains(letter) { bit } else { 0 };
    DeviceRule {
        allow: rule.allow(),
        kind,
        major: number(rule.major()),
        minor: number(rule.minor()),
        access: bit('m', DeviceRule::MKNOD)
            | bit('r', DeviceRule::READ)
            | bit('w', DeviceRule::WRITE),
    }
}

/// Returns what a specification's rules come to; the last that says anything decides.
pub(super) fn rules(rules: &[LinuxDeviceCgroup]) -> Vec<DeviceRule> {
    rules.iter().map(read).chain(always()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_the_specification_is_read_as_runc_reads_it() {
        let of = |text: &str| read(&serde_json::from_str(text).unwrap());
        let denied = of(r#"{"allow": false, "access": "rwm"}"#);
        let expected = DeviceRule {
            allow: false,
            kind: None,
            major: None,
            minor: None,
            access: DeviceRule::ANY,
        };
        assert_eq!(denied, expected);
        let fuse = of(r#"{"allow": true, "type": "c", "major": 10, "minor": -1, "access": "r"}"#);
        let expected = DeviceRule {
            allow: true,
            kind: Some(DeviceRule::CHARACTER),
            major: Some(10),
            minor: None,
            access: DeviceRule::READ,
        };
        assert_eq!(fuse, expected);
        assert_eq!(of(r#"{"allow": true}"#).access, DeviceRule::ANY);
    }
}

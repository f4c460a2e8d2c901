//! Looks up the caller: in `/etc/passwd` and `/etc/group`, then with `getent`, then in the
//! environment.
//!
//! A static binary cannot load the C library's own modules for LDAP and similar services. The
//! host's program `getent` can.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bundle::{Account, Group};
use nix::unistd::{getegid, geteuid, getgroups};

use crate::variables::Variables;

/// Returns the caller's account. It never fails: a user without an entry gets the name and the home
/// of the environment.
pub fn find(variables: &Variables) -> Account {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let number = uid.to_string();
    let line = file_line("/etc/passwd", &number).or_else(|| getent("passwd", &[&number]).pop());
    let fields: Vec<&str> = line.as_deref().unwrap_or_default().split(':').collect();
    let field = |index: usize| fields.get(index).copied().filter(|field| !field.is_empty());
    let text = |name: &str| {
        variables
            .get(name)
            .and_then(|value| value.to_str())
            .map(str::to_owned)
    };
    let home = field(5)
        .map(PathBuf::from)
        .or_else(|| text("HOME").map(PathBuf::from));
    Account {
        uid,
        gid,
        name: field(0)
            .map(str::to_owned)
            .or_else(|| text("USER"))
            .unwrap_or(number),
        gecos: field(4).unwrap_or_default().to_owned(),
        home: home
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| PathBuf::from("/")),
        shell: field(6).map_or_else(|| "/bin/sh".to_owned(), str::to_owned),
        groups: groups(gid),
    }
}

/// Returns a user's name.
pub fn user_name(uid: u32) -> Option<String> {
    let number = uid.to_string();
    let line = file_line("/etc/passwd", &number).or_else(|| getent("passwd", &[&number]).pop());
    Some(line?.split(':').next()?.to_owned())
}

/// Returns the primary and the supplementary groups that have a name, in that order.
fn groups(primary: u32) -> Vec<Group> {
    let mut numbers = vec![primary];
    for gid in getgroups().unwrap_or_default() {
        if !numbers.contains(&gid.as_raw()) {
            numbers.push(gid.as_raw());
        }
    }
    let file = fs::read_to_string("/etc/group").unwrap_or_default();
    let mut lines: Vec<String> = file.lines().map(str::to_owned).collect();
    let known = |lines: &[String], gid: u32| lines.iter().find_map(|line| parse_group(line, gid));
    let missing: Vec<String> = numbers
        .iter()
        .filter(|gid| known(&lines, **gid).is_none())
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        lines.extend(getent(
            "group",
            &missing.iter().map(String::as_str).collect::<Vec<_>>(),
        ));
    }
    numbers
        .into_iter()
        .filter_map(|gid| known(&lines, gid))
        .collect()
}

fn parse_group(line: &str, gid: u32) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let number: u32 = fields.nth(1)?.parse().ok()?;
    (number == gid).then(|| Group {
        name: name.to_owned(),
        gid,
    })
}

/// Returns the line of a colon-separated database whose third field is `number`.
fn file_line(path: &str, number: &str) -> Option<String> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines()
        .find(|line| line.split(':').nth(2) == Some(number))
        .map(str::to_owned)
}

/// Asks the host's `getent`. Returns nothing if there is none.
fn getent(database: &str, keys: &[&str]) -> Vec<String> {
    let output = Command::new("getent")
        .arg(database)
        .args(keys)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_group_lines() {
        assert_eq!(parse_group("users:x:100:ada", 100).unwrap().name, "users");
        for line in ["users:x:101:", "users:x", "", ":x:100:", "users:x:many:"] {
            assert_eq!(parse_group(line, 100), None, "{line}");
        }
    }
}

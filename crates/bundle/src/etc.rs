//! `/etc/passwd` and `/etc/group`: the image's, plus the caller.

use std::fmt::Write;

use crate::Account;

/// Returns the image's `passwd` with a line for the caller. If a line already has the caller's
/// number, only its home field is changed.
pub(crate) fn passwd(image: &str, account: &Account) -> String {
    let uid = account.uid.to_string();
    let home = account.home.to_string_lossy();
    let mut text = String::new();
    let mut found = false;
    for line in image.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        if !found && fields.len() == 7 && fields.get(2) == Some(&uid.as_str()) {
            found = true;
            if let Some(field) = fields.get_mut(5) {
                *field = &home;
            }
            text.push_str(&fields.join(":"));
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    if !found {
        let Account {
            name,
            gid,
            gecos,
            shell,
            ..
        } = account;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}");
    }
    text
}

/// Returns the image's `group` with a line for each of the caller's groups.
pub(crate) fn group(image: &str, account: &Account) -> String {
    let mut text = image.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for group in &account.groups {
        let _ = writeln!(text, "{}:x:{}:{}", group.name, group.gid, account.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Group;

    fn account() -> Account {
        Account {
            uid: 1000,
            gid: 100,
            name: "ada".into(),
            gecos: "Ada".into(),
            home: "/home/ada".into(),
            shell: "/bin/zsh".into(),
            groups: vec![Group {
                name: "users".into(),
                gid: 100,
            }],
        }
    }

    #[test]
    fn adds_the_caller() {
        let line = "ada:x:1000:100:Ada:/home/ada:/bin/zsh\n";
        assert_eq!(passwd("", &account()), line);
        assert_eq!(
            passwd("root:x:0:0:::", &account()),
            format!("root:x:0:0:::\n{line}")
        );
    }

    #[test]
    fn keeps_a_line_with_the_callers_number() {
        let image = "bob:x:1000:1:Bob:/home/bob:/bin/sh\nodd line\n";
        assert_eq!(
            passwd(image, &account()),
            "bob:x:1000:1:Bob:/home/ada:/bin/sh\nodd line\n"
        );
    }

    #[test]
    fn adds_the_groups() {
        assert_eq!(
            group("root:x:0:", &account()),
            "root:x:0:\nusers:x:100:ada\n"
        );
    }
}

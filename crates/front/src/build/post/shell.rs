//! The state of a shell between two commands, as a script that another shell reads.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The state of a shell, as it has printed it.
#[derive(Debug, Default)]
pub struct Printed {
    /// Whether it is bash, which also tells of attributes of variables.
    pub is_bash: bool,
    /// Its traps, aliases and the number of its parameters, which another shell does not get.
    pub private: String,
    /// The output of `set`, or of `declare -p`.
    pub variables: String,
    /// The output of `export -p`.
    pub exports: String,
    /// The output of `shopt -p` and of `declare -f`.
    pub functions: String,
    /// The output of `set +o`.
    pub options: String,
    /// The output of `umask`.
    pub umask: String,
    /// The output of `pwd`.
    pub directory: String,
}

/// The variables that a script has changed since its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// The names, each with the command that sets the variable.
    variables: BTreeMap<String, String>,
    /// Those that are exported now, and were not.
    exported: BTreeSet<String>,
    /// Those that are not there any more.
    unset: BTreeSet<String>,
}

/// The variable that says that the whole state was read.
pub const RESTORED: &str = "FRONT_RESTORED";
/// The variable with the number of a line, which is not the script's.
pub const STEP: &str = "FRONT_STEP";
/// Variables that a shell sets itself.
const OWN: [&str; 23] = [
    STEP,
    RESTORED,
    "_",
    "PPID",
    "UID",
    "EUID",
    "SHELLOPTS",
    "BASHOPTS",
    "LINENO",
    "RANDOM",
    "SRANDOM",
    "SECONDS",
    "DIRSTACK",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "PIPESTATUS",
    "OPTERR",
    "OPTIND",
    "SHLVL",
    "COMP_WORDBREAKS",
    "EPOCHSECONDS",
    "EPOCHREALTIME",
];
/// Options that are restored; the others belong to terminals. `xtrace` is the last: what comes after
/// it would be printed.
const OPTIONS: [&str; 11] = [
    "noglob",
    "noclobber",
    "allexport",
    "nounset",
    "pipefail",
    "errtrace",
    "functrace",
    "braceexpand",
    "posix",
    "errexit",
    "xtrace",
];

impl Printed {
    /// Returns the variables, but for the shell's own, each with its record.
    fn by_name(&self) -> BTreeMap<String, String> {
        let all = records(&self.variables).into_iter();
        let named = all.filter_map(|record| Some((self.name(record)?, record)));
        named
            .map(|(name, record)| (name.to_owned(), record.to_owned()))
            .collect()
    }

    fn exported(&self) -> BTreeSet<String> {
        let all = records(&self.exports).into_iter();
        let names = all.filter_map(|record| record.strip_prefix("export "));
        let names = names.map(before_value);
        names
            .filter(|name| is_name(name) && !is_own(name))
            .map(str::to_owned)
            .collect()
    }

    /// Returns what the script has changed: since `begin`, and `earlier` in the same script.
    pub fn changed(&self, begin: &Self, earlier: &Changed) -> Changed {
        let (now, then) = (self.by_name(), begin.by_name());
        let (exported, before) = (self.exported(), begin.exported());
        let is_new = |name: &String, record: &String| {
            earlier.variables.contains_key(name) || then.get(name) != Some(record)
        };
        let gone = then.keys().chain(&earlier.unset);
        Changed {
            unset: gone
                .filter(|name| !now.contains_key(*name))
                .cloned()
                .collect(),
            exported: exported
                .into_iter()
                .filter(|name| earlier.exported.contains(name) || !before.contains(name))
                .collect(),
            variables: { now.into_iter() }
                .filter(|(name, record)| is_new(name, record))
                .collect(),
        }
    }

    /// Returns a script that gives another shell this state. `changed` are the variables that it has
    /// otherwise.
    pub fn script(&self, changed: &Changed) -> String {
        let mut script = String::from("set +e +u +x +f +a +C\n");
        let mut line = |text: &str| {
            script.push_str(text);
            script.push('\n');
        };
        line(&self.functions);
        for (name, record) in &changed.variables {
            line(record);
            let flags = record.strip_prefix("declare -").filter(|_| self.is_bash);
            let flags = flags.and_then(|rest| rest.split(' ').next());
            if flags.is_some_and(|flags| !flags.contains('x')) {
                line(&format!("declare +x {name}"));
            }
        }
        for name in &changed.exported {
            line(&format!("export {name}"));
        }
        for name in changed.unset.iter().filter(|name| is_name(name)) {
            line(&format!("unset {name}"));
        }
        let directory = self.directory.strip_suffix('\n').unwrap_or(&self.directory);
        line(&format!("umask {}", self.umask.trim()));
        line(&format!(
            "cd '{}' || exit 97",
            directory.replace('\'', "'\\''")
        ));
        // `cd` has set it.
        if let Some(old) = changed.variables.get("OLDPWD") {
            line(old);
        }
        line(&format!("{RESTORED}=1"));
        for option in OPTIONS {
            let lines = self.options.lines();
            for own in lines.filter(|line| line.split_whitespace().nth(2) == Some(option)) {
                line(own);
            }
        }
        script
    }

    /// Returns the name of the variable of a record, unless it is the shell's own.
    fn name<'a>(&self, record: &'a str) -> Option<&'a str> {
        let rest = match self.is_bash {
            // declare -FLAGS NAME=VALUE
            true => record.strip_prefix("declare -")?.split_once(' ')?.1,
            false => record,
        };
        let name = before_value(rest);
        (is_name(name) && !is_own(name)).then_some(name)
    }
}

fn before_value(text: &str) -> &str {
    text.split('=').next().unwrap_or_default()
}

fn is_own(name: &str) -> bool {
    OWN.contains(&name) || name.starts_with("BASH")
}

fn is_name(name: &str) -> bool {
    let is_part = |one: char| one.is_ascii_alphanumeric() || one == '_';
    !name.is_empty()
        && name.chars().all(is_part)
        && !name.starts_with(|one: char| one.is_ascii_digit())
}

/// Divides the output of a shell's builtin command into records: each ends with a line break that is not
/// quoted.
fn records(text: &str) -> Vec<&str> {
    let (mut found, mut begin) = (Vec::new(), 0);
    let mut quote = None;
    let mut before = ' ';
    let mut is_escaped = false;
    for (at, one) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else {
            match (quote, one) {
                (None | Some('"' | '$'), '\\') => is_escaped = true,
                (None, '\'') => quote = Some(if before == '$' { '$' } else { '\'' }),
                (None, '"') => quote = Some('"'),
                (Some('$' | '\''), '\'') | (Some('"'), '"') => quote = None,
                (None, '\n') => {
                    found.extend(text.get(begin..at));
                    begin = at + 1;
                }
                _ => {}
            }
        }
        before = one;
    }
    found.extend(text.get(begin..).filter(|rest| !rest.is_empty()));
    found
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn records_end_outside_of_quotes() {
        let text = "a='x\ny'\nb='it'\"'\"'s'\nc=$'q\\'\n'\nd=\"e\\\"\nf\"\n";
        assert_eq!(
            records(text),
            [
                "a='x\ny'",
                "b='it'\"'\"'s'",
                "c=$'q\\'\n'",
                "d=\"e\\\"\nf\""
            ]
        );
    }

    /// Commands that change a shell in many ways, and those that show it.
    const CHANGE: &str = "set -e; A='it'\"'\"'s \"a\"\n  b\\'; export B=\"$A\"; C='$(touch /tmp/no)'; unset GONE; \
        umask 027; cd /usr/bin; set -f; export EMPTY=";
    const SHOW: &str = "printf '[%s]' \"$A\" \"$C\" \"${GONE-none}\" \"$PWD\" \"$OLDPWD\" \"$-\"; umask; pwd; \
        env | grep -e '^B=' -e '^EMPTY' -A1";

    #[test]
    fn another_shell_gets_the_same_state() {
        for (shell, more) in [
            ("dash", ""),
            (
                "bash",
                "; declare -A M=([a b]='c\nd' [x]=y); L=(1 '2 3'); f() { echo \"in f $1\"; }; set -o pipefail",
            ),
        ] {
            let show = match more {
                "" => SHOW.to_owned(),
                _ => format!(
                    "{SHOW}; f x; printf '<%s>' \"${{M[a b]}}\" \"${{M[x]}}\" \"${{L[@]}}\"; set -o | grep pipefail"
                ),
            };
            let run = |script: &str| {
                let mut command = Command::new(shell);
                let output = command
                    .args(["-c", script])
                    .env("GONE", "x")
                    .current_dir("/")
                    .output();
                let output = output.unwrap();
                assert!(output.status.success(), "{shell}: {output:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            let is_bash = shell == "bash";
            let printed = |change: &str| {
                let of = |command: &str| run(&format!("{change}\n{command}"));
                Printed {
                    is_bash,
                    private: String::new(),
                    variables: of(if is_bash { "declare -p" } else { "set" }),
                    exports: of("export -p"),
                    functions: if is_bash {
                        of("shopt -p; declare -f")
                    } else {
                        String::new()
                    },
                    options: of("set +o"),
                    umask: of("umask"),
                    directory: of("pwd"),
                }
            };
            let change = format!("{CHANGE}{more}");
            let (begin, end) = (printed(":"), printed(&change));
            let changed = end.changed(&begin, &Changed::default());
            assert!(!changed.variables.contains_key("PATH"), "{changed:?}");
            let script = end.script(&changed);
            let wanted = run(&format!("{change}\n{show}"));
            assert_eq!(
                run(&format!("{script}\n{show}")),
                wanted,
                "{shell}: {script}"
            );
            // Earlier changes stay if the next part changes nothing.
            let next = printed(&script);
            let again = next.changed(&next, &changed);
            assert_eq!(
                run(&format!("{}\n{show}", next.script(&again))),
                wanted,
                "{shell}"
            );
        }
    }
}

//! The state of a shell between two commands, as a script that another shell reads.

use std::collections::BTreeSet;

/// What a shell has printed of its state.
#[derive(Debug, Default)]
pub struct Printed {
    /// Whether it is bash, which also tells of attributes of variables.
    pub is_bash: bool,
    /// The output of `set`, or of `declare -p`.
    pub variables: String,
    /// The output of `export -p`.
    pub exports: String,
    /// The output of `declare -f` and of `shopt -p`.
    pub functions: String,
    /// The output of `set +o`.
    pub options: String,
    /// The output of `umask`.
    pub umask: String,
    /// The output of `pwd`.
    pub directory: String,
}

/// The variable with the number of a line, which is not the script's.
pub const STEP: &str = "FRONT_STEP";
/// Variables that a shell sets itself.
const OWN: [&str; 22] = [
    STEP,
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
    /// Returns the names of the shell's variables, but for its own.
    pub fn names(&self) -> BTreeSet<String> {
        let all = records(&self.variables).into_iter();
        all.filter_map(|record| self.name(record))
            .map(str::to_owned)
            .collect()
    }

    /// Returns a script that gives another shell this state. `unset` are the names of variables that
    /// it has not.
    pub fn script(&self, unset: &BTreeSet<String>) -> String {
        let mut script = String::from("set +e +u +x +f +a +C\n");
        script.push_str(&self.functions);
        script.push('\n');
        for record in records(&self.variables) {
            if self.name(record).is_some() {
                script.push_str(record);
                script.push('\n');
            }
        }
        for record in records(&self.exports) {
            let name = record.strip_prefix("export ").map(before_value);
            if let Some(name) = name.filter(|name| is_name(name) && !is_own(name)) {
                script.push_str(&format!("export {name}\n"));
            }
        }
        for name in unset.iter().filter(|name| is_name(name)) {
            script.push_str(&format!("unset {name}\n"));
        }
        let directory = self.directory.strip_suffix('\n').unwrap_or(&self.directory);
        script.push_str(&format!("umask {}\n", self.umask.trim()));
        script.push_str(&format!(
            "cd '{}' || exit 97\n",
            directory.replace('\'', "'\\''")
        ));
        // `cd` has set it.
        let old = records(&self.variables).into_iter();
        for record in old.filter(|record| self.name(record) == Some("OLDPWD")) {
            script.push_str(record);
            script.push('\n');
        }
        for option in OPTIONS {
            let lines = self.options.lines();
            for line in lines.filter(|line| line.split_whitespace().nth(2) == Some(option)) {
                script.push_str(line);
                script.push('\n');
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
            let of = |command: &str| run(&format!("{CHANGE}{more}\n{command}"));
            let is_bash = shell == "bash";
            let printed = Printed {
                is_bash,
                variables: of(if is_bash { "declare -p" } else { "set" }),
                exports: of("export -p"),
                functions: if is_bash {
                    of("declare -f")
                } else {
                    String::new()
                },
                options: of("set +o"),
                umask: of("umask"),
                directory: of("pwd"),
            };
            let unset = BTreeSet::from(["GONE".to_owned()]);
            let script = printed.script(&unset);
            assert_eq!(
                run(&format!("{script}\n{show}")),
                of(&show),
                "{shell}: {script}"
            );
        }
    }
}

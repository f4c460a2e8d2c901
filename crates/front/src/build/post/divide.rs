//! Where a shell script can be divided: before a line at which a command begins, if all that the
//! commands above have done to the shell can be told to another shell.
//!
//! The shell itself says later whether the lines above are whole commands. Here are the cases that
//! it does not tell, and the commands whose effect is not seen in the shell's variables.

use std::collections::VecDeque;

/// Largest script that is divided, in bytes: the shell reads each of its beginnings.
const LARGEST: usize = 64 << 10;
/// Largest number of lines before which a script is divided.
const MOST: usize = 300;
/// Commands and variables after which a script is not divided: they change what only this shell has
/// (open files, traps, positional parameters), or tell it from others.
const PRIVATE: [&str; 19] = [
    "exec",
    "trap",
    "alias",
    "unalias",
    "readonly",
    "coproc",
    "ulimit",
    "getopts",
    "wait",
    "jobs",
    "shift",
    "LINENO",
    "BASH_SOURCE",
    "BASH_XTRACEFD",
    "PPID",
    "SECONDS",
    "disown",
    "enable",
    "hash",
];
/// Parts of lines with the same meaning.
const MARKS: [&str; 6] = ["$!", "$$", "$_", "${_", "/dev/shm", "/proc/"];

/// Returns the numbers of lines, from 0, before which a script may be divided.
pub fn places(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    if text.len() > LARGEST || text.contains("set -v") || text.contains("verbose") {
        return found;
    }
    let mut documents: VecDeque<String> = VecDeque::new();
    let (mut begun, mut continues) = (false, false);
    for (number, line) in text.lines().enumerate() {
        if let Some(end) = documents.front() {
            if line.trim_start_matches('\t') == end {
                documents.pop_front();
            }
            continue;
        }
        let code = line.trim();
        if code.is_empty() || code.starts_with('#') && !continues {
            continue;
        }
        // The command between two lines hides the status of the one above.
        if begun && !continues && !code.contains("$?") && found.len() < MOST {
            found.push(number);
        }
        if is_private(code) {
            return found;
        }
        begun = true;
        documents = here_documents(code);
        continues = code.ends_with('\\');
    }
    found
}

/// Returns the number of the first line with a command.
pub fn first(text: &str) -> Option<usize> {
    text.lines().position(|line| {
        let code = line.trim();
        !code.is_empty() && !code.starts_with('#')
    })
}

/// Whether a line changes what cannot be told to another shell. May be true for others too.
fn is_private(code: &str) -> bool {
    let is_word = |byte: char| byte.is_ascii_alphanumeric() || "_-.".contains(byte);
    let mut words = code
        .split(|one| !is_word(one))
        .filter(|word| !word.is_empty());
    let has_private = words.any(|word| PRIVATE.contains(&word));
    let mark = |mark: &&str| match code.split_once(*mark) {
        // A longer name.
        Some((_, rest)) if mark.ends_with('_') => {
            !rest.starts_with(|one: char| one.is_ascii_alphanumeric() || one == '_')
        }
        found => found.is_some(),
    };
    has_private || MARKS.iter().any(mark) || sets_parameters(code)
}

/// Whether a line has `set` with anything but options: it gives the shell other parameters.
fn sets_parameters(code: &str) -> bool {
    let words = code.split_whitespace().skip_while(|word| *word != "set");
    for word in words.skip(1) {
        let end = word.find([';', '&', '|', '#', '>', '<']);
        let own = word.get(..end.unwrap_or(word.len())).unwrap_or_default();
        let is_option = own.starts_with(['-', '+']) && own != "--";
        if !own.is_empty() && !is_option && !OPTIONS.contains(&own) {
            return true;
        }
        if end.is_some() {
            return false;
        }
    }
    false
}

/// Names of options, which follow `set -o`.
const OPTIONS: [&str; 6] = [
    "pipefail",
    "errexit",
    "nounset",
    "xtrace",
    "noglob",
    "allexport",
];

/// Returns the words that end the here-documents of a line.
fn here_documents(code: &str) -> VecDeque<String> {
    let mut found = VecDeque::new();
    let mut rest = code;
    while let Some((_, after)) = rest.split_once("<<") {
        if let Some(text) = after.strip_prefix('<') {
            rest = text;
            continue;
        }
        let after = after.trim_start_matches('-').trim_start();
        let end = after.find(|one: char| one.is_whitespace() || ";|&<>)".contains(one));
        let (word, next) = after.split_at(end.unwrap_or(after.len()));
        found.push_back(word.replace(['\'', '"', '\\'], ""));
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_divided_between_commands() {
        assert_eq!(places("a\nb\n\n# c\nd\n"), [1, 4]);
        assert_eq!(places("a \\\n  b\nc"), [2]);
        assert_eq!(places("cat <<EOF > x\nexec y\nEOF\nb\n"), [3]);
        assert_eq!(places("cat <<-'A' - <<\"B\"\nx\n\tA\ny\nB\nb\n"), [5]);
        assert_eq!(
            places("x=$((1<<2))\nb\nc\n"),
            [] as [usize; 0],
            "not known to end"
        );
        assert_eq!(places("read a <<< b\nc\n"), [1]);
        assert_eq!(places("a\necho $?\nb\n"), [2]);
    }

    #[test]
    fn scripts_are_not_divided_after_what_another_shell_cannot_have() {
        for line in [
            "exec 3< file",
            "trap x EXIT",
            "cmd; exec 2>&1",
            "mkdir x.$$",
            "cd $_",
            "set -- a b",
            "set a",
            "sleep 1 & echo $!",
            "cp x /dev/shm/y",
        ] {
            assert_eq!(places(&format!("a\n{line}\nb\nc\n")), [1], "{line}");
        }
        for line in [
            "find . -exec rm {} ;",
            "set -e",
            "set -o pipefail",
            "set -eu; a",
            "echo $_x",
            "./configure --exec-prefix=/usr",
        ] {
            assert_eq!(places(&format!("a\n{line}\nb\n")), [1, 2], "{line}");
        }
    }
}

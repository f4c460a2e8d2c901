//! Where a shell script can be divided: before a line at which a command begins, if all that the
//! commands above have done to the shell can be told to another shell.
//!
//! The shell itself says later whether the lines above are whole commands. Here are the cases that
//! it does not tell, and the commands whose effect is not seen in the shell's variables. Whatever is
//! in doubt is not divided: it costs time only.

use std::collections::VecDeque;

/// Largest script that is divided, in bytes: the shell reads each of its beginnings.
const LARGEST: usize = 64 << 10;
/// Largest number of lines before which a script is divided.
const MOST: usize = 300;
/// Commands and variables of lines before and after which a script is not divided: they change or use
/// what only this shell has (open files, traps, jobs, parameters, mounts).
const PRIVATE: [&str; 25] = [
    "exec", "trap", "alias", "unalias", "readonly", "coproc", "ulimit", "getopts", "wait", "jobs",
    "disown", "fg", "bg", "shift", "enable", "hash", "pushd", "popd", "dirs", "mount", "umount",
    "LINENO", "PPID", "SECONDS", "OPTIND",
];
/// Parts of lines with the same meaning.
const MARKS: [&str; 8] = [
    "$!",
    "$$",
    "$_",
    "${_",
    "/proc/",
    "/sys/",
    "/etc/resolv.conf",
    "/etc/hosts",
];
/// Parts of scripts that are not divided at all: they tell what is between the lines.
const NEVER: [&str; 8] = [
    "set -v",
    "verbose",
    "$0",
    "${0",
    "PIPESTATUS",
    "BASH_SOURCE",
    "BASH_XTRACEFD",
    ".post.",
];
/// Devices that are the same in each container.
const DEVICES: [&str; 10] = [
    "null", "zero", "full", "random", "urandom", "tty", "stdin", "stdout", "stderr", "fd",
];

/// The places at which a script can be divided.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The numbers of lines, from 0, before which it can be.
    pub lines: Vec<usize>,
    /// The number of the first of these lines that has functions above it. Only bash tells its
    /// functions.
    pub functions: Option<usize>,
}

/// Returns the places at which a script may be divided.
pub fn places(text: &str) -> Places {
    let mut found = Places::default();
    if text.len() > LARGEST || NEVER.iter().any(|part| text.contains(part)) {
        return found;
    }
    let mut documents: VecDeque<Document> = VecDeque::new();
    let (mut begun, mut continues, mut has_functions) = (false, false, false);
    for (number, line) in text.lines().enumerate() {
        if let Some(document) = documents.front() {
            if document.ends(line) {
                documents.pop_front();
            }
            continue;
        }
        let code = line.trim();
        if code.is_empty() || code.starts_with('#') && !continues {
            continue;
        }
        let is_private = is_private(code);
        if begun && !continues && !is_private && found.lines.len() < MOST {
            found.lines.push(number);
            if has_functions && found.functions.is_none() {
                found.functions = Some(number);
            }
        }
        let Some(begins) = here_documents(code).filter(|_| !is_private) else {
            return found;
        };
        has_functions |= makes_functions(code);
        documents = begins;
        begun = true;
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

/// Whether a line changes or uses what cannot be told to another shell. May be true for others too.
fn is_private(code: &str) -> bool {
    let is_word = |one: char| one.is_ascii_alphanumeric() || "_-.".contains(one);
    let mut words = code.split(|one| !is_word(one));
    let has_private = words.any(|word| PRIVATE.contains(&word));
    let mark = |mark: &&str| match code.split_once(*mark) {
        // A longer name.
        Some((_, rest)) if mark.ends_with('_') => {
            !rest.starts_with(|one: char| one.is_ascii_alphanumeric() || one == '_')
        }
        found => found.is_some(),
    };
    let mut devices = code.split("/dev/").skip(1);
    let is_other = |rest: &str| {
        let end = rest.find(|one: char| !one.is_ascii_alphanumeric());
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        !DEVICES.contains(&name)
    };
    has_private
        || MARKS.iter().any(mark)
        || devices.any(is_other)
        || sets_parameters(code)
        || has_job(code)
}

/// Whether a line starts a job: it has `&` as a word of its own.
fn has_job(code: &str) -> bool {
    let bytes = code.as_bytes();
    let at = |place: Option<usize>| place.and_then(|place| bytes.get(place)).copied();
    bytes.iter().enumerate().any(|(place, byte)| {
        let (before, after) = (at(place.checked_sub(1)), at(Some(place + 1)));
        let is_joined = |one: Option<u8>| matches!(one, Some(b'&' | b'>' | b'<' | b'|'));
        *byte == b'&' && !is_joined(before) && !is_joined(after)
    })
}

/// Whether a line makes functions, or may make them by another file or text.
fn makes_functions(code: &str) -> bool {
    let plain: String = code.split_whitespace().collect();
    let mut words = code.split(|one: char| one.is_whitespace() || ";&|(){}".contains(one));
    plain.contains("()") || words.any(|word| ["function", ".", "source", "eval"].contains(&word))
}

/// Whether a line has `set` with anything but options: it gives the shell other parameters.
fn sets_parameters(code: &str) -> bool {
    let is_end = |one: char| ";&|#><(){}\"'`".contains(one);
    code.split(is_end).any(|command| {
        let mut words = command.split_whitespace().skip_while(|word| *word != "set");
        let is_option =
            |word: &str| word.starts_with(['-', '+']) && word != "--" || OPTIONS.contains(&word);
        words.next().is_some() && !words.all(is_option)
    })
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

/// A here-document.
struct Document {
    end: String,
    /// Whether tabs before its end are left out: `<<-`.
    strips: bool,
}

impl Document {
    fn ends(&self, line: &str) -> bool {
        let line = match self.strips {
            true => line.trim_start_matches('\t'),
            false => line,
        };
        line == self.end
    }
}

/// Returns the here-documents of a line, or `None` if that is in doubt.
fn here_documents(code: &str) -> Option<VecDeque<Document>> {
    let mut found = VecDeque::new();
    let mut rest = code;
    let mut before = String::new();
    while let Some((above, after)) = rest.split_once("<<") {
        before.push_str(above);
        if let Some(text) = after.strip_prefix('<') {
            rest = text;
            continue;
        }
        let is_quoted = ['"', '\'', '`']
            .iter()
            .any(|quote| before.matches(*quote).count() % 2 == 1);
        if is_quoted || before.contains('#') || before.contains("((") || before.contains('\\') {
            return None;
        }
        let strips = after.starts_with('-');
        let after = after.strip_prefix('-').unwrap_or(after).trim_start();
        let (end, next) = match after.chars().next()? {
            quote @ ('"' | '\'') => after.get(1..)?.split_once(quote)?,
            _ => {
                let is_end = |one: char| one.is_whitespace() || ";|&<>()".contains(one);
                after.split_at(after.find(is_end).unwrap_or(after.len()))
            }
        };
        let is_plain = |one: char| one.is_ascii_alphanumeric() || "_-.".contains(one);
        if end.is_empty() || !end.chars().all(is_plain) {
            return None;
        }
        let end = end.to_owned();
        found.push_back(Document { end, strips });
        rest = next;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        places(text).lines
    }

    #[test]
    fn scripts_are_divided_between_commands() {
        assert_eq!(lines("a\nb\n\n# c\nd\n"), [1, 4]);
        assert_eq!(lines("a \\\n  b\nc"), [2]);
        assert_eq!(lines("cat <<EOF > x\nexec y\nEOF\nb\n"), [3]);
        assert_eq!(lines("cat <<-'A' - <<\"B\"\nx\n\tA\ny\nB\nb\n"), [5]);
        assert_eq!(lines("cat <<A\nx\n\tA\ny\nA\nb\n"), [5], "no tab before it");
        assert_eq!(lines("a\nx=$((1<<2))\nb\nc\n"), [1]);
        assert_eq!(lines("a\ncat <<\"A B\"\nx\nA B\nc\n"), [1]);
        assert_eq!(lines("a\nb # cat <<EOF\nc\n"), [1]);
        assert_eq!(lines("a\necho \"x <<EOF\"\nc\n"), [1]);
        assert_eq!(lines("a\ncat > \"$X\" <<EOF\nx\nEOF\nc\n"), [1, 4]);
        assert_eq!(lines("read a <<< b\nc\n"), [1]);
        assert_eq!(lines("a\necho $?\nb\n"), [1, 2]);
        assert_eq!(lines("a\ncp $0 x\nb\n"), [] as [usize; 0]);
    }

    #[test]
    fn scripts_are_not_divided_beside_what_another_shell_cannot_have() {
        for line in [
            "exec 3< file",
            "trap x EXIT",
            "cmd; exec 2>&1",
            "mkdir x.$$",
            "cd $_",
            "set -- a b",
            "set a",
            "true&&set -- a b",
            "eval \"set -- a b\"",
            "sleep 1 & echo $!",
            "daemon &",
            "wait",
            "cp x /dev/shm/y",
            "echo x > /dev/foo",
            "mount -t tmpfs tmpfs /m",
            "echo x >> /etc/resolv.conf",
            "pushd /x",
        ] {
            let text = format!("a\nb\n{line}\nc\nd\n");
            assert_eq!(lines(&text), [1], "{line}");
        }
        for line in [
            "find . -exec rm {} ;",
            "set -e",
            "set -o pipefail",
            "set -eu; a",
            "echo $_x",
            "./configure --exec-prefix=/usr",
            "make 2>&1 | tee log",
            "make &> /dev/null && b || c",
        ] {
            let text = format!("a\n{line}\nb\n");
            assert_eq!(lines(&text), [1, 2], "{line}");
        }
    }

    #[test]
    fn functions_are_noticed() {
        for line in [
            "f() { :; }",
            "f ( ) {",
            "function f {",
            ". /lib.sh",
            "source x",
        ] {
            let found = places(&format!("a\n{line}\nb\nc\n"));
            assert_eq!(found.functions, Some(2), "{line}");
        }
        assert_eq!(places("a\nb\nc\n").functions, None);
    }
}

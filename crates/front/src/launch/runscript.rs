//! The command that a runscript starts, for an image without a shell to run it.
//!
//! Scripts of images from registries have one of two forms: ours, or Apptainer's.

use std::ffi::OsString;

/// The image's entry point and its command.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    entrypoint: Vec<String>,
    command: Vec<String>,
}

/// Returns the command that a script starts with these arguments. They replace the image's command,
/// after its entry point. Returns `None` for a script of another form.
pub fn words(script: &str, args: &[OsString]) -> Option<Vec<OsString>> {
    let words = ours(script).or_else(|| apptainers(script))?;
    let entrypoint = words.entrypoint.into_iter().map(OsString::from);
    let command: Vec<OsString> = match args {
        [] => words.command.into_iter().map(OsString::from).collect(),
        args => args.to_vec(),
    };
    let all: Vec<OsString> = entrypoint.chain(command).collect();
    (!all.is_empty()).then_some(all)
}

/// Parses the form that `front` writes.
fn ours(script: &str) -> Option<Words> {
    let (first, rest) = script.split_once('\n')?;
    if first != "#!/bin/sh" {
        return None;
    }
    // Words may contain line breaks.
    let rest = rest.strip_suffix("exec \"$@\"\n")?;
    let mut words = Words::default();
    let (command, entrypoint) = match rest.strip_prefix("[ $# -gt 0 ] || set -- ") {
        Some(rest) => match rest.rsplit_once("\nset -- ") {
            Some((command, entrypoint)) => (command, entrypoint),
            None => (rest, ""),
        },
        None => ("", rest.strip_prefix("set -- ").unwrap_or_default()),
    };
    if !entrypoint.is_empty() {
        let entrypoint = entrypoint.trim_end().strip_suffix("\"$@\"")?;
        words.entrypoint = shlex::split(entrypoint)?;
    }
    words.command = shlex::split(command)?;
    Some(words)
}

/// Parses the form that Apptainer writes: `OCI_ENTRYPOINT='"/hello" "x"'`.
fn apptainers(script: &str) -> Option<Words> {
    let value = |name: &str| {
        let line = script.lines().find_map(|line| line.strip_prefix(name))?;
        let value = shlex::split(line)?.into_iter().next().unwrap_or_default();
        shlex::split(&value)
    };
    Some(Words {
        entrypoint: value("OCI_ENTRYPOINT=")?,
        command: value("OCI_CMD=")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str, args: &[&str]) -> Option<Vec<String>> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let words = words(script, &args)?;
        Some(
            words
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect(),
        )
    }

    #[test]
    fn both_forms_are_read() {
        let ours = "#!/bin/sh\n[ $# -gt 0 ] || set -- 'a b' 'it'\\''s'\nset -- '/hello' '-x' \"$@\"\nexec \"$@\"\n";
        let apptainers =
            "#!/bin/sh\nOCI_ENTRYPOINT='\"/hello\" \"-x\"'\nOCI_CMD='\"a b\" \"c\"'\n# more\n";
        assert_eq!(started(ours, &[]).unwrap(), ["/hello", "-x", "a b", "it's"]);
        assert_eq!(started(ours, &["c"]).unwrap(), ["/hello", "-x", "c"]);
        assert_eq!(
            started(apptainers, &[]).unwrap(),
            ["/hello", "-x", "a b", "c"]
        );
        assert_eq!(started(apptainers, &["d"]).unwrap(), ["/hello", "-x", "d"]);
        let command = "#!/bin/sh\n[ $# -gt 0 ] || set -- '/hello' 'two\nlines'\nexec \"$@\"\n";
        assert_eq!(started(command, &[]).unwrap(), ["/hello", "two\nlines"]);
        assert_eq!(started(command, &["/other"]).unwrap(), ["/other"]);
        let entrypoint = "#!/bin/sh\nset -- '/hello' \"$@\"\nexec \"$@\"\n";
        assert_eq!(started(entrypoint, &[]).unwrap(), ["/hello"]);
        for other in [
            "#!/bin/sh\nexec python \"$@\"\n",
            "",
            "#!/bin/bash\nset -- x\n",
        ] {
            assert_eq!(started(other, &[]), None, "{other}");
        }
    }
}

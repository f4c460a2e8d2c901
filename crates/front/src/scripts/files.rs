//! Files with variables for a container (`--env-file`). They are the user's own, and are read outside
//! of the container: those that only assign variables here, others by a shell of the host.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::plain;
use crate::small_file;
use crate::variables::{Set, Variables};

/// The shells of the host, the best first.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// Variables that a shell sets itself.
const OF_THE_SHELL: [&str; 5] = ["_", "SHLVL", "PWD", "OLDPWD", "BASHOPTS"];

/// Returns the variables that a file assigns. It sees the caller's variables.
///
/// # Errors
///
/// Fails when the file cannot be read, and when a command in it fails.
pub fn read(path: &Path, caller: &Variables) -> Result<Vec<(OsString, OsString)>> {
    let named = || format!("environment file {}", path.display());
    let text = small_file::read(path)
        .map_err(|error| std::io::Error::other(text::message(&error)))
        .with_context(named)?;
    let base: Set = caller.0.iter().cloned().collect();
    let mut set = base.clone();
    let names = match plain::assignments(&text, &mut set) {
        Some(names) => names,
        None => {
            set = by_shell(&text, caller).with_context(named)?;
            changed(&base, &set)
        }
    };
    let pairs = names.into_iter().filter_map(|name| {
        let value = set.remove(&name)?;
        Some((name, value))
    });
    Ok(pairs.collect())
}

fn by_shell(text: &[u8], caller: &Variables) -> Result<Set> {
    // The text may have come from a pipe.
    let mut file = tempfile::NamedTempFile::new().context("make a temporary file")?;
    file.write_all(text).context("write a temporary file")?;
    let is_there = |shell: &&&str| Path::new(shell).exists();
    let shell = SHELLS
        .iter()
        .find(is_there)
        .context("the host has no shell to run it")?;
    let output = Command::new(shell)
        .args(["-c", "set -a; . \"$1\" >&2 || exit; exec env -0", "sh"])
        .arg(file.path())
        .env_clear()
        .envs(caller.0.iter().cloned())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("{shell} failed: {}", output.status);
    }
    let pairs = output.stdout.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(name), text(value)))
    });
    Ok(pairs.collect())
}

/// Returns the names of the variables that are new or have changed.
fn changed(before: &Set, after: &Set) -> BTreeSet<OsString> {
    let is_own = |name: &OsStr| OF_THE_SHELL.iter().any(|own| name == *own);
    // An exported function of bash has a name that no variable of a shell has.
    let is_function = |name: &OsStr| name.as_bytes().ends_with(b"%%");
    let names = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value));
    let names = names.map(|(name, _)| name.clone());
    { names }
        .filter(|name| !is_own(name) && !is_function(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_variables_of_a_file_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        let caller = Variables::of(&[("HOME", "/h"), ("SAME", "s")]);
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let found = read(&path, &caller).map_err(|error| format!("{error:#}"))?;
            let pairs = found.into_iter();
            let pairs =
                pairs.map(|(name, value)| format!("{}={}", name.display(), value.display()));
            Ok::<_, String>(pairs.collect::<Vec<_>>())
        };
        let plain = "# comment\nA=1\nexport B=\"$HOME x\"\nC='$HOME'\nSAME=s\n";
        assert_eq!(read(plain).unwrap(), ["A=1", "B=/h x", "C=$HOME", "SAME=s"]);
        let by_shell = "A=$(echo one)\nB='two\nlines'\nf() { C=3; }; f\n";
        assert_eq!(read(by_shell).unwrap(), ["A=one", "B=two\nlines", "C=3"]);
        assert!(read("A=1; false_command_x").unwrap_err().contains("failed"));
        std::fs::remove_file(&path).unwrap();
        let error = super::read(&path, &caller).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.starts_with("environment file /"), "{error}");
        assert!(error.ends_with(": no such file or directory"), "{error}");
    }
}

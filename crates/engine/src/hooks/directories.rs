//! Hooks that a machine's administrator wants in containers: the files of `hooks.d` that podman and
//! CRI-O read, for engines that do not read them.
//!
//! The format is that of [oci-hooks(5)], version 1.0.0.
//!
//! [oci-hooks(5)]: https://github.com/containers/common/blob/main/pkg/hooks/docs/oci-hooks.5.md

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::POINTS;
use crate::{Document, Error};

/// A file of `hooks.d`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    version: String,
    hook: Value,
    when: When,
    stages: Vec<String>,
}

/// The containers that a hook is for. All given conditions must hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct When {
    always: Option<bool>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    commands: Vec<String>,
    has_bind_mounts: Option<bool>,
}

/// Adds the hooks of the directories that apply to a document. Of two files with the same name, the
/// file in the later directory wins. Hooks are added in the order of the files' names.
pub(crate) fn add(document: &mut Document, directories: &[PathBuf]) -> Result<(), Error> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for directory in directories {
        let entries = fs::read_dir(directory).map_err(Error::state("read", directory))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let documents = paths.filter(|path| path.extension().is_some_and(|name| name == "json"));
        files.extend(documents.filter_map(|path| Some((path.file_name()?.to_owned(), path))));
    }
    for path in files.values() {
        let broken = |reason: String| Error::Config {
            path: path.clone(),
            reason,
        };
        let text = fs::read(path).map_err(Error::state("read", path))?;
        let wanted: Wanted =
            serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        if wanted.version != "1.0.0" {
            return Err(broken(format!("version {} is not 1.0.0", wanted.version)));
        }
        if let Some(unknown) = wanted
            .stages
            .iter()
            .find(|stage| !POINTS.contains(&stage.as_str()))
        {
            return Err(broken(format!("there is no stage {unknown}")));
        }
        if is_wanted(&wanted.when, document).map_err(broken)? {
            put(document, &wanted, path)?;
        }
    }
    Ok(())
}

fn put(document: &mut Document, wanted: &Wanted, path: &Path) -> Result<(), Error> {
    let unfit = || Error::Config {
        path: path.to_owned(),
        reason: "the container's hooks are not lists".to_owned(),
    };
    let document = document.as_object_mut().ok_or_else(unfit)?;
    let hooks = document.entry("hooks").or_insert(json!({}));
    let hooks = hooks.as_object_mut().ok_or_else(unfit)?;
    for stage in &wanted.stages {
        let list = hooks.entry(stage.as_str()).or_insert(json!([]));
        list.as_array_mut()
            .ok_or_else(unfit)?
            .push(wanted.hook.clone());
    }
    Ok(())
}

fn is_wanted(when: &When, document: &Document) -> Result<bool, String> {
    let matches = |pattern: &str, text: &str| {
        let pattern = Regex::new(pattern).map_err(|error| format!("{pattern:?}: {error}"))?;
        Ok::<_, String>(pattern.is_match(text))
    };
    let nothing = when.always.is_none()
        && when.annotations.is_empty()
        && when.commands.is_empty()
        && when.has_bind_mounts.is_none();
    if nothing || when.always == Some(false) {
        return Ok(false);
    }
    let annotations = document.get("annotations").and_then(Value::as_object);
    for (key, value) in &when.annotations {
        let mut found = false;
        for (own, text) in annotations.into_iter().flatten() {
            found |= matches(key, own)? && matches(value, text.as_str().unwrap_or_default())?;
        }
        if !found {
            return Ok(false);
        }
    }
    if !when.commands.is_empty() {
        let command = document.pointer("/process/args/0").and_then(Value::as_str);
        let Some(command) = command else {
            return Ok(false);
        };
        let mut found = false;
        for pattern in &when.commands {
            found |= matches(pattern, command)?;
        }
        if !found {
            return Ok(false);
        }
    }
    let Some(wanted) = when.has_bind_mounts else {
        return Ok(true);
    };
    // As in podman: `false` does not select containers without bind mounts.
    if !wanted {
        return Ok(false);
    }
    let is_bind = |mount: &Value| {
        let options = mount.get("options").and_then(Value::as_array);
        let mut words = options.into_iter().flatten().filter_map(Value::as_str);
        words.any(|word| word == "bind" || word == "rbind")
    };
    Ok(document.mounts().any(is_bind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(document: &Document, when: Value) -> Result<usize, Error> {
        let directory = tempfile::tempdir().unwrap();
        let file = json!({
            "version": "1.0.0",
            "hook": {"path": "/bin/true"},
            "when": when,
            "stages": ["prestart", "poststop"],
        });
        fs::write(directory.path().join("a.json"), file.to_string()).unwrap();
        fs::write(directory.path().join("README"), "no hook").unwrap();
        let mut document = document.clone();
        add(&mut document, &[directory.path().to_owned()])?;
        let count = |stage: &str| {
            let list = document.pointer(&format!("/hooks/{stage}"));
            list.and_then(Value::as_array).map_or(0, Vec::len)
        };
        assert_eq!(count("prestart") - 1, count("poststop"));
        Ok(count("poststop"))
    }

    #[test]
    fn conditions_must_all_hold() {
        let document = Document::from(json!({
            "annotations": {"org.gpu": "yes"},
            "process": {"args": ["/usr/bin/python3"]},
            "mounts": [{"destination": "/x", "options": ["rbind"]}],
            "hooks": {"prestart": [{"path": "/own"}]},
        }));
        let rows = [
            (json!({"always": true}), 1),
            (json!({"always": false}), 0),
            (json!({}), 0),
            (json!({"annotations": {"^org\\.gpu$": "^y"}}), 1),
            (json!({"annotations": {"^org\\.gpu$": "^n"}}), 0),
            (
                json!({"annotations": {"gpu": "."}, "commands": ["bash$"]}),
                0,
            ),
            (json!({"commands": ["bash$", "python3?$"]}), 1),
            (json!({"hasBindMounts": true}), 1),
            (json!({"hasBindMounts": false}), 0),
        ];
        for (when, count) in rows {
            assert_eq!(hooks(&document, when.clone()).unwrap(), count, "{when}");
        }
        for broken in [
            json!({"always": 1}),
            json!({"sometimes": true}),
            json!({"commands": ["("]}),
        ] {
            assert!(hooks(&document, broken.clone()).is_err(), "{broken}");
        }
        assert!(add(&mut document.clone(), &["/nonexistent".into()]).is_err());
    }
}

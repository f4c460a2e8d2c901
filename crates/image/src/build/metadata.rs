//! What Singularity puts into an image beside its files: `.singularity.d`, and the record in the SIF.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use chrono::DateTime;
use oci_spec::image::ImageConfiguration;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::Build;

/// What is known of an image that is built.
#[derive(Debug)]
pub(super) struct Record {
    labels: BTreeMap<String, String>,
    environment: String,
    runscript: String,
    bootstrap: String,
    from: String,
    time: u64,
}

/// The environment script that an OCI image's variables become.
const VARIABLES: &str = ".singularity.d/env/10-docker2singularity.sh";
const CUSTOM: &str = ".singularity.d/env/90-environment.sh";

/// What a container needs to be there: a place to mount on. An image that has it keeps its own.
const DIRECTORIES: [&str; 10] = [
    "dev", "etc", "home", "mnt", "opt", "proc", "root", "sys", "tmp", "var/tmp",
];
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// What is added to `PATH` if the image's own lacks it.
const PATHS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

impl Record {
    pub(super) fn new(config: &ImageConfiguration, build: &Build) -> Self {
        let inner = config.config().clone().unwrap_or_default();
        let mut labels: BTreeMap<String, String> = inner
            .labels()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect();
        let (bootstrap, from) = build.from.clone();
        let ours = [
            ("org.label-schema.schema-version", "1.0".to_owned()),
            (
                "org.label-schema.build-arch",
                config.architecture().to_string(),
            ),
            ("org.label-schema.build-date", date(build.time)),
            (
                "org.label-schema.usage.singularity.deffile.bootstrap",
                bootstrap.clone(),
            ),
            (
                "org.label-schema.usage.singularity.deffile.from",
                from.clone(),
            ),
        ];
        labels.extend(ours.map(|(name, value)| (name.to_owned(), value)));
        let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        Self {
            labels,
            environment: environment(&words(inner.env())),
            runscript: runscript(&words(inner.entrypoint()), &words(inner.cmd())),
            bootstrap,
            from,
            time: u64::try_from(build.time).unwrap_or(0),
        }
    }

    pub(super) fn definition(&self) -> String {
        format!("bootstrap: {}\nfrom: {}\n\n", self.bootstrap, self.from)
    }

    /// What `inspect --all` says, compact.
    pub(super) fn inspected(&self) -> String {
        json!({
            "data": {"attributes": {
                "deffile": self.definition(),
                "environment": {format!("/{VARIABLES}"): self.environment},
                "labels": self.labels,
                "runscript": self.runscript,
            }},
            "type": "container",
        })
        .to_string()
    }

    /// The files, as a layer to put on top of those of the image; `has` says what it has.
    pub(super) fn layer(&self, has: impl Fn(&str) -> bool) -> io::Result<Vec<u8>> {
        let mut layer = Layer {
            tar: Builder::new(Vec::new()),
            time: self.time,
        };
        for name in DIRECTORIES.into_iter().filter(|name| !has(name)) {
            let mode = if name.ends_with("tmp") { 0o1777 } else { 0o755 };
            layer.directory(name, mode)?;
        }
        for name in FILES.into_iter().filter(|name| !has(name)) {
            layer.file(name, 0o644, "")?;
        }
        for name in ["", "/env", "/libs"] {
            layer.directory(&format!(".singularity.d{name}"), 0o755)?;
        }
        let labels = serde_json::to_string(&self.labels).unwrap_or_default();
        layer.file(".singularity.d/labels.json", 0o644, &labels)?;
        layer.file(".singularity.d/Singularity", 0o644, &self.definition())?;
        layer.file(VARIABLES, 0o755, &self.environment)?;
        layer.file(CUSTOM, 0o755, "#!/bin/sh\n")?;
        layer.file(".singularity.d/runscript", 0o755, &self.runscript)?;
        if !has("environment") {
            layer.link("environment", CUSTOM)?;
        }
        if !has("singularity") {
            layer.link("singularity", ".singularity.d/runscript")?;
        }
        layer.tar.into_inner()
    }
}

struct Layer {
    tar: Builder<Vec<u8>>,
    time: u64,
}

impl Layer {
    fn header(&self, kind: EntryType, mode: u32, size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(self.time);
        header.set_size(size as u64);
        header
    }

    fn directory(&mut self, name: &str, mode: u32) -> io::Result<()> {
        let mut header = self.header(EntryType::Directory, mode, 0);
        self.tar.append_data(&mut header, name, io::empty())
    }

    fn file(&mut self, name: &str, mode: u32, content: &str) -> io::Result<()> {
        let mut header = self.header(EntryType::Regular, mode, content.len());
        self.tar.append_data(&mut header, name, content.as_bytes())
    }

    fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        let mut header = self.header(EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, name, target)
    }
}

/// The image's variables, as a script that leaves the caller's own alone; but `PATH` is the image's.
fn environment(variables: &[String]) -> String {
    let mut script = "#!/bin/sh\n".to_owned();
    for variable in variables {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            && !name.starts_with(|first: char| first.is_ascii_digit());
        if !is_name {
            continue;
        }
        let value = escape(value);
        // Writing to a String cannot fail.
        let _ = if name == "PATH" {
            writeln!(script, "export PATH=\"{value}\"")
        } else {
            writeln!(script, "export {name}=\"${{{name}:-\"{value}\"}}\"")
        };
    }
    let path = variables.iter().find_map(|one| one.strip_prefix("PATH="));
    let own: Vec<&str> = path.unwrap_or_default().split(':').collect();
    let missing: Vec<&str> = PATHS.into_iter().filter(|one| !own.contains(one)).collect();
    if path.is_some() && !missing.is_empty() {
        let _ = writeln!(script, "export PATH=\"$PATH:{}\"", missing.join(":"));
    }
    script
}

/// Within double quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if matches!(letter, '"' | '$' | '`' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// Arguments take the place of the image's command, behind its entry point.
fn runscript(entrypoint: &[String], command: &[String]) -> String {
    let mut script = "#!/bin/sh\n".to_owned();
    if !command.is_empty() {
        let _ = writeln!(script, "[ $# -gt 0 ] || set -- {}", quoted(command));
    }
    if !entrypoint.is_empty() {
        let _ = writeln!(script, "set -- {} \"$@\"", quoted(entrypoint));
    }
    if entrypoint.is_empty() && command.is_empty() {
        script.push_str("[ $# -gt 0 ] || set -- /bin/sh\n");
    }
    script.push_str("exec \"$@\"\n");
    script
}

fn quoted(words: &[String]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
        .collect();
    quoted.join(" ")
}

/// As Apptainer writes it: `Friday_20_November_2026_23:47:40_UTC`.
fn date(time: i64) -> String {
    let time = DateTime::from_timestamp(time, 0).unwrap_or_default();
    time.format("%A_%-d_%B_%Y_%-H:%M:%S_UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn dates_are_apptainers() {
        assert_eq!(date(1_795_218_460), "Friday_20_November_2026_23:47:40_UTC");
        assert_eq!(date(951_782_400), "Tuesday_29_February_2000_0:00:00_UTC");
        assert_eq!(date(0), "Thursday_1_January_1970_0:00:00_UTC");
    }

    #[test]
    fn variables_leave_the_callers_own_alone() {
        let script = environment(&words(&[
            "PATH=/opt/bin:/bin",
            "A=it's $5 \"x\"",
            "1bad=x",
            "B",
        ]));
        assert_eq!(
            script,
            "#!/bin/sh\nexport PATH=\"/opt/bin:/bin\"\n\
             export A=\"${A:-\"it's \\$5 \\\"x\\\"\"}\"\nexport B=\"${B:-\"\"}\"\n\
             export PATH=\"$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin\"\n"
        );
    }

    #[test]
    fn arguments_take_the_commands_place() {
        let run = |entrypoint: &[&str], command: &[&str], args: &[&str]| {
            let script = runscript(&words(entrypoint), &words(command));
            let output = std::process::Command::new("sh")
                .args(["-c", &script, "run"])
                .args(args)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(run(&["echo", "-n"], &["it's $HOME"], &[]), "it's $HOME");
        assert_eq!(run(&["echo", "-n"], &["x"], &["a  b", "c"]), "a  b c");
        assert_eq!(run(&[], &["echo", "x"], &["printf", "%s", "$y"]), "$y");
        assert_eq!(run(&[], &["echo", "x"], &[]), "x\n");
    }
}

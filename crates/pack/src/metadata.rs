//! The files that Singularity adds to an image, in `.singularity.d`, and the record in the SIF.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use chrono::DateTime;
use oci::{Config, ResolvedName};
use tar::{Builder, EntryType, Header};

use crate::{Build, Error, scripts};
use image::{Attributes, SmallFiles};

/// The metadata of an image that is built.
#[derive(Debug)]
pub(crate) struct Record {
    attributes: Attributes,
    time: u64,
    /// Whether our files replace those of the image.
    replaces: bool,
}

/// The environment script with the variables of an OCI image.
const VARIABLES: &str = ".singularity.d/env/10-docker2singularity.sh";
const CUSTOM: &str = ".singularity.d/env/90-environment.sh";
/// A script that does nothing.
const EMPTY: &str = "#!/bin/sh";

/// Mount points that a container needs. An image that has them keeps its own.
const DIRECTORIES: [&str; 11] = [
    "dev", "etc", "home", "mnt", "opt", "proc", "root", "sys", "tmp", "var", "var/tmp",
];
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// Directories that are added to `PATH` if the image's `PATH` lacks them.
const PATHS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

impl Record {
    /// Returns the record of an image with layers: its variables become a script, its command a
    /// runscript.
    pub(crate) fn of_image(config: &Config, build: &Build) -> Self {
        let execution = &config.execution;
        let labels = execution.labels.iter();
        let labels = labels.map(|(name, value)| (name.clone(), value.clone().unwrap_or_default()));
        let environment = environment(&execution.env).trim_end().to_owned();
        let runscript = runscript(&execution.entrypoint, &execution.cmd);
        let mut attributes = Attributes {
            labels: labels.collect(),
            environment: [
                (format!("/{VARIABLES}"), environment),
                (format!("/{CUSTOM}"), EMPTY.to_owned()),
            ]
            .into(),
            runscript: Some(runscript.trim_end().to_owned()),
            startscript: Some(scripts::START.to_owned()),
            test: Some(scripts::TEST.to_owned()),
            deffile: Some(definition(build)),
            ..Attributes::default()
        };
        let architecture = build.architecture_of(&config.architecture);
        attributes.labels.extend(labels_of(build, architecture));
        Self {
            attributes,
            time: u64::try_from(build.time).unwrap_or(0),
            replaces: true,
        }
    }

    /// Returns the record of a file system, which keeps its own metadata.
    pub(crate) fn of_files(
        path: &Path,
        files: &dyn SmallFiles,
        build: &Build,
    ) -> Result<Self, Error> {
        let mut attributes = Attributes::of(files).map_err(Error::file(path))?;
        if attributes.labels.is_empty() {
            attributes
                .labels
                .extend(labels_of(build, build.architecture_of("")));
        }
        attributes.deffile.get_or_insert_with(|| definition(build));
        let is_missing = |name: &str| -> Result<bool, Error> {
            let found = files.bytes(name).map_err(Error::file(path))?;
            Ok(found.is_none())
        };
        if is_missing("/environment")? {
            let scripts = &mut attributes.environment;
            scripts
                .entry(format!("/{CUSTOM}"))
                .or_insert_with(|| EMPTY.to_owned());
        }
        if is_missing("/singularity")? {
            let none = "#!/bin/sh\necho \"There is no runscript defined for this container\"";
            attributes.runscript.get_or_insert_with(|| none.to_owned());
        }
        for (script, none) in [
            (&mut attributes.startscript, scripts::START),
            (&mut attributes.test, scripts::TEST),
        ] {
            script.get_or_insert_with(|| none.to_owned());
        }
        Ok(Self {
            attributes,
            time: u64::try_from(build.time).unwrap_or(0),
            replaces: false,
        })
    }

    pub(crate) fn definition(&self) -> String {
        let text = self.attributes.deffile.as_deref().unwrap_or_default();
        format!("{text}\n\n")
    }

    /// Returns the output of `inspect --all`, in compact form.
    pub(crate) fn inspected(&self) -> String {
        serde_json::to_string(&self.attributes.document()).unwrap_or_default()
    }

    /// Returns our scripts and labels: paths without a leading slash, modes, contents.
    fn files(&self) -> Vec<(&'static str, u32, String)> {
        let labels = serde_json::to_string(&self.attributes.labels).unwrap_or_default();
        let attributes = &self.attributes;
        let variables = attributes.environment.get(&format!("/{VARIABLES}"));
        let files = [
            (".singularity.d/labels.json", 0o644, Some(&labels)),
            (
                ".singularity.d/Singularity",
                0o644,
                attributes.deffile.as_ref(),
            ),
            (VARIABLES, 0o755, variables),
            (CUSTOM, 0o755, Some(&EMPTY.to_owned())),
            (
                ".singularity.d/runscript",
                0o755,
                attributes.runscript.as_ref(),
            ),
            (
                ".singularity.d/startscript",
                0o755,
                attributes.startscript.as_ref(),
            ),
            (".singularity.d/test", 0o755, attributes.test.as_ref()),
        ]
        .map(|(name, mode, content)| Some((name, mode, format!("{}\n", content?))));
        files.into_iter().flatten().collect()
    }

    /// Returns our files as a layer that is put on top of the image's. `place` resolves a path in
    /// the image. No link of the image is replaced, and nothing is written to a path that cannot be
    /// resolved.
    pub(crate) fn layer(
        &self,
        place: impl Fn(&str) -> Option<ResolvedName>,
    ) -> io::Result<Vec<u8>> {
        let mut layer = Layer {
            tar: Builder::new(Vec::new()),
            time: self.time,
        };
        let has = |name: &str| place(name).is_some_and(|place| place.is_there);
        let free = |name: &str| {
            let free = place(name).filter(|place| !place.is_there)?;
            Some(free.name)
        };
        // Our files replace those of an earlier build.
        let wanted = |name: &str| match self.replaces {
            true => Some(name.to_owned()),
            false => free(name),
        };
        layer.mount_points(free)?;
        for name in ["", "/actions", "/env", "/libs"] {
            if let Some(name) = wanted(&format!(".singularity.d{name}")) {
                layer.directory(&name, 0o755)?;
            }
        }
        let is_old = |name: &str| !self.replaces && name == CUSTOM && has("environment");
        for (name, mode, content) in self.files() {
            if let Some(name) = wanted(name).filter(|_| !is_old(name)) {
                layer.file(&name, mode, &content)?;
            }
        }
        layer.actions(wanted)?;
        // The predecessors of `.singularity.d`.
        let before = [
            ("environment", CUSTOM, "/environment"),
            ("singularity", ".singularity.d/runscript", "/singularity"),
        ];
        for (old, name, target) in before {
            if let Some(name) = free(name).filter(|_| !self.replaces && has(old)) {
                layer.link(&name, target)?;
            }
        }
        if !has("environment") {
            layer.link("environment", CUSTOM)?;
        }
        if !has("singularity") && self.attributes.runscript.is_some() {
            layer.link("singularity", ".singularity.d/runscript")?;
        }
        layer.tar.into_inner()
    }
}

/// Returns the scripts and labels of an image that a Dockerfile has described: paths without a leading
/// slash, modes, contents. `text` is the Dockerfile.
#[must_use]
pub fn described(config: &Config, build: &Build, text: &str) -> Vec<(&'static str, u32, String)> {
    let mut record = Record::of_image(config, build);
    record.attributes.deffile = Some(text.trim_end().to_owned());
    record.files()
}

fn definition(build: &Build) -> String {
    let (bootstrap, from) = &build.from;
    format!("bootstrap: {bootstrap}\nfrom: {from}")
}

/// Returns the labels that a build adds.
fn labels_of(build: &Build, architecture: &str) -> [(String, String); 5] {
    let (bootstrap, from) = build.from.clone();
    [
        ("schema-version", "1.0".to_owned()),
        ("build-arch", architecture.to_owned()),
        ("build-date", label_date(build.time)),
        ("usage.singularity.deffile.bootstrap", bootstrap),
        ("usage.singularity.deffile.from", from),
    ]
    .map(|(name, value)| (format!("org.label-schema.{name}"), value))
}

struct Layer {
    tar: Builder<Vec<u8>>,
    time: u64,
}

impl Layer {
    /// Adds the mount points that the image lacks.
    fn mount_points(&mut self, free: impl Fn(&str) -> Option<String>) -> io::Result<()> {
        for name in DIRECTORIES {
            let mode = if name.ends_with("tmp") { 0o1777 } else { 0o755 };
            if let Some(name) = free(name) {
                self.directory(&name, mode)?;
            }
        }
        for name in FILES.into_iter().filter_map(free) {
            self.file(&name, 0o644, "")?;
        }
        Ok(())
    }

    /// Adds the scripts for older runtimes.
    fn actions(&mut self, wanted: impl Fn(&str) -> Option<String>) -> io::Result<()> {
        for (name, program) in scripts::ACTIONS {
            if let Some(name) = wanted(&format!("{}/{name}", scripts::DIRECTORY)) {
                self.file(&name, 0o755, &format!("{}\n", scripts::action(program)))?;
            }
        }
        Ok(())
    }

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

/// Returns a script with the image's variables. It does not change a variable that the caller has
/// set, except `PATH`, which is the image's.
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

/// Escapes a text for double quotes.
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

/// Returns a script that runs the entry point. The arguments replace the image's command.
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

/// Formats a time, in seconds since 1970, as in Apptainer's label:
/// `Friday_20_November_2026_23:47:40_UTC`.
#[must_use]
pub fn label_date(time: i64) -> String {
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
        assert_eq!(
            label_date(1_795_218_460),
            "Friday_20_November_2026_23:47:40_UTC"
        );
        assert_eq!(
            label_date(951_782_400),
            "Tuesday_29_February_2000_0:00:00_UTC"
        );
        assert_eq!(label_date(0), "Thursday_1_January_1970_0:00:00_UTC");
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

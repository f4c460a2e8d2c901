//! The files in `.singularity.d` that a definition file's sections become.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use definition::{Script, Stage};
use rootfs::{Directory, Files};

use crate::flags::BuildOptions;
use crate::messages::Messages;

/// The directory of the metadata.
const OWN: &str = "/.singularity.d";
/// The file of `%environment`.
const ENVIRONMENT: &str = "/.singularity.d/env/90-environment.sh";
/// The file to which `%post` can write labels.
pub const LABELS: &str = "/.build.labels";
/// The script that does nothing.
const EMPTY: &str = "#!/bin/sh\n";
/// The script of an image that has none.
const NO_RUNSCRIPT: &str =
    "#!/bin/sh\necho \"There is no runscript defined for this container\\n\";\n";
/// Largest file of metadata that is read, in bytes.
const LIMIT: usize = 1 << 20;

/// Directories that each image has.
const DIRECTORIES: [&str; 11] = [
    ".singularity.d/actions",
    ".singularity.d/env",
    ".singularity.d/libs",
    "dev",
    "etc",
    "home",
    "proc",
    "root",
    "sys",
    "tmp",
    "var/tmp",
];
/// Links of earlier versions of Singularity.
const LINKS: [(&str, &str); 6] = [
    ("/environment", ".singularity.d/env/90-environment.sh"),
    ("/singularity", ".singularity.d/runscript"),
    ("/.exec", ".singularity.d/actions/exec"),
    ("/.run", ".singularity.d/actions/run"),
    ("/.shell", ".singularity.d/actions/shell"),
    ("/.test", ".singularity.d/actions/test"),
];

/// The facts about a build that become labels.
pub struct Facts {
    /// The time, in the form of Apptainer's label.
    pub date: String,
    /// Go's name of the architecture.
    pub architecture: String,
    /// The version of Apptainer that front is compatible with.
    pub version: String,
}

/// Adds to a new tree what each image has, without changing anything that is there. `is_bare` says
/// that the base is no image: it has a runscript that does nothing, then.
///
/// # Errors
///
/// Fails when the tree cannot be written.
pub fn add_base(tree: &Directory, is_bare: bool) -> Result<()> {
    for name in DIRECTORIES {
        let path = Path::new("/").join(name);
        if tree.step(&path)?.is_some() {
            continue;
        }
        let made = tree.make_directories(&path)?;
        if name.ends_with("tmp") {
            rustix::fs::fchmod(&made, rustix::fs::Mode::from_raw_mode(0o1777))?;
        }
    }
    let actions = pack::actions();
    let files = [
        ("/etc/hosts", 0o644, ""),
        ("/etc/resolv.conf", 0o644, ""),
        ("/.singularity.d/env/01-base.sh", 0o755, EMPTY),
        (ENVIRONMENT, 0o755, EMPTY),
        ("/.singularity.d/env/95-apps.sh", 0o755, pack::APPLICATIONS),
        ("/.singularity.d/env/99-base.sh", 0o755, pack::LAST),
        ("/.singularity.d/env/94-appsbase.sh", 0o755, ""),
        (
            "/.singularity.d/runscript",
            0o755,
            if is_bare { EMPTY } else { NO_RUNSCRIPT },
        ),
        ("/.singularity.d/startscript", 0o755, EMPTY),
    ];
    let actions = actions
        .iter()
        .map(|(path, text)| (path.as_str(), 0o755, text.as_str()));
    for (path, mode, content) in files.into_iter().chain(actions) {
        // A link in an image may lead to a file that only a container has.
        if tree.step(Path::new(path))?.is_none() {
            tree.write(Path::new(path), mode, content.as_bytes())?;
        }
    }
    for (path, target) in LINKS {
        tree.link(Path::new(path), Path::new(target))?;
    }
    Ok(())
}

/// Writes a stage's sections. `text` is the whole definition file.
///
/// # Errors
///
/// Fails when the tree cannot be written.
pub fn write(
    stage: &Stage,
    text: &str,
    facts: &Facts,
    force: bool,
    options: &BuildOptions,
    tree: &Directory,
    messages: &Messages,
) -> Result<()> {
    let used = |section: &str, script: &Option<Script>| {
        let script = script.as_ref().filter(|script| !script.text.is_empty());
        script.filter(|_| options.uses(section)).cloned()
    };
    let help = used("help", &stage.help);
    if let Some(help) = &help {
        let path = own("runscript.help");
        if force || tree.entry(Path::new(&path))?.is_none() {
            messages.info("Adding help info");
            write_file(tree, &path, 0o644, &format!("{}\n", help.text))?;
        } else {
            messages.warning("the base has a help text, which is kept; --force replaces it");
        }
    }
    write_labels(stage, facts, force, options, help.is_some(), tree, messages)?;
    write_definition(text, tree)?;
    if let Some(environment) = used("environment", &stage.environment) {
        messages.info("Adding environment to container");
        let before = read(tree, ENVIRONMENT)?.unwrap_or_else(|| EMPTY.to_owned());
        let text = format!("{before}\n{}\n", environment.text);
        write_file(tree, ENVIRONMENT, 0o755, &text)?;
    }
    for (section, name, script, words) in [
        (
            "startscript",
            "startscript",
            &stage.startscript,
            "Adding startscript",
        ),
        (
            "runscript",
            "runscript",
            &stage.runscript,
            "Adding runscript",
        ),
        ("test", "test", &stage.test, "Adding testscript"),
    ] {
        if let Some(script) = used(section, script) {
            messages.info(words);
            write_file(tree, &own(name), 0o755, &whole_script(&script))?;
        }
    }
    Ok(())
}

fn own(name: &str) -> String {
    format!("{OWN}/{name}")
}

fn write_file(tree: &Directory, path: &str, mode: u32, content: &str) -> Result<()> {
    let written = tree.write(Path::new(path), mode, content.as_bytes());
    written.with_context(|| path.to_owned())
}

fn read(tree: &Directory, path: &str) -> Result<Option<String>> {
    let bytes = tree
        .read(Path::new(path), LIMIT)
        .with_context(|| path.to_owned())?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns a script with its interpreter: the one in its first line, or else a shell. The section's
/// arguments are added to it.
fn whole_script(script: &Script) -> String {
    let text = &script.text;
    let (interpreter, rest) = match text.trim_start().starts_with("#!") {
        true => text
            .trim_start()
            .split_once('\n')
            .unwrap_or((text.trim(), "")),
        false => ("#!/bin/sh", text.as_str()),
    };
    let line = format!("{} {}", interpreter.trim(), script.arguments);
    format!("{}\n\n{rest}\n", line.trim_end())
}

fn write_definition(text: &str, tree: &Directory) -> Result<()> {
    let path = own("Singularity");
    if let Some(earlier) = read(tree, &path)? {
        let history = own("bootstrap_history");
        let count = tree.list(Path::new(&history))?.len();
        write_file(
            tree,
            &format!("{history}/Apptainer{count}"),
            0o644,
            &earlier,
        )?;
    }
    write_file(tree, &path, 0o644, text)
}

fn write_labels(
    stage: &Stage,
    facts: &Facts,
    force: bool,
    options: &BuildOptions,
    has_help: bool,
    tree: &Directory,
    messages: &Messages,
) -> Result<()> {
    let path = own("labels.json");
    let mut labels: BTreeMap<String, String> = match read(tree, &path)? {
        Some(text) => {
            let read = serde_json::from_str(&text);
            read.with_context(|| format!("{path} of the image, which is read up to 1 MiB"))?
        }
        None => BTreeMap::new(),
    };
    if let Some(text) = read(tree, LABELS)? {
        tree.unlink(Path::new(LABELS))?;
        labels.extend(definition::labels(&text));
    }
    let mut add = |name: &str, value: &str| {
        labels.insert(format!("org.label-schema.{name}"), value.to_owned());
    };
    add("schema-version", "1.0");
    add("build-date", &facts.date);
    add("build-arch", &facts.architecture);
    add("usage.apptainer.version", &facts.version);
    if has_help {
        add("usage", "/.singularity.d/runscript.help");
        add(
            "usage.apptainer.runscript.help",
            "/.singularity.d/runscript.help",
        );
    }
    if !options.update || force {
        for (keyword, value) in stage.header.iter() {
            add(&format!("usage.singularity.deffile.{keyword}"), value);
        }
    }
    if options.uses("labels") && !stage.labels.is_empty() {
        messages.info("Adding labels");
        // A base may have labels that the user does not know of.
        let there: Vec<String> = labels.keys().cloned().collect();
        for (name, value) in &stage.labels {
            if there.contains(name) && !force {
                messages.warning(format_args!(
                    "the base has the label {name}, which is kept; --force replaces it"
                ));
            } else {
                labels.insert(name.clone(), value.clone());
            }
        }
    }
    let text = crate::json::tabbed(&labels)?;
    write_file(tree, &path, 0o644, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_have_an_interpreter() {
        let whole = |text: &str, arguments: &str| {
            whole_script(&Script {
                text: text.to_owned(),
                arguments: arguments.to_owned(),
                ..Script::default()
            })
        };
        assert_eq!(whole("  echo\n", ""), "#!/bin/sh\n\n  echo\n\n");
        assert_eq!(
            whole("#!/bin/bash -l\necho\n", "-x"),
            "#!/bin/bash -l -x\n\necho\n\n"
        );
    }
}

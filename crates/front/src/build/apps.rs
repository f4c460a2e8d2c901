//! The applications of an image ([SCIF]), each in a directory of its own.
//!
//! [SCIF]: https://sci-f.github.io/

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use definition::{App, Script};
use rootfs::Directory;

use super::copy::Source;

/// The script with the variables of all applications.
const ENVIRONMENT: &str = "/.singularity.d/env/94-appsbase.sh";

/// Makes the applications' directories and files. Returns the script that installs them, which is a
/// part of `%post`.
///
/// # Errors
///
/// Fails when a file cannot be copied or written.
pub fn add(apps: &[App], files: &Source<'_>, tree: &Directory) -> Result<String> {
    let (mut variables, mut install) = (String::new(), String::new());
    for app in apps {
        variables.push_str(&add_one(app, files, tree).with_context(|| app.name.clone())?);
        if let Some(script) = &app.install {
            let root = root(app);
            let text = &script.text;
            // Writing to a String cannot fail.
            let _ = write!(
                install,
                "\ncd /\n. {root}/scif/env/01-base.sh\n\ncd {root}\n{text}\n\ncd /\n"
            );
        }
    }
    if !apps.is_empty() {
        tree.write(Path::new(ENVIRONMENT), 0o755, variables.as_bytes())?;
    }
    Ok(install)
}

fn root(app: &App) -> String {
    format!("/scif/apps/{}", app.name)
}

/// Makes an application. Returns its part of the script with variables.
fn add_one(app: &App, files: &Source<'_>, tree: &Directory) -> Result<String> {
    let (name, root) = (&app.name, root(app));
    for directory in ["scif/env", "bin", "lib"] {
        tree.make_directories(Path::new(&format!("{root}/{directory}")))?;
    }
    for directory in ["input", "output"] {
        tree.make_directories(Path::new(&format!("/scif/data/{name}/{directory}")))?;
    }
    let base = format!(
        "#!/bin/sh\n\n\
         SCIF_APPNAME={name}\nSCIF_APPROOT=\"{root}\"\nSCIF_APPMETA=\"{root}/scif\"\n\
         SCIF_DATA=\"/scif/data\"\nSCIF_APPDATA=\"/scif/data/{name}\"\n\
         SCIF_APPINPUT=\"/scif/data/{name}/input\"\nSCIF_APPOUTPUT=\"/scif/data/{name}/output\"\n\
         export SCIF_APPDATA SCIF_APPNAME SCIF_APPROOT SCIF_APPMETA SCIF_APPINPUT SCIF_APPOUTPUT SCIF_DATA\n"
    );
    let script = |script: &Option<Script>| {
        { script.as_ref() }.map(|script| format!("#!/bin/sh\n\n{}\n", script.text))
    };
    let text = |script: &Option<Script>| script.as_ref().map(|script| script.text.clone());
    let rows = [
        ("env/01-base.sh", 0o755, Some(base)),
        ("env/90-environment.sh", 0o755, text(&app.environment)),
        ("runscript", 0o755, script(&app.runscript)),
        ("startscript", 0o755, script(&app.startscript)),
        ("test", 0o755, script(&app.test)),
        ("runscript.help", 0o644, text(&app.help)),
        ("labels.json", 0o644, Some(labels(app)?)),
    ];
    for (file, mode, content) in rows {
        if let Some(content) = content {
            let path = format!("{root}/scif/{file}");
            tree.write(Path::new(&path), mode, content.as_bytes())?;
        }
    }
    for transfer in &app.files {
        let target = match transfer.target.as_str() {
            "" => &transfer.source,
            target => target,
        };
        let target = format!("{root}/{}", target.trim_start_matches('/'));
        files.copy(&transfer.source, &target, tree)?;
    }
    Ok(variables(app))
}

fn labels(app: &App) -> Result<String> {
    let mut labels = BTreeMap::from([("SCIF_APP_NAME".to_owned(), app.name.clone())]);
    labels.extend(app.labels.iter().flatten().cloned());
    crate::json::tabbed(&labels)
}

fn variables(app: &App) -> String {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name: String = { app.name.chars() }
        .map(|letter| if is_word(letter) { letter } else { '_' })
        .collect();
    let (root, data) = (root(app), format!("/scif/data/{}", app.name));
    let mut text = format!("## App Global Exports For: {name}\n\n");
    let all = [
        ("DATA", data),
        ("META", format!("{root}/scif")),
        ("ROOT", root.clone()),
        ("BIN", format!("{root}/bin")),
        ("LIB", format!("{root}/lib")),
    ];
    let some = [
        ("ENV", app.environment.is_some(), "env/90-environment.sh"),
        ("LABELS", true, "labels.json"),
        ("RUN", app.runscript.is_some(), "runscript"),
        ("START", app.startscript.is_some(), "startscript"),
    ];
    let some = some.into_iter().filter(|(_, is_there, _)| *is_there);
    let some = some.map(|(key, _, file)| (key, format!("{root}/scif/{file}")));
    for (key, value) in all.into_iter().chain(some) {
        let _ = writeln!(text, "export SCIF_APP{key}_{name}=\"{value}\"");
    }
    text.push('\n');
    text
}

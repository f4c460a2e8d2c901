//! `front inspect IMAGE`: an image's metadata.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use image::{App, Attributes};
use text::{printable, printable_lines};

use crate::caller::Caller;
use crate::cli::Inspect;
use crate::flags::RegistryFlags;
use crate::json;
use crate::launch::open_image;
use crate::messages::Messages;
use crate::request::Source;

pub fn run(args: &Inspect, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let attributes = read(&args.image, &args.registry, caller, messages)?;
    let text = if args.list_apps && !args.json {
        attributes
            .apps
            .keys()
            .fold(String::new(), |text, name| text + &printable(name) + "\n")
    } else {
        let chosen = choose(attributes, args)?;
        match args.json || args.all {
            true => json::tabbed(&chosen.document())?,
            false => plain(&chosen),
        }
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("print")?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the metadata of an image.
///
/// # Errors
///
/// Fails when the image cannot be opened, or is damaged.
pub fn read(
    image: &OsStr,
    registry: &RegistryFlags,
    caller: &Caller,
    messages: &Messages,
) -> Result<Attributes> {
    let source = Source::parse(image, caller)?;
    let options = source.registry_options(registry, caller)?;
    let image = open_image(&source, options.as_ref(), caller, messages)?;
    let damaged = || format!("{}: the image is damaged", image.path.display());
    Attributes::read(&image.root).with_context(damaged)
}

/// Returns the attributes that the flags ask for. An application's attributes replace the image's
/// own.
fn choose(all: Attributes, args: &Inspect) -> Result<Attributes> {
    if args.all {
        return Ok(all);
    }
    let all = of_app(all, args.app.as_deref())?;
    let sections = [
        args.deffile,
        args.environment,
        args.helpfile,
        args.runscript,
        args.startscript,
        args.test,
    ];
    let with_labels = args.labels || !sections.contains(&true) && !args.list_apps;
    Ok(Attributes {
        apps: match args.list_apps {
            true => all
                .apps
                .into_keys()
                .map(|name| (name, App::default()))
                .collect(),
            false => Default::default(),
        },
        environment: if args.environment {
            all.environment
        } else {
            Default::default()
        },
        labels: if with_labels {
            all.labels
        } else {
            Default::default()
        },
        runscript: all.runscript.filter(|_| args.runscript),
        test: all.test.filter(|_| args.test),
        helpfile: all.helpfile.filter(|_| args.helpfile),
        deffile: all.deffile.filter(|_| args.deffile),
        startscript: all.startscript.filter(|_| args.startscript),
    })
}

/// Returns an application's attributes in place of the image's own, if one is named.
///
/// # Errors
///
/// Fails when the image does not have the application.
pub fn of_app(mut all: Attributes, name: Option<&str>) -> Result<Attributes> {
    let Some(name) = name else {
        return Ok(all);
    };
    let Some(app) = all.apps.remove(name) else {
        bail!("the image has no application {name:?}");
    };
    Ok(Attributes {
        environment: app.environment,
        labels: app.labels,
        runscript: app.runscript,
        test: app.test,
        helpfile: app.helpfile,
        ..Attributes::default()
    })
}

fn plain(attributes: &Attributes) -> String {
    let mut text = String::new();
    let sections = [
        &attributes.helpfile,
        &attributes.deffile,
        &attributes.runscript,
        &attributes.startscript,
        &attributes.test,
    ];
    for section in sections.into_iter().flatten() {
        let _ = writeln!(text, "{}", printable_lines(section));
    }
    for (path, script) in &attributes.environment {
        let (path, script) = (printable(path), printable_lines(script));
        let _ = writeln!(text, "=== {path} ===\n{script}\n");
    }
    for (name, value) in &attributes.labels {
        let _ = writeln!(text, "{}: {}", printable(name), printable_lines(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_says_is_shown_and_not_obeyed() {
        let hostile = "a\n\x1b]52;c;x\x07".to_owned();
        let attributes = Attributes {
            environment: [(hostile.clone(), hostile.clone())].into(),
            labels: [(hostile.clone(), hostile.clone())].into(),
            runscript: Some(hostile),
            ..Attributes::default()
        };
        let text = plain(&attributes);
        let controls = text.chars().filter(|letter| letter.is_control());
        assert!(controls.eq(std::iter::repeat_n('\n', 8)), "{text:?}");
        assert_eq!(text.matches("\\x1b]52;c;x\\x07").count(), 5, "{text:?}");
        let json = json::tabbed(&attributes.document()).unwrap();
        assert!(!json.contains('\x1b') && json.contains("\\u001b"), "{json}");
    }
}

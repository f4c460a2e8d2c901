//! The page of all commands, flags and variables, `docs/reference/flags.md`, and the README's table
//! of flags. A test fails when they are outdated, and can write them.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Args, Command};

use crate::called::Called;
use crate::cli::described::{described, variable};
use crate::commands::REASONS;
use crate::flags::{self, ContainerFlags, refused_flags};
use crate::variables::Meaning;

/// The variable that makes the test write the pages.
const WRITE: &str = "SLIPWAY_WRITE_PAGES";

const INTRODUCTION: &str = "\
# Commands, flags and variables

`front COMMAND --help` says the same. A variable has one of three prefixes: `FRONT_`, `APPTAINER_` or `SINGULARITY_`, the
strongest first. A flag beats its variable. Flags come before the image.

This page is generated: `SLIPWAY_WRITE_PAGES=1 cargo test -p front pages` writes it.
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let command = described(Called::Front);
    let all: Vec<&Arg> = command.get_arguments().collect();
    let _ = writeln!(page, "\n## Before the command\n");
    table(&all, &mut page);
    let exec = command.find_subcommand("exec").unwrap();
    let of_containers: Vec<&Arg> = { exec.get_arguments() }
        .filter(|arg| is_of_containers(arg))
        .collect();
    let _ = writeln!(page, "\n## Flags of a container");
    for group in
        of_containers.chunk_by(|one, next| one.get_help_heading() == next.get_help_heading())
    {
        let heading = group.first().and_then(|arg| arg.get_help_heading());
        let _ = writeln!(page, "\n### {}\n", heading.unwrap_or("Others"));
        table(group, &mut page);
    }
    for below in command.get_subcommands() {
        section(below, "front", &mut page);
    }
    let _ = writeln!(page, "\n## Settings that only variables have\n");
    let _ = writeln!(page, "| variable | meaning |\n|---|---|");
    for setting in flags::variables() {
        if let Meaning::Setting(words) = setting.meaning {
            let names = setting.names.iter();
            let names: Vec<_> = names.map(|name| format!("`APPTAINER_{name}`")).collect();
            let _ = writeln!(page, "| {} | {words} |", names.join(", "));
        }
    }
    page
}

/// Whether an argument is a flag of every command that starts a container.
fn is_of_containers(arg: &Arg) -> bool {
    let flags = ContainerFlags::augment_args(Command::new("front"));
    flags
        .get_arguments()
        .any(|other| other.get_id() == arg.get_id())
}

fn section(command: &Command, above: &str, page: &mut String) {
    let name = format!("{above} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let _ = writeln!(page, "\n## {name}\n\n{about}.\n");
    let starts_container = command.get_arguments().any(|arg| arg.get_id() == "contain");
    let own = command
        .get_arguments()
        .filter(|arg| !starts_container || !is_of_containers(arg));
    table(&own.collect::<Vec<_>>(), page);
    if starts_container {
        let _ = writeln!(
            page,
            "\nAlso accepts the [flags of a container](#flags-of-a-container)."
        );
    }
    for below in command.get_subcommands() {
        section(below, &name, page);
    }
}

fn table(args: &[&Arg], page: &mut String) {
    let shown =
        |arg: &&&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let args: Vec<_> = args.iter().filter(shown).collect();
    if args.is_empty() {
        return;
    }
    let _ = writeln!(page, "| flag | variable | meaning |\n|---|---|---|");
    for arg in args {
        let variable = variable(arg)
            .map(|name| format!("`{name}`"))
            .unwrap_or_default();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        // The variable has a column of its own.
        let help = help.split(" [APPTAINER_").next().unwrap_or_default();
        let help = help.replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(page, "| {} | {variable} | {help} |", names(arg));
    }
}

/// Returns a flag with its values, or the name of a positional argument.
fn names(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let values = values
        .iter()
        .map(|name| format!(" {name}"))
        .collect::<String>();
    if arg.is_positional() {
        return format!("`{}`", values.trim_start());
    }
    let values = if arg.get_action().takes_values() {
        values
    } else {
        String::new()
    };
    let short = arg
        .get_short()
        .map(|letter| format!("`-{letter}`, "))
        .unwrap_or_default();
    let long = arg.get_long().map(|name| format!("`--{name}{values}`"));
    short + &long.unwrap_or_default()
}

/// Returns the README's table: every flag of a container, except those for images that are not
/// files.
fn common_flags() -> String {
    let exec = described(Called::Front);
    let exec = exec.find_subcommand("exec").unwrap();
    let common = exec.get_arguments().filter(|arg| {
        is_of_containers(arg)
            && arg.get_help_heading() != Some("Images from registries and daemons")
    });
    let mut text = String::new();
    table(&common.collect::<Vec<_>>(), &mut text);
    text
}

const COMPATIBILITY: &str = "\
# Commands and flags of Apptainer

`front` is compared with Apptainer 1.4.5. Each command and flag works, is accepted because what it asks for is given
anyway, or is refused with the reason. Variables with the prefixes `APPTAINER_` and `SINGULARITY_` are treated as their
flags.

This page is generated: `SLIPWAY_WRITE_PAGES=1 cargo test -p front pages` writes it.
";

/// The command lines that are compared with the real Apptainer.
const CASES: &str = "../../tests/tests/front/differential/cases.txt";

/// Returns the page of what is equal, better and refused.
fn compatibility() -> String {
    let mut page = COMPATIBILITY.to_owned();
    let command = described(Called::Front);
    let _ = writeln!(page, "\n## Commands\n\n| command | |\n|---|---|");
    let shown = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    let mut rows: Vec<(String, String)> = shown
        .map(|below| (below.get_name().to_owned(), "works".to_owned()))
        .collect();
    rows.extend(REASONS.map(|(name, reason)| (name.to_owned(), format!("refused: {reason}"))));
    rows.sort();
    for (name, state) in rows {
        let _ = writeln!(page, "| `{name}` | {state} |");
    }
    let _ = writeln!(
        page,
        "\n## Flags of exec, run, shell, test and instance start\n"
    );
    let _ = writeln!(page, "| flag | |\n|---|---|");
    let flags = ContainerFlags::augment_args(Command::new("front"));
    let mut rows: Vec<(&str, String)> = flags
        .get_arguments()
        .filter_map(|arg| {
            let name = arg.get_long()?;
            let refused = refused_flags().find(|(flag, _)| *flag == name);
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let state = match (refused, help.strip_prefix("Do nothing: ")) {
                (Some((_, reason)), _) => format!("refused: {reason}"),
                (None, Some(why)) => format!("accepted: {why}"),
                (None, None) => "works".to_owned(),
            };
            Some((name, state))
        })
        .collect();
    rows.sort();
    for (name, state) in rows {
        let _ = writeln!(page, "| `--{name}` | {state} |");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CASES);
    let cases = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = cases
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let compared = lines.iter().filter(|line| line.contains("{}")).count();
    let _ = writeln!(
        page,
        "\n## Outcomes that differ\n\nOf {compared} command lines, these have another output, exit status or kind of \
         message, for these reasons:\n\n| command line | better |\n|---|---|"
    );
    for pair in lines.windows(2) {
        if let [reason, line] = pair
            && let Some(reason) = reason.strip_prefix("better: ")
        {
            let line = line.replace("{}", "front").replace('|', "\\|");
            let _ = writeln!(page, "| `{line}` | {reason} |");
        }
    }
    page
}

/// Compares a file with the right content, or writes it if `WRITE` is set.
fn check(name: &str, right: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name);
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let right = right(&there);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &right).unwrap();
    } else {
        assert!(
            there == right,
            "{name} is outdated: write it with {WRITE}=1 cargo test -p front pages"
        );
    }
}

#[test]
fn the_page_of_flags_is_as_the_program() {
    check("docs/reference/flags.md", |_| page());
}

#[test]
fn the_page_of_compatibility_is_as_the_program() {
    check("docs/reference/compatibility.md", |_| compatibility());
}

#[test]
fn the_readme_has_the_flags_of_the_program() {
    let (begin, end) = (
        "<!-- flags: generated from the program -->\n",
        "<!-- end of flags -->\n",
    );
    check("README.md", |there| {
        let (before, rest) = there.split_once(begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        [before, begin, &common_flags(), end, after].concat()
    });
}

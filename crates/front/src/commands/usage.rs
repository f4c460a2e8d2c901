//! Usage errors: one line with the reason, and with the probable intention.

use std::io::Write;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use sys::ExitCode;

use crate::called::Called;
use crate::hints;

/// Exit status of a usage error.
const USAGE: u8 = 1;

/// Prints help if the user asked for it, or else the error in the command line, in one line.
pub fn usage(error: &clap::Error, called: Called) -> ExitCode {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = write!(std::io::stdout(), "{}", called.rename(&text));
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(std::io::stderr(), "{}", called.rename(&text));
            ExitCode::from(USAGE)
        }
        _ => {
            let (line, name) = (called.rename(&line(error)), called.name());
            eprintln!("FATAL:   {line}; see `{name} --help` or `{name} COMMAND --help`");
            ExitCode::from(USAGE)
        }
    }
}

/// Joins the lines of clap's message.
fn line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let line = line.trim_end_matches(':');
    let mut others = text.lines().skip(1).map(str::trim);
    let missing = others.find(|line| line.starts_with('<'));
    let missing = missing.map(|name| format!(": {name}")).unwrap_or_default();
    format!("{line}{missing}{}", hint(error))
}

/// Returns the valid values and the probable intention.
fn hint(error: &clap::Error) -> String {
    use ContextKind::{
        InvalidSubcommand, SuggestedArg, SuggestedSubcommand, SuggestedValue, ValidValue,
    };
    let values = texts(error, ValidValue);
    let values = match values.is_empty() {
        true => String::new(),
        false => format!(": expected one of {}", values.join(", ")),
    };
    let near = [SuggestedArg, SuggestedSubcommand, SuggestedValue];
    let near = near.into_iter().flat_map(|kind| texts(error, kind)).next();
    let near = near.map(|near| format!("; did you mean `{near}`?"));
    let command = texts(error, InvalidSubcommand).into_iter().next();
    let command = command.map(hints::of_command);
    values + &near.or(command).unwrap_or_default()
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.as_str()],
        Some(ContextValue::Strings(texts)) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn what_was_perhaps_meant_is_said() {
        let cases = [
            (
                "exec --contian img c",
                "unexpected argument '--contian' found; did you mean `--contain`?",
            ),
            (
                "exec --mpi hots img c",
                "invalid value 'hots' for '--mpi <MPI>': expected one of auto, host, container, none; did you mean `host`?",
            ),
            (
                "exec --mpi x img c",
                "invalid value 'x' for '--mpi <MPI>': expected one of auto, host, container, none",
            ),
            (
                "exce img c",
                "unrecognized subcommand 'exce'; did you mean `exec`?",
            ),
            (
                "docker://alpine",
                "unrecognized subcommand 'docker://alpine'; to run an image, use `front run docker://alpine`",
            ),
            (
                "exec",
                "the following required arguments were not provided: <IMAGE> <COMMAND>...",
            ),
            (
                "exec img",
                "2 values required by '<IMAGE> <COMMAND>...'; only 1 was provided",
            ),
        ];
        for (words, expected) in cases {
            let words = ["front"].into_iter().chain(words.split(' '));
            let error = Cli::try_parse_from(words).unwrap_err();
            assert_eq!(line(&error), expected);
        }
    }
}

//! The commands and flags, with everything that help, manual pages and completions show.

use clap::{Arg, Command, CommandFactory};

use super::Cli;
use crate::called::Called;
use crate::flags;
use crate::variables::Meaning;

/// Returns all commands, completely built. The help of each flag names the flag's variable.
pub fn described(called: Called) -> Command {
    let mut command = called.give(Cli::command());
    command.build();
    name_variables(&mut command);
    command
}

fn name_variables(command: &mut Command) {
    *command = std::mem::take(command).mut_args(|arg| match variable(&arg) {
        Some(variable) => {
            let help = arg.get_help().cloned().unwrap_or_default();
            arg.help(format!("{help} [{variable}]"))
        }
        None => arg,
    });
    command.get_subcommands_mut().for_each(name_variables);
}

/// Returns the variable of a flag, with Apptainer's prefix.
pub fn variable(arg: &Arg) -> Option<String> {
    let own = arg.get_id().as_str();
    let found = flags::variables()
        .find(|variable| matches!(variable.meaning, Meaning::Flag(flag) if flag == own));
    let name = found.filter(|_| !arg.is_positional())?.names.first()?;
    Some(format!("APPTAINER_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(command: &Command, found: &mut Vec<String>) {
        found.extend(command.get_arguments().map(|arg| arg.get_id().to_string()));
        { command.get_subcommands() }.for_each(|command| ids(command, found));
    }

    #[test]
    fn each_variable_is_of_a_flag_that_there_is() {
        let mut found = Vec::new();
        ids(&described(Called::Front), &mut found);
        for variable in flags::variables() {
            if let Meaning::Flag(flag) = variable.meaning {
                assert!(found.iter().any(|id| id == flag), "{flag}");
            }
        }
    }

    #[test]
    fn help_names_the_variable() {
        let words = ["front", "exec", "--help"];
        let help = described(Called::Front)
            .try_get_matches_from(words)
            .unwrap_err();
        let help = help.to_string();
        assert!(help.contains("[APPTAINER_CONTAINALL]"), "{help}");
    }
}

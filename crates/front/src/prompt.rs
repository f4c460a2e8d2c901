//! Asks the user for names, and for passwords, which are not shown.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write, stdin};

use anyhow::{Context, Result, bail};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks for a name, unless it is given, and for a password.
///
/// # Errors
///
/// Fails when there is no terminal.
pub fn login(user: Option<&str>) -> Result<(String, String)> {
    let user = match user {
        Some(user) => user.to_owned(),
        None => ask("Username: ", true)?,
    };
    let password = ask("Password: ", false)?;
    Ok((user, password))
}

/// Reads a line from standard input.
///
/// # Errors
///
/// Fails when it cannot be read.
pub fn line_of_input() -> Result<String> {
    let mut line = String::new();
    stdin()
        .lock()
        .read_line(&mut line)
        .context("read standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks on the terminal, even if standard input is redirected.
///
/// # Errors
///
/// Fails when there is no terminal.
pub fn ask(question: &str, shown: bool) -> Result<String> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let Ok(mut terminal) = terminal.map(Some).or_else(|_| match stdin().is_terminal() {
        true => Ok(None),
        false => Err(()),
    }) else {
        bail!(
            "no terminal to ask for {:?}; use --username and --password-stdin",
            question.trim_end_matches([' ', ':'])
        );
    };
    let Some(terminal) = &mut terminal else {
        return line_of_input();
    };
    let before = tcgetattr(&terminal).context("ask on the terminal")?;
    if !shown {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &silent).context("ask on the terminal")?;
    }
    let mut line = String::new();
    let asked = terminal
        .write_all(question.as_bytes())
        .and_then(|()| BufReader::new(&*terminal).read_line(&mut line));
    if !shown {
        let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
        let _ = terminal.write_all(b"\n");
    }
    asked.context("ask on the terminal")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

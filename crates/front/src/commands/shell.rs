//! `front shell IMAGE`

use sys::ExitCode;

use anyhow::{Context, Result};

use crate::caller::Caller;
use crate::cli::Shell;
use crate::launch::launch;
use crate::messages::Messages;
use crate::request::{Action, Request, Source};

pub fn run(args: &Shell, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let (image, rest) = args.words.split_first().context("no image given")?;
    if !rest.is_empty() {
        messages.warning("`front shell` takes no command: arguments after the image are ignored");
    }
    let action = Action::Shell(args.shell.resolve(&caller.variables));
    let request = Request::new(Source::parse(image, caller)?, action, &args.flags, caller)?;
    launch(request, caller, messages)
}

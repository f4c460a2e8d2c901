//! `front exec IMAGE COMMAND…`

use sys::ExitCode;

use anyhow::{Context, Result};

use crate::caller::Caller;
use crate::cli::Exec;
use crate::launch::launch;
use crate::messages::Messages;
use crate::request::{Action, Request, Source};

pub fn run(args: &Exec, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let (image, command) = args.words.split_first().context("no image given")?;
    let action = Action::Exec(command.to_vec());
    let request = Request::new(Source::parse(image, caller)?, action, &args.flags, caller)?;
    launch(request, caller, messages)
}

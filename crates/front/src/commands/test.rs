//! `front test IMAGE [ARGUMENT…]`

use sys::ExitCode;

use anyhow::{Context, Result};

use crate::caller::Caller;
use crate::cli::Test;
use crate::launch::launch;
use crate::messages::Messages;
use crate::request::{Action, Request, Source};

pub fn run(args: &Test, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let (image, words) = args.words.split_first().context("no image given")?;
    let action = Action::Test(words.to_vec());
    let request = Request::new(Source::parse(image, caller)?, action, &args.flags, caller)?;
    launch(request, caller, messages)
}

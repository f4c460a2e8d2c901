//! `front run [IMAGE [ARGUMENT…]]`

use sys::ExitCode;

use anyhow::Result;

use crate::caller::Caller;
use crate::cli::Run;
use crate::launch::launch;
use crate::messages::Messages;
use crate::request::{Action, Request, Source};

pub fn run(args: &Run, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let (source, arguments) = match args.words.split_first() {
        Some((image, arguments)) => (Source::parse(image, caller)?, arguments.to_vec()),
        None => (Source::Embedded, Vec::new()),
    };
    let request = Request::new(source, Action::Run(arguments), &args.flags, caller)?;
    launch(request, caller, messages)
}

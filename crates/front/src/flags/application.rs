//! The application of an image that is run.

use clap::Args;

use super::{Group, Variable};
use crate::variables::Variables;

/// The flag for an application.
#[derive(Debug, Clone, Default, Args)]
pub struct ApplicationFlags {
    /// Run an application of the image (SCIF)
    #[arg(long, value_name = "NAME", help_heading = "Environment")]
    pub app: Option<String>,
}

const APP: Variable = Variable::of("app", &["APP", "APPNAME"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[APP];

impl Group for ApplicationFlags {
    const LONG: &'static [&'static str] = &["app"];
    const SHORT: &'static str = "";
}

impl ApplicationFlags {
    /// Combines the flag and its variables.
    pub fn resolve(&self, variables: &Variables) -> Option<String> {
        let chosen = variables.value(&APP);
        let chosen = chosen.map(|(_, name)| name.to_string_lossy().into_owned());
        self.app.clone().or(chosen)
    }
}

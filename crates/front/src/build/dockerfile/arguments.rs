//! Variables of a Dockerfile: `ARG`, and those of the platform.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use definition::dockerfile::{Kind, expand};

use super::{DockerBuild, State};

impl DockerBuild<'_> {
    /// Replaces variables above the first stage.
    pub(super) fn global(&self, word: &str, line: usize) -> Result<String> {
        let mut values = self.platform();
        for instruction in &self.file.arguments {
            let Kind::Arg(arguments) = &instruction.kind else {
                continue;
            };
            for (name, default) in arguments {
                let value = self.argument(name, default.as_deref(), &values);
                let value = value.map_err(|error| self.at(instruction.line, error))?;
                values.extend(value.map(|value| (name.clone(), value)));
            }
        }
        self.words(word, &|name| values.get(name).cloned())
            .map_err(|error| self.at(line, error))
    }

    pub(super) fn words(
        &self,
        word: &str,
        value: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String> {
        expand(word, self.file.escape, value).map_err(|error| anyhow!("{error}"))
    }

    /// Returns the value of an `ARG`: the user's, or else the default.
    pub(super) fn argument(
        &self,
        name: &str,
        default: Option<&str>,
        known: &BTreeMap<String, String>,
    ) -> Result<Option<String>> {
        if let Some(given) = self.options.arguments.get(name) {
            return Ok(Some(given.clone()));
        }
        default
            .map(|default| self.words(default, &|name| known.get(name).cloned()))
            .transpose()
    }

    /// Returns BuildKit's arguments for the platform.
    pub(super) fn platform(&self) -> BTreeMap<String, String> {
        let architecture = self.build.architecture.clone();
        let here = image::host_architecture().unwrap_or_default().to_owned();
        let target = architecture.unwrap_or_else(|| here.clone());
        let mut values = BTreeMap::new();
        for (kind, architecture) in [("TARGET", target), ("BUILD", here)] {
            values.insert(format!("{kind}PLATFORM"), format!("linux/{architecture}"));
            values.insert(format!("{kind}OS"), "linux".to_owned());
            values.insert(format!("{kind}ARCH"), architecture);
            values.insert(format!("{kind}VARIANT"), String::new());
        }
        values
    }

    /// Returns the value that an `ARG` above the first stage gives to one without a default.
    pub(super) fn inherited(&self, name: &str) -> Result<Option<String>> {
        let arguments = self.file.arguments.iter();
        let is_there = arguments.clone().any(
            |one| matches!(&one.kind, Kind::Arg(all) if all.iter().any(|(own, _)| own == name)),
        );
        match is_there {
            true => self.global(&format!("${{{name}}}"), 1).map(Some),
            false => Ok(None),
        }
    }

    /// Adds the arguments of an `ARG` in a stage.
    pub(super) fn add_arguments(
        &self,
        arguments: &[(String, Option<String>)],
        state: &mut State,
    ) -> Result<()> {
        for (name, default) in arguments {
            let default = match default {
                Some(default) => Some(self.words(default, &|name| state.value(name))?),
                None => {
                    let inherited = self.inherited(name)?;
                    inherited.or_else(|| self.platform().remove(name))
                }
            };
            let value = self.options.arguments.get(name).cloned().or(default);
            let pair = value.map(|value| (name.clone(), value));
            state.arguments.extend(pair);
        }
        Ok(())
    }

    /// Fails if a stage is for another platform than the build.
    pub(super) fn check_platform(&self, word: &str, line: usize) -> Result<()> {
        let wanted = self.global(word, line)?;
        let platform = self.platform();
        let own = ["TARGETPLATFORM", "BUILDPLATFORM"].map(|name| platform.get(name));
        let is_own = |one: &Option<&String>| {
            one.is_some_and(|own| *own == wanted || own.trim_start_matches("linux/") == wanted)
        };
        match own.iter().any(is_own) {
            true => Ok(()),
            false => bail!(
                "--platform={wanted}: choose the platform of the whole build with front build --platform"
            ),
        }
    }
}

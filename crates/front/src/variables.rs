//! The variables of flags: `APPTAINER_X`, `SINGULARITY_X` and `FRONT_X`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, bail};

/// The variables of a flag, or of a setting that has no flag.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// The names, without the families' prefixes.
    pub names: &'static [&'static str],
    /// Its meaning.
    pub meaning: Meaning,
}

/// The meaning of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Same as this flag, given by its name in `clap`.
    Flag(&'static str),
    /// This description.
    Setting(&'static str),
}

impl Variable {
    /// Returns the variables of a flag.
    pub const fn of(flag: &'static str, names: &'static [&'static str]) -> Self {
        let meaning = Meaning::Flag(flag);
        Self { names, meaning }
    }

    /// Returns the variables of a setting.
    pub const fn setting(names: &'static [&'static str], words: &'static str) -> Self {
        let meaning = Meaning::Setting(words);
        Self { names, meaning }
    }
}

/// A set of variables, by name.
pub type Set = BTreeMap<OsString, OsString>;

/// A process's environment, in the process's order.
#[derive(Debug, Clone, Default)]
pub struct Variables(pub Vec<(OsString, OsString)>);

/// The prefixes of the families of variables, strongest first.
const FAMILIES: [&str; 3] = ["FRONT_", "APPTAINER_", "SINGULARITY_"];

/// The prefixes of the families of variables that are set inside, strongest first.
const FAMILIES_INSIDE: [&str; 3] = ["FRONTENV_", "APPTAINERENV_", "SINGULARITYENV_"];

/// Returns a variable's name without the prefix of a family, if the variable belongs to this
/// family.
fn within<'a>(name: &'a OsStr, family: &str) -> Option<&'a OsStr> {
    let inner = name.as_bytes().strip_prefix(family.as_bytes());
    inner.map(OsStr::from_bytes)
}

impl Variables {
    /// Returns a variable's value.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// Returns the names of variables of all families: each family's prefix, and the rest.
    pub fn names_of_flags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = self.0.iter().filter_map(|(name, _)| name.to_str());
        names.filter_map(|name| {
            let mut families = FAMILIES.iter();
            families.find_map(|family| Some((*family, name.strip_prefix(family)?)))
        })
    }

    /// Returns a variable's value, if it is text and not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        let value = self.get(name).and_then(OsStr::to_str);
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Returns the value of the strongest variable of `name` that is set and not empty, with the
    /// variable's full name.
    pub fn flag(&self, name: &str) -> Option<(String, &OsStr)> {
        FAMILIES.iter().find_map(|family| {
            let mut variables = self.0.iter();
            let (_, value) =
                variables.find(|(full, _)| within(full, family).is_some_and(|own| own == name))?;
            (!value.is_empty()).then(|| (format!("{family}{name}"), value.as_os_str()))
        })
    }

    /// Returns the values of a flag's variables, each with the variable's full name.
    pub fn values(&self, variable: &Variable) -> impl Iterator<Item = (String, &OsStr)> {
        variable.names.iter().filter_map(|name| self.flag(name))
    }

    /// Returns the strongest of a flag's values, with the variable's full name.
    pub fn value(&self, variable: &Variable) -> Option<(String, &OsStr)> {
        self.values(variable).next()
    }

    /// Returns the comma-separated parts of the strongest of a flag's values.
    pub fn list(&self, variable: &Variable) -> Vec<String> {
        let value = self.value(variable);
        let value = value.map(|(_, value)| value.to_string_lossy().into_owned());
        let parts = value.iter().flat_map(|value| value.split(','));
        parts.map(str::to_owned).collect()
    }

    /// Returns whether one of a flag's variables sets it.
    ///
    /// # Errors
    ///
    /// Fails as [`switch`](Self::switch) does.
    pub fn is_set(&self, variable: &Variable) -> Result<bool> {
        for name in variable.names {
            if self.switch(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether a variable sets a flag. The values are those of Go's `ParseBool`.
    ///
    /// # Errors
    ///
    /// Fails on other values. The error names the variable.
    pub fn switch(&self, name: &str) -> Result<bool> {
        let Some((full, value)) = self.flag(name) else {
            return Ok(false);
        };
        match value.as_bytes() {
            b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
            b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
            _ => bail!("{full}={}: expected true or false", value.display()),
        }
    }

    /// Returns the variables that are set in the container, such as those named `APPTAINERENV_X`,
    /// by their names inside. The strongest family's value is used.
    pub fn overrides(&self) -> Vec<(OsString, OsString)> {
        let mut found: Vec<(OsString, OsString)> = Vec::new();
        for family in FAMILIES_INSIDE {
            for (name, value) in &self.0 {
                let Some(inside) = within(name, family) else {
                    continue;
                };
                if !inside.is_empty() && !found.iter().any(|(other, _)| other == inside) {
                    found.push((inside.to_owned(), value.clone()));
                }
            }
        }
        found
    }

    /// Returns the names that both families of Singularity's set, to different values: those of
    /// Apptainer count.
    pub fn contradictions(&self) -> Vec<(String, String)> {
        let pairs = [
            ("APPTAINER_", "SINGULARITY_"),
            ("APPTAINERENV_", "SINGULARITYENV_"),
        ];
        let all = self
            .0
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value)));
        let found = all.flat_map(|(name, value)| {
            pairs.into_iter().filter_map(move |(stronger, weaker)| {
                let winner = format!("{stronger}{}", name.strip_prefix(weaker)?);
                let other = self.get(&winner)?;
                (other != value).then(|| (name.to_owned(), winner))
            })
        });
        found.collect()
    }

    /// Whether a variable is only for this program and never passed on.
    pub fn is_ours(name: &OsStr) -> bool {
        let mut families = FAMILIES.iter().chain(&FAMILIES_INSIDE);
        families.any(|family| within(name, family).is_some())
    }
}

#[cfg(test)]
impl Variables {
    /// Returns these variables and no others.
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter();
        Self(
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_family_wins() {
        let set = Variables::of(&[
            ("SINGULARITY_NV", "1"),
            ("APPTAINER_NV", "false"),
            ("APPTAINER_X", ""),
        ]);
        assert!(!set.switch("NV").unwrap());
        assert!(!set.switch("X").unwrap());
        let wrong = Variables::of(&[("SINGULARITY_NV", "yes")])
            .switch("NV")
            .unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "SINGULARITY_NV=yes: expected true or false"
        );
    }

    #[test]
    fn overrides_come_by_their_inner_name() {
        let set = Variables::of(&[
            ("SINGULARITYENV_A", "1"),
            ("APPTAINERENV_A", "2"),
            ("SINGULARITYENV_B", "3"),
            ("C", "4"),
        ]);
        let expected: Vec<(OsString, OsString)> =
            vec![("A".into(), "2".into()), ("B".into(), "3".into())];
        assert_eq!(set.overrides(), expected);
        assert!(Variables::is_ours(OsStr::new("SINGULARITYENV_A")));
        assert!(!Variables::is_ours(OsStr::new("APPTAINERX")));
    }
}

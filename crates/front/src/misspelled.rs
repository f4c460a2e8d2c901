//! Variables that are unknown and look like known ones, and those that contradict each other: none is
//! ignored silently.

use crate::flags;
use crate::variables::Variables;

/// Variables that Apptainer sets inside of containers, or that only describe an installation.
const HARMLESS: [&str; 12] = [
    "APPNAME",
    "COMMAND",
    "CONTAINER",
    "ENVIRONMENT",
    "IMAGE",
    "INIT",
    "INSTANCE",
    "NAME",
    "PATH",
    "ROOT",
    "SHELL",
    "VERSION",
];

/// Returns a warning for each variable that is unknown and looks like a known one, or that a stronger one
/// contradicts.
pub fn warnings(variables: &Variables) -> Vec<String> {
    let own = || flags::variables().flat_map(|variable| variable.names.iter().copied());
    let known = || own().chain(HARMLESS);
    let unknown = variables.names_of_flags();
    let unknown = unknown.filter(|(_, name)| !known().any(|one| one == *name));
    let meant = unknown.filter_map(|(family, name)| {
        let meant = known().find(|one| is_near(name, one))?;
        Some(format!(
            "{family}{name} is unknown and has no effect; did you mean {family}{meant}?"
        ))
    });
    let contradictions = variables.contradictions().into_iter();
    let contradictions = contradictions.map(|(weaker, stronger)| {
        format!("{weaker} and {stronger} have different values; {stronger} is used")
    });
    meant.chain(contradictions).collect()
}

/// Whether two names differ by one letter that was forgotten, added, changed or swapped, or by two if
/// they are long.
fn is_near(name: &str, known: &str) -> bool {
    let most = match known.len() {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    };
    name.len().abs_diff(known.len()) <= most && strsim::damerau_levenshtein(name, known) <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_known_name_is_told() {
        let warnings = |name: &str| super::warnings(&Variables(vec![(name.into(), "1".into())]));
        assert_eq!(
            warnings("APPTAINER_BINDPAHT"),
            ["APPTAINER_BINDPAHT is unknown and has no effect; did you mean APPTAINER_BINDPATH?"]
        );
        for name in [
            "SINGULARITY_CONTAINAL",
            "FRONT_NO_HOM",
            "APPTAINER_WRITABLETMPFS",
        ] {
            assert_eq!(warnings(name).len(), 1, "{name}");
        }
        for name in [
            "APPTAINER_CONTAINER",
            "SINGULARITY_NAME",
            "APPTAINER_BINDPATH",
            "SINGULARITY_DIR",
            "APPTAINER_MODULE_VERSION",
            "BINDPAHT",
        ] {
            assert_eq!(warnings(name), Vec::<String>::new(), "{name}");
        }
    }
}

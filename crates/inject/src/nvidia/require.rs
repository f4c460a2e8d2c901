//! The requirements of an image on the host: `NVIDIA_REQUIRE_CUDA=cuda>=12.4
//! brand=tesla,driver>=470`.
//!
//! As in NVIDIA's container toolkit, blanks separate alternatives, and commas separate conditions
//! that must hold together.

use std::cmp::Ordering;

/// The known facts about the host.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The driver's version.
    pub driver: String,
    /// The release of CUDA that the driver was made for.
    pub cuda: Option<(u32, u32)>,
    /// The models of the GPUs.
    pub models: Vec<String>,
}

/// Returns whether a requirement is met. An unknown condition, such as an architecture, counts as
/// met: the program itself can report better what it lacks.
#[must_use]
pub fn is_met(requirement: &str, known: &Known) -> bool {
    let mut alternatives = requirement.split_whitespace().peekable();
    if alternatives.peek().is_none() {
        return true;
    }
    alternatives.any(|all| {
        all.split(',')
            .filter(|one| !one.is_empty())
            .all(|one| holds(one, known))
    })
}

fn holds(condition: &str, known: &Known) -> bool {
    let at = condition.find(['=', '<', '>', '!']);
    let Some((name, rest)) = at.and_then(|at| condition.split_at_checked(at)) else {
        return true;
    };
    let end = rest
        .find(|c: char| !"=<>!".contains(c))
        .unwrap_or(rest.len());
    let (operator, value) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let order = match name {
        "cuda" => known
            .cuda
            .map(|(major, minor)| compare(&format!("{major}.{minor}"), value)),
        "driver" => Some(compare(&known.driver, value)),
        "brand" => {
            let has = known.models.iter().any(|model| is_brand(model, value));
            return operator != "=" && operator != "==" || known.models.is_empty() || has;
        }
        _ => None,
    };
    let Some(order) = order else { return true };
    match operator {
        "=" | "==" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        _ => true,
    }
}

/// Whether a model is of a brand. Models for data centres are named by a letter and a number since
/// "Tesla" is no longer in their names.
fn is_brand(model: &str, brand: &str) -> bool {
    let consumer = ["GeForce", "TITAN", "Quadro", "RTX"];
    match brand {
        "tesla" | "nvidia" => !consumer.iter().any(|word| model.contains(word)),
        other => model
            .to_ascii_lowercase()
            .contains(&other.to_ascii_lowercase()),
    }
}

/// Compares as many numbers as the second version has: 535.261.03 equals 535.
fn compare(own: &str, wanted: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split('.')
            .map(|part| part.parse().unwrap_or(0))
            .collect()
    };
    let (own, wanted) = (numbers(own), numbers(wanted));
    let own = own.into_iter().chain(std::iter::repeat(0));
    own.take(wanted.len()).cmp(wanted.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_and_conditions() {
        let known = Known {
            driver: "535.261.03".to_owned(),
            cuda: Some((12, 2)),
            models: vec!["NVIDIA H200".to_owned()],
        };
        let rows = [
            ("", true),
            ("cuda>=12.2", true),
            ("cuda>=12.4", false),
            ("cuda>=12.4 brand=tesla,driver>=535,driver<536", true),
            ("cuda>=12.4 brand=geforce,driver>=535", false),
            ("cuda>=12.4 brand=tesla,driver>=470,driver<471", false),
            ("driver=535", true),
            ("driver>535", false),
            ("arch>=7.0", true),
            ("nonsense", true),
            ("cuda!=11.0", true),
        ];
        for (requirement, met) in rows {
            assert_eq!(is_met(requirement, &known), met, "{requirement}");
        }
    }
}

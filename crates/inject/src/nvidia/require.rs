//! What an image says that it needs of the host: `NVIDIA_REQUIRE_CUDA=cuda>=12.4 brand=tesla,driver>=470`.
//!
//! Blanks stand between alternatives, commas between what must hold together, as NVIDIA's container
//! toolkit has it.

use std::cmp::Ordering;

/// What is known of the host.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The driver's version.
    pub driver: String,
    /// The release of CUDA that the driver was made for.
    pub cuda: Option<(u32, u32)>,
    /// The models of the GPUs.
    pub models: Vec<String>,
}

/// Returns whether a requirement is met. What this does not know, such as an architecture, is taken for
/// met: the program will say better what it misses.
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

/// The brands that models tell: those for data centres are called by a letter and a number since "Tesla"
/// is in no name.
fn is_brand(model: &str, brand: &str) -> bool {
    let consumer = ["GeForce", "TITAN", "Quadro", "RTX"];
    match brand {
        "tesla" | "nvidia" => !consumer.iter().any(|word| model.contains(word)),
        other => model
            .to_ascii_lowercase()
            .contains(&other.to_ascii_lowercase()),
    }
}

/// Compares as far as the second goes: 535.261.03 equals 535.
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

//! Selects GPUs.

use std::path::PathBuf;

use crate::{Gpu, Part};

/// The requested GPUs, in the syntax of `CUDA_VISIBLE_DEVICES` and `NVIDIA_VISIBLE_DEVICES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuSelection {
    /// All GPUs.
    All,
    /// No GPU.
    None,
    /// These GPUs: indices, UUIDs or their beginnings, `GPU:INDEX` and `MIG-GPU-UUID/GI/CI` of
    /// parts, PCI addresses.
    Some(Vec<String>),
}

/// A requested GPU does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no GPU {wanted} on this host; available: {}", list(.known))]
pub struct Unknown {
    /// The requested GPU.
    pub wanted: String,
    /// The GPUs that exist.
    pub known: Vec<String>,
}

fn list(known: &[String]) -> String {
    match known {
        [] => "none".to_owned(),
        known => known.join(", "),
    }
}

impl GpuSelection {
    /// Reads a variable's value.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(str::to_owned).collect();
        match words.as_slice() {
            [] => Self::None,
            [one] if one == "all" => Self::All,
            [one] if ["none", "void", "-1", "NoDevFiles"].contains(&one.as_str()) => Self::None,
            _ => Self::Some(words),
        }
    }

    /// Returns the indices of the selected GPUs, each once, in ascending order.
    ///
    /// # Errors
    ///
    /// Fails as [`GpuSelection::nodes`] does.
    pub fn indices(&self, gpus: &[Gpu]) -> Result<Vec<usize>, Unknown> {
        let mut indices: Vec<usize> = match self {
            Self::None => Vec::new(),
            Self::All => gpus.iter().map(|gpu| gpu.index).collect(),
            Self::Some(words) => {
                let words = words.iter().take_while(|word| *word != "-1");
                let found = words.map(|word| {
                    let unknown = || Unknown::new(word, gpus);
                    Ok(find(gpus, word).ok_or_else(unknown)?.0.index)
                });
                found.collect::<Result<_, _>>()?
            }
        };
        indices.sort_unstable();
        indices.dedup();
        Ok(indices)
    }

    /// Returns the device nodes of the selected GPUs.
    ///
    /// # Errors
    ///
    /// Fails when a requested GPU does not exist. The error lists those that exist.
    pub fn nodes(&self, gpus: &[Gpu]) -> Result<Vec<PathBuf>, Unknown> {
        let mut nodes = Vec::new();
        let mut add = |new: Vec<PathBuf>| {
            for node in new {
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
        };
        match self {
            Self::None => {}
            Self::All => gpus.iter().for_each(|gpu| {
                add(gpu.nodes.clone());
                gpu.parts.iter().for_each(|part| add(part.nodes.clone()));
            }),
            Self::Some(words) => {
                for word in words {
                    // As in CUDA, entries after this one are ignored.
                    if word == "-1" {
                        break;
                    }
                    let (gpu, part) = find(gpus, word).ok_or_else(|| Unknown::new(word, gpus))?;
                    add(gpu.nodes.clone());
                    let parts = gpu.parts.iter();
                    let parts = parts.filter(|own| part.is_none_or(|part| part == *own));
                    parts.for_each(|part| add(part.nodes.clone()));
                }
            }
        }
        Ok(nodes)
    }
}

impl Unknown {
    fn new(wanted: &str, gpus: &[Gpu]) -> Self {
        Self {
            wanted: wanted.to_owned(),
            known: gpus.iter().map(name).collect(),
        }
    }
}

/// Returns the new value of a program's own variable, if the program sees only the chosen GPUs and
/// numbers these from 0. `chose` means that the GPUs were chosen by this variable. Returns `None`
/// if the value may stay: it has no numbers, or its numbers fit the visible GPUs and it did not
/// choose them, as under a scheduler that numbers the GPUs of each job.
#[must_use]
pub fn renumbered(words: &str, chosen: &[usize], chose: bool) -> Option<String> {
    let words = words
        .split(',')
        .map(str::trim)
        .take_while(|word| *word != "-1");
    let numbers: Vec<usize> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let fit = numbers.iter().all(|number| *number < chosen.len());
    let is_choice = numbers.iter().all(|number| chosen.contains(number));
    let whole = numbers.len() == chosen.len() && is_choice;
    if numbers.is_empty() || !is_choice || !chose && fit && !whole {
        return None;
    }
    let ranks = numbers
        .iter()
        .filter_map(|number| chosen.iter().position(|own| own == number));
    let ranks: Vec<String> = ranks.map(|rank| rank.to_string()).collect();
    Some(ranks.join(","))
}

fn name(gpu: &Gpu) -> String {
    match gpu.uuid.as_str() {
        "" => gpu.index.to_string(),
        uuid => format!("{} ({uuid})", gpu.index),
    }
}

/// Returns the GPU that a word means, and the part of it if the word means a part.
fn find<'a>(gpus: &'a [Gpu], word: &str) -> Option<(&'a Gpu, Option<&'a Part>)> {
    let by_index = |text: &str| {
        let index: usize = text.parse().ok()?;
        gpus.iter().find(|gpu| gpu.index == index)
    };
    if let Some(gpu) = by_index(word) {
        return Some((gpu, None));
    }
    if let Some((gpu, part)) = word.split_once(':')
        && let (Some(gpu), Ok(part)) = (by_index(gpu), part.parse::<usize>())
    {
        return Some((gpu, Some(gpu.parts.get(part)?)));
    }
    if let Some(rest) = word.strip_prefix("MIG-GPU-") {
        let mut pieces = rest.split('/');
        let uuid = format!("GPU-{}", pieces.next()?);
        let gpu = gpus.iter().find(|gpu| gpu.uuid == uuid)?;
        let (above, below): (u32, u32) =
            (pieces.next()?.parse().ok()?, pieces.next()?.parse().ok()?);
        let mut parts = gpu.parts.iter();
        let part = parts.find(|part| part.gpu_instance == above && part.compute_instance == below);
        return part.map(|part| (gpu, Some(part)));
    }
    // As in CUDA, the beginning of a UUID is enough, if only one GPU has it.
    let mut matching = gpus.iter().filter(|gpu| {
        word.len() > "GPU-".len() && gpu.uuid.starts_with(word)
            || !word.is_empty() && gpu.bus.eq_ignore_ascii_case(word)
    });
    let first = matching.next()?;
    matching.next().is_none().then_some((first, None))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn gpus() -> Vec<Gpu> {
        let node = |name: String| PathBuf::from("/dev").join(name);
        let gpu = |index: usize| Gpu {
            index,
            uuid: format!("GPU-{index}abc-def"),
            model: String::new(),
            bus: format!("0000:0{index}:00.0"),
            nodes: vec![
                node(format!("nvidia{index}")),
                node(format!("dri/card{index}")),
            ],
            parts: Vec::new(),
        };
        let part = |gpu_instance: u32, cap: u32| Part {
            gpu_instance,
            compute_instance: 0,
            nodes: vec![node(format!("nvidia-caps/nvidia-cap{cap}"))],
        };
        let mut all = vec![gpu(0), gpu(1)];
        all[1].parts = vec![part(1, 21), part(2, 30)];
        all
    }

    fn nodes(text: &str) -> Vec<String> {
        let nodes = GpuSelection::parse(text).nodes(&gpus()).unwrap();
        let name = |node: &PathBuf| {
            node.strip_prefix(Path::new("/dev"))
                .unwrap()
                .display()
                .to_string()
        };
        nodes.iter().map(name).collect()
    }

    #[test]
    fn programs_count_what_they_see() {
        let rows: [(&str, &[usize], bool, Option<&str>); 9] = [
            ("1", &[1], true, Some("0")),
            ("1,0", &[0, 1], true, Some("1,0")),
            ("3,1", &[1, 3], true, Some("1,0")),
            ("0,0", &[0], true, Some("0,0")),
            ("2,-1", &[2], true, Some("0")),
            ("GPU-abc", &[1], true, None),
            // Slurm counts the machine's GPUs. The program's variable counts the machine's, or the
            // job's.
            ("1", &[1], false, Some("0")),
            ("0", &[1], false, None),
            ("0,1", &[2, 3], false, None),
        ];
        for (words, chosen, chose, seen) in rows {
            assert_eq!(
                renumbered(words, chosen, chose).as_deref(),
                seen,
                "{words} {chosen:?}"
            );
        }
    }

    #[test]
    fn every_way_to_say_it() {
        let rows: [(&str, &[&str]); 13] = [
            ("0", &["nvidia0", "dri/card0"]),
            ("GPU-0abc-def", &["nvidia0", "dri/card0"]),
            ("GPU-0a", &["nvidia0", "dri/card0"]),
            ("0000:00:00.0", &["nvidia0", "dri/card0"]),
            ("0,0", &["nvidia0", "dri/card0"]),
            ("0,-1,1", &["nvidia0", "dri/card0"]),
            ("1:0", &["nvidia1", "dri/card1", "nvidia-caps/nvidia-cap21"]),
            (
                "MIG-GPU-1abc-def/2/0",
                &["nvidia1", "dri/card1", "nvidia-caps/nvidia-cap30"],
            ),
            ("none", &[]),
            ("void", &[]),
            ("-1", &[]),
            ("", &[]),
            (
                "1",
                &[
                    "nvidia1",
                    "dri/card1",
                    "nvidia-caps/nvidia-cap21",
                    "nvidia-caps/nvidia-cap30",
                ],
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(nodes(text), expected, "{text}");
        }
        assert_eq!(nodes("all").len(), 6);
        for unknown in ["2", "GPU-", "GPU-zzz", "1:7", "MIG-GPU-1abc-def/9/0", "x"] {
            let error = GpuSelection::parse(unknown)
                .nodes(&gpus())
                .unwrap_err()
                .to_string();
            let said = format!(
                "no GPU {unknown} on this host; available: 0 (GPU-0abc-def), 1 (GPU-1abc-def)"
            );
            assert_eq!(error, said);
        }
    }
}

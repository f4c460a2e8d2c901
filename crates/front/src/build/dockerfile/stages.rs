//! The stages that a build needs.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};

use super::super::base::unpack_layers;
use super::super::build_cache::BuildCache;
use super::{DockerBuild, Work, mounts};

impl DockerBuild<'_> {
    /// Returns the number of the stage that is the result.
    pub(super) fn target(&self) -> Result<usize> {
        let stages = &self.file.stages;
        let Some(target) = &self.options.target else {
            return Ok(stages.len() - 1);
        };
        self.stage_number(target, stages.len()).ok_or_else(|| {
            anyhow!(
                "--target {target}: there is no such stage in {}",
                self.path.display()
            )
        })
    }

    /// Finds an earlier stage by name or number.
    pub(super) fn stage_number(&self, word: &str, before: usize) -> Option<usize> {
        let name = word.to_ascii_lowercase();
        let stages = self.file.stages.iter().take(before);
        let named = stages
            .enumerate()
            .filter(|(_, stage)| stage.name.as_ref() == Some(&name));
        let number = || word.parse().ok().filter(|number| *number < before);
        let named = named.map(|(number, _)| number).next_back();
        named.or_else(number)
    }

    /// Returns the numbers of the stages on which a stage depends, itself included.
    pub(super) fn needed(&self, last: usize) -> Result<Vec<usize>> {
        let mut needed = vec![last];
        let mut ahead = vec![last];
        while let Some(number) = ahead.pop() {
            let Some(stage) = self.file.stages.get(number) else {
                continue;
            };
            let mut words = vec![self.global(&stage.base, stage.line)?];
            for instruction in &stage.instructions {
                words.extend(
                    instruction
                        .flags
                        .iter()
                        .filter(|(name, _)| name == "from")
                        .map(|(_, value)| value.clone()),
                );
                let mounts = instruction.flags.iter().filter(|(name, _)| name == "mount");
                words.extend(
                    mounts.filter_map(|(_, spec)| mounts::field(spec, "from").map(str::to_owned)),
                );
            }
            for word in words {
                if let Some(found) = self.stage_number(&word, number)
                    && !needed.contains(&found)
                {
                    needed.push(found);
                    ahead.push(found);
                }
            }
        }
        Ok(needed)
    }

    /// Returns the directory of a stage above, or of an image, which is fetched.
    pub(super) fn tree_of(&self, word: &str, work: &Work<'_>) -> Result<PathBuf> {
        let number = self.stage_number(word, work.built.len());
        let stage = number.and_then(|number| work.built.get(number)?.as_ref());
        if let Some(stage) = stage {
            return Ok(stage.tree.clone());
        }
        if word.parse::<usize>().is_ok() {
            bail!("there is no stage {word} above");
        }
        let name = oci::Digest::of(word.as_bytes());
        let tree = work.workplace.join(format!("image-{}", name.hex()));
        if !tree.exists() {
            std::fs::create_dir(&tree)?;
            let mut cache = BuildCache::new(None, self.build, self.caller, &tree, self.messages)?;
            let word = image_word(word);
            unpack_layers(self.access, self.build, &word, &tree, &mut cache)?;
        }
        Ok(tree)
    }
}

/// Returns the name of an image with its scheme: that of registries if it has none.
pub(super) fn image_word(name: &str) -> String {
    let schemes = ["oci:", "oci-archive:", "docker-archive:", "docker-daemon:"];
    let is_other = name.contains("://") || schemes.iter().any(|one| name.starts_with(one));
    match is_other {
        true => name.to_owned(),
        false => format!("docker://{name}"),
    }
}

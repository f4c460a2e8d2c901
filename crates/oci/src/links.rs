//! The symbolic links of one layer, through which its own later entries are written.
//!
//! An engine that extracts a layer into a directory of its own, as podman and docker do, finds the links there that the
//! layer has had so far, and those of no other layer.

use std::collections::HashMap;

/// How many links a name may lead through: as many as the kernel allows, path_resolution(7).
const MOST: usize = 40;

/// The most bytes of a layer's links, names and targets.
const BYTES: usize = 256 << 20;

/// Names of links, and where they lead.
#[derive(Debug, Default)]
pub(crate) struct Links {
    targets: HashMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Links {
    /// Notes what a name is now: a link with such a target, or anything else.
    ///
    /// # Errors
    ///
    /// Says that there are too many.
    pub(crate) fn set(&mut self, name: &[u8], target: Option<&[u8]>) -> Result<(), &'static str> {
        let Some(target) = target else {
            self.targets.remove(name);
            return Ok(());
        };
        self.bytes += name.len() + target.len();
        if self.bytes > BYTES {
            return Err("is one symbolic link too many: they take more than 256 MiB");
        }
        self.targets.insert(name.to_owned(), target.to_owned());
        Ok(())
    }

    /// Returns where a name lies once the links are followed that lead to its directory.
    ///
    /// # Errors
    ///
    /// Says what is wrong with one that leads through too many.
    pub(crate) fn follow(&self, name: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        if self.targets.is_empty() {
            return Ok(name);
        }
        // The parts that are left to go, the next one last.
        let mut rest: Vec<&[u8]> = name.split(|byte| *byte == b'/').rev().collect();
        let (mut found, mut followed) = (Vec::new(), 0);
        while let Some(part) = rest.pop() {
            match part {
                b"" | b"." => continue,
                b".." => {
                    pop(&mut found);
                    continue;
                }
                _ => {}
            }
            let before = found.len();
            if before > 0 {
                found.push(b'/');
            }
            found.extend_from_slice(part);
            let Some(target) = self.targets.get(&found).filter(|_| !rest.is_empty()) else {
                continue;
            };
            followed += 1;
            if followed > MOST {
                return Err("leads through more than 40 links");
            }
            match target.starts_with(b"/") {
                true => found.clear(),
                false => found.truncate(before),
            }
            rest.extend(target.split(|byte| *byte == b'/').rev());
        }
        // As long and as deep as any other.
        crate::tree::name(&found)
    }
}

/// Goes up; above the root is the root.
fn pop(name: &mut Vec<u8>) {
    let slash = name.iter().rposition(|byte| *byte == b'/');
    name.truncate(slash.unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_through_the_links_of_their_layer() {
        let mut links = Links::default();
        let follow = |links: &Links, name: &str| {
            links
                .follow(name.as_bytes().to_vec())
                .map(|name| String::from_utf8(name).unwrap())
        };
        assert_eq!(follow(&links, "lib/x"), Ok("lib/x".to_owned()));
        for (name, target) in [
            ("lib", "usr/lib"),
            ("usr/lib/abs", "/opt/abs"),
            ("up", "a/../../../b"),
            ("loop", "loop"),
        ] {
            links.set(name.as_bytes(), Some(target.as_bytes())).unwrap();
        }
        for (name, expected) in [
            ("lib", "lib"),
            ("lib/extra/x.so", "usr/lib/extra/x.so"),
            ("lib/abs/y", "opt/abs/y"),
            ("up/c", "b/c"),
            ("library/x", "library/x"),
        ] {
            assert_eq!(follow(&links, name).as_deref(), Ok(expected), "{name}");
        }
        assert!(follow(&links, "loop/x").is_err());
        links.set(b"lib", None).unwrap();
        assert_eq!(follow(&links, "lib/x").as_deref(), Ok("lib/x"));
    }
}

//! The symbolic links of a tree of layers.

use crate::tree::{Node, Tree, name, pop};

/// Largest number of links that a name may lead through: the kernel's limit, path_resolution(7).
const MOST: usize = 40;

impl Tree {
    /// Returns a name of a layer with its directory resolved: only symbolic links of that same
    /// layer are followed.
    ///
    /// An engine that extracts each layer into a directory of its own, as podman and docker do,
    /// meets the links that the layer has had so far, and no links of other layers.
    ///
    /// # Errors
    ///
    /// Returns a message for a name that leads through too many links.
    pub(crate) fn follow_in(&self, layer: u32, name: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        self.follow_through(name, |of| of == layer)
    }

    /// Returns a name with its directory resolved: symbolic links of all layers are followed.
    ///
    /// # Errors
    ///
    /// Returns a message for a name that leads through too many links.
    pub(crate) fn follow(&self, name: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        self.follow_through(name, |_| true)
    }

    fn follow_through(
        &self,
        given: Vec<u8>,
        counts: impl Fn(u32) -> bool,
    ) -> Result<Vec<u8>, &'static str> {
        // The components that remain, the next one last.
        let mut rest: Vec<&[u8]> = given.split(|byte| *byte == b'/').rev().collect();
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
            let link = match self.get_with_layer(&found) {
                Some((of, Node::Link(link))) if !rest.is_empty() && counts(of) => link,
                _ => continue,
            };
            followed += 1;
            if followed > MOST {
                return Err("leads through more than 40 links");
            }
            match link.target.starts_with(b"/") {
                true => found.clear(),
                false => found.truncate(before),
            }
            rest.extend(link.target.split(|byte| *byte == b'/').rev());
        }
        // The result has the same limits of length and depth as other names.
        name(&found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Link, Origin};

    fn link(target: &str) -> Node {
        let origin = Origin {
            layer: 0,
            entry: 0,
            size: 0,
        };
        let target = target.as_bytes().into();
        Node::Link(Box::new(Link { origin, target }))
    }

    #[test]
    fn names_lead_through_the_links_of_their_layer() {
        let mut tree = Tree::default();
        let follow = |tree: &Tree, layer: Option<u32>, name: &str| {
            let name = name.as_bytes().to_vec();
            let found = match layer {
                Some(layer) => tree.follow_in(layer, name),
                None => tree.follow(name),
            };
            found.map(|name| String::from_utf8(name).unwrap())
        };
        assert_eq!(follow(&tree, Some(0), "lib/x"), Ok("lib/x".to_owned()));
        for (name, target) in [
            ("lib", "usr/lib"),
            ("usr/lib/abs", "/opt/abs"),
            ("up", "a/../../../b"),
            ("loop", "loop"),
        ] {
            tree.insert(0, name.into(), link(target)).unwrap();
        }
        for (name, expected) in [
            ("lib", "lib"),
            ("lib/extra/x.so", "usr/lib/extra/x.so"),
            ("lib/abs/y", "opt/abs/y"),
            ("up/c", "b/c"),
            ("library/x", "library/x"),
        ] {
            for layer in [Some(0), None] {
                assert_eq!(
                    follow(&tree, layer, name).as_deref(),
                    Ok(expected),
                    "{name}"
                );
            }
            assert_eq!(follow(&tree, Some(1), name).as_deref(), Ok(name));
        }
        assert!(follow(&tree, None, "loop/x").is_err());
        let directory = Node::Directory {
            mode: 0,
            time: 0,
            owner: (0, 0),
        };
        tree.insert(0, b"lib".to_vec(), directory).unwrap();
        assert_eq!(follow(&tree, Some(0), "lib/x").as_deref(), Ok("lib/x"));
    }
}
